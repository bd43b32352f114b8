use std::time::Duration;

use metrics::{Counter, Histogram};

use crate::{TaskContext, TaskExit};

/// How often a child's runs ended, by exit.
pub const CHILD_EXITS: &str = "supervisor_child_exits_total";
/// How often a child ran again.
pub const CHILD_RESTARTS: &str = "supervisor_child_restarts_total";
/// How long a child's runs lasted, in seconds.
pub const RUN_DURATION: &str = "supervisor_run_duration_seconds";

/// A child's metrics, looked up once.
#[derive(Default)]
pub(super) struct Meter {
    child: Option<String>,
    exits: [Option<Counter>; TaskExit::ALL.len()],
    restarts: Option<Counter>,
    duration: Option<Histogram>,
}

impl Meter {
    /// The child's path, with a pool's index left out.
    fn label(&mut self, ctx: &TaskContext) -> String {
        let label = self
            .child
            .get_or_insert_with(|| match ctx.path().rsplit_once('/') {
                Some((pool, index))
                    if !pool.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()) =>
                {
                    pool.to_owned()
                }
                _ => ctx.path().to_owned(),
            });
        label.clone()
    }

    pub(super) fn restarted(&mut self, ctx: &TaskContext) {
        let label = self.label(ctx);
        self.restarts
            .get_or_insert_with(|| metrics::counter!(CHILD_RESTARTS, "child" => label))
            .increment(1);
    }

    pub(super) fn ended(&mut self, ctx: &TaskContext, exit: TaskExit, ran: Duration) {
        let label = self.label(ctx);
        self.exits[exit as usize]
            .get_or_insert_with(|| {
                metrics::counter!(CHILD_EXITS, "child" => label.clone(), "exit" => exit.as_str())
            })
            .increment(1);
        self.duration
            .get_or_insert_with(|| metrics::histogram!(RUN_DURATION, "child" => label))
            .record(ran);
    }
}
