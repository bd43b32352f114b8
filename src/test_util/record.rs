use std::fmt;

use supervisor_layers::{StopCause, TaskContext};
use tokio::time::Instant;

/// A run of a scripted child.
#[derive(Clone, PartialEq, Eq)]
pub struct ScriptedRun {
    /// The child's path.
    pub path: String,
    /// Which addition of the child.
    pub instance: u64,
    /// Which run of it.
    pub generation: u64,
    /// When it began.
    pub began: Instant,
    /// When it ended; absent while it is alive.
    pub ended: Option<Instant>,
    /// Why it was being stopped when it ended; absent while it is alive, and where it ended by itself.
    pub stopped: Option<StopCause>,
}

/// What became of a script's runs.
#[derive(Default)]
pub(super) struct Record {
    pub(super) runs: Vec<ScriptedRun>,
    /// Runs that began while another of the same child was alive.
    pub(super) twice: Vec<String>,
}

impl Record {
    /// A run begins; its index.
    pub(super) fn begin(&mut self, ctx: &TaskContext) -> usize {
        let run = ScriptedRun {
            path: ctx.path().to_owned(),
            instance: ctx.instance(),
            generation: ctx.generation(),
            began: Instant::now(),
            ended: None,
            stopped: None,
        };
        let other = self.runs.iter().find(|other| {
            other.ended.is_none() && other.path == run.path && other.instance == run.instance
        });
        if let Some(other) = other {
            self.twice.push(format!(
                "run {} of {} began while run {} was alive",
                run.generation, run.path, other.generation
            ));
        }
        self.runs.push(run);
        self.runs.len() - 1
    }

    pub(super) fn end(&mut self, run: usize, stopped: Option<StopCause>) {
        if let Some(run) = self.runs.get_mut(run) {
            run.ended = Some(Instant::now());
            run.stopped = stopped;
        }
    }
}

impl fmt::Debug for ScriptedRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} run {}", self.path, self.generation)?;
        match (self.ended, self.stopped) {
            (None, _) => f.write_str(" alive"),
            (Some(ended), None) => write!(f, " ended after {:?}", ended - self.began),
            (Some(ended), Some(cause)) => {
                write!(f, " stopped for {cause} after {:?}", ended - self.began)
            }
        }
    }
}
