use std::time::Duration;

use metrics::{Counter, Histogram};

use crate::{TaskContext, TaskExit};

/// How often a child's runs ended, by exit.
pub const CHILD_EXITS: &str = "supervisor_child_exits_total";
/// How often a child ran again.
pub const CHILD_RESTARTS: &str = "supervisor_child_restarts_total";
/// How long a child's runs lasted, in seconds.
pub const RUN_DURATION: &str = "supervisor_run_duration_seconds";

/// How often a poll of a child's runs was stuck.
pub const STUCK_POLLS: &str = "supervisor_child_stuck_polls_total";

/// A child's metrics, looked up once and kept in its memory.
///
/// The recorder is somebody else's code: it is asked and told with the child's slot unlocked.
#[derive(Default)]
struct Meter {
    exits: [Option<Counter>; TaskExit::ALL.len()],
    restarts: Option<Counter>,
    duration: Option<Histogram>,
    stuck: Option<Counter>,
}

pub(super) fn restarted(ctx: &TaskContext) {
    let restarts = handle(
        ctx,
        |meter| &mut meter.restarts,
        |child| metrics::counter!(CHILD_RESTARTS, "child" => child),
    );
    restarts.increment(1);
}

pub(super) fn ended(ctx: &TaskContext, exit: TaskExit, ran: Duration) {
    let exits = handle(
        ctx,
        |meter| &mut meter.exits[exit as usize],
        |child| metrics::counter!(CHILD_EXITS, "child" => child, "exit" => exit.as_str()),
    );
    exits.increment(1);
    let duration = handle(
        ctx,
        |meter| &mut meter.duration,
        |child| metrics::histogram!(RUN_DURATION, "child" => child),
    );
    duration.record(ran);
}

pub(super) fn stuck(ctx: &TaskContext) {
    let stuck = handle(
        ctx,
        |meter| &mut meter.stuck,
        |child| metrics::counter!(STUCK_POLLS, "child" => child),
    );
    stuck.increment(1);
}

fn handle<T: Clone>(
    ctx: &TaskContext,
    place: impl Fn(&mut Meter) -> &mut Option<T>,
    register: impl FnOnce(String) -> T,
) -> T {
    /// There is one meter per child, however many layers observe it.
    const METER: usize = 0;
    let known = ctx.memory(METER, |meter| place(meter).clone());
    known.unwrap_or_else(|| {
        let new = register(label(ctx.path()).to_owned());
        ctx.memory(METER, |meter| *place(meter) = Some(new.clone()));
        new
    })
}

/// The child's path, with a pool's index left out.
fn label(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some((pool, index))
            if !pool.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            pool
        }
        _ => path,
    }
}
