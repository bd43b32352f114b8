//! One child's state: written by its runs and its gate, read by everybody.
//!
//! The state is in `control`, `stop_word`, `polls` and `poll_word`. What is done with it is told along a child's life: `admission`
//! (may a run begin), `run` (it lives), `notes` (what its layers say of it), `exit` (it ended, and what
//! follows), and beside it `hold` (what the gate does), `look` (what the gate sees) and `watch` (who waits).

mod admission;
mod control;
mod exit;
mod hold;
mod locked;
mod look;
mod notes;
mod past;
mod poll_word;
mod polls;
mod run;
mod stop;
mod stop_word;
mod waiters;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU32};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::{ChildSnapshot, ContextSpec, Owner, RunEnd, RunId, Steps};
use crate::{StopCause, SupervisedLayer, observe, policy::Nanos};
pub(crate) use admission::{Admission, Wait};
use control::{Control, Phase};
use locked::Locked;
pub(crate) use look::Look;
pub(crate) use poll_word::{PollWord, Watch};
use polls::Polls;
pub use stop::after;
use stop_word::StopWord;
pub use watch::Cancelled;

/// One child's state; see the [module](self).
pub(crate) struct Slot {
    path: Arc<str>,
    /// Where in the path its id begins.
    id: u32,
    instance: u64,
    home: Home,
    /// What its owner has it run under.
    layer: Option<SupervisedLayer>,
    /// The span that the child was created in.
    creator: Option<Box<Span>>,
    word: StopWord,
    poll: PollWord,
    /// Where the monitor has it, if it has.
    place: AtomicU32,
    polls: Polls,
    control: Mutex<Control>,
}

/// Where a child belongs: nearly all belong to somebody, and count their times as they do.
enum Home {
    Tree(Arc<dyn Owner>),
    Nowhere { origin: Box<Instant> },
}

impl Home {
    /// From when on its times are counted.
    fn origin(&self) -> Instant {
        match self {
            Self::Tree(owner) => owner.origin(),
            Self::Nowhere { origin } => **origin,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        observe::leave(self);
    }
}

impl Slot {
    pub(crate) fn new(path: Arc<str>, owner: Option<Arc<dyn Owner>>, spec: ContextSpec) -> Self {
        let home = match owner {
            Some(owner) => Home::Tree(owner),
            None => Home::Nowhere {
                origin: Box::new(Instant::now()),
            },
        };
        let added = spec.added.unwrap_or_else(|| home.origin().elapsed().into());
        Self {
            id: path.rfind('/').map_or(0, |slash| slash as u32 + 1),
            path,
            instance: spec.instance,
            home,
            creator: Some(Span::current())
                .filter(|span| !span.is_none())
                .map(Box::new),
            word: StopWord::new(spec.generation),
            poll: PollWord::default(),
            place: AtomicU32::default(),
            polls: Polls::default(),
            control: Mutex::new(Control::new(&spec, added)),
            layer: spec.layer,
        }
    }

    /// No code of the user runs with the lock held, save what a layer does in its own memory and settings;
    /// a panic there leaves nothing half done.
    #[inline]
    fn lock(&self) -> Locked<'_> {
        Locked::new(self.peek())
    }

    /// The same for who changes nothing that others wait for.
    fn peek(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record<'a>(&self, control: &mut Control, now: Nanos, steps: impl Into<Steps<'a>>) {
        control.since = now;
        if let Some(owner) = self.owner() {
            let (run, correlation) = (self.run_id(control), control.correlation);
            control.recorded(owner.record(run, now, steps.into(), correlation));
        }
    }

    /// Records the end of the child's last run, if its owner takes that for the last there is to say of the child.
    fn record_last(&self, control: &mut Control, now: Nanos, end: &RunEnd, asked: Nanos) -> bool {
        let (run, correlation) = (self.run_id(control), control.correlation);
        let owner = self.owner();
        let Some(recorded) =
            owner.and_then(|owner| owner.record_last(run, now, end, asked, correlation))
        else {
            return false;
        };
        control.since = now;
        control.recorded(recorded);
        control.told = true;
        true
    }

    fn run_id<'a>(&'a self, control: &Control) -> RunId<'a> {
        RunId {
            path: &self.path,
            instance: self.instance,
            generation: control.generation,
            attempt: control.attempt,
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.path[self.id as usize..]
    }

    pub(crate) fn path(&self) -> &Arc<str> {
        &self.path
    }

    pub(crate) fn instance(&self) -> u64 {
        self.instance
    }

    pub(crate) fn owner(&self) -> Option<&Arc<dyn Owner>> {
        match &self.home {
            Home::Tree(owner) => Some(owner),
            Home::Nowhere { .. } => None,
        }
    }

    /// What its owner has it run under.
    #[inline]
    pub(crate) fn layer(&self) -> Option<&SupervisedLayer> {
        self.layer.as_ref()
    }

    pub(crate) fn creator(&self) -> Option<&Span> {
        self.creator.as_deref()
    }

    pub(crate) fn attempt(&self) -> u32 {
        self.lock().attempt
    }

    /// Now, as the child's times are counted.
    pub(crate) fn now(&self) -> Nanos {
        self.home.origin().elapsed().into()
    }

    /// The same of another time.
    fn since_origin(&self, time: Instant) -> Nanos {
        time.saturating_duration_since(self.home.origin()).into()
    }

    /// When that was.
    pub(crate) fn at(&self, time: Nanos) -> Instant {
        after(self.home.origin(), time.into())
    }

    pub(crate) fn is_cancelled(&self, generation: u64) -> bool {
        self.word.is_cancelled(generation)
    }

    pub(crate) fn stop_cause(&self, generation: u64) -> Option<StopCause> {
        self.word.cause(generation)
    }

    pub(crate) fn stop_deadline(&self, generation: u64) -> Option<Instant> {
        let control = self.lock();
        let drop_at = control.drop_at()?;
        (control.generation == generation).then(|| self.at(drop_at))
    }

    pub(crate) fn cancellation_token(&self, generation: u64) -> CancellationToken {
        let mut control = self.lock();
        if self.is_cancelled(generation) {
            let token = CancellationToken::new();
            token.cancel();
            return token;
        }
        control.rare().token.get_or_insert_default().child_token()
    }

    pub(crate) fn snapshot(&self) -> ChildSnapshot {
        let control = self.lock();
        let now = self.now();
        ChildSnapshot {
            status: control.status(self),
            ready: control.ready && control.phase == Phase::Active,
            generation: control.generation,
            attempt: control.attempt,
            since: self.at(control.changed(now)),
            last_exit: control.past.last().map(|last| last.told(self)),
            exits: control.past.exits(),
            fuse: control.charged().and_then(|charged| charged.fuse),
            heartbeat_age: control
                .beat
                .filter(|_| control.phase == Phase::Active)
                .map(|beat| now.saturating_sub(beat)),
            polls: self.polls.read(),
            stuck: self.stuck(),
            settings: control.settings.as_deref().copied().unwrap_or_default(),
            helpers: control
                .helpers()
                .into_iter()
                .flat_map(|helpers| helpers.alive())
                .collect(),
            sequence: control.sequence,
        }
    }
}
