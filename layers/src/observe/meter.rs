use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit};

use crate::{
    TaskContext, TaskExit,
    metric::{Metric, MetricKind, child_label},
};

/// How often a child's runs began.
pub static CHILD_STARTS: Metric = Metric {
    name: "supervisor_child_starts_total",
    kind: MetricKind::Counter,
    unit: None,
    labels: &["child"],
    help: "Runs that began.",
};

/// How often a child ran again.
pub static CHILD_RESTARTS: Metric = Metric {
    name: "supervisor_child_restarts_total",
    kind: MetricKind::Counter,
    unit: None,
    labels: &["child"],
    help: "Runs that followed another run of the same child, for whatever reason.",
};

/// How often a child's runs ended, by exit.
pub static CHILD_EXITS: Metric = Metric {
    name: "supervisor_child_exits_total",
    kind: MetricKind::Counter,
    unit: None,
    labels: &["child", "exit"],
    help: "Runs that ended, by how: completed, failed, panicked, timed_out, unhealthy, cancelled or \
           aborted.",
};

/// How many runs of a child go on.
pub static CHILD_RUNNING: Metric = Metric {
    name: "supervisor_child_running",
    kind: MetricKind::Gauge,
    unit: None,
    labels: &["child"],
    help: "Runs that go on now: 0 or 1 of a child, of a pool's replicas (/pool/*) up to their number.",
};

/// How long a child's runs lasted.
pub static RUN_DURATION: Metric = Metric {
    name: "supervisor_run_duration_seconds",
    kind: MetricKind::Histogram,
    unit: Some(Unit::Seconds),
    labels: &["child"],
    help: "How long runs lasted that ended.",
};

/// How often a poll of a child's runs was stuck.
pub static STUCK_POLLS: Metric = Metric {
    name: "supervisor_child_stuck_polls_total",
    kind: MetricKind::Counter,
    unit: None,
    labels: &["child"],
    help: "Polls that blocked their worker thread for longer than the threshold.",
};

/// All that an [`ObserveLayer`](super::ObserveLayer) emits.
pub static METRICS: [&Metric; 6] = [
    &CHILD_STARTS,
    &CHILD_RESTARTS,
    &CHILD_EXITS,
    &CHILD_RUNNING,
    &RUN_DURATION,
    &STUCK_POLLS,
];

/// A child's metrics, looked up once and kept in its memory.
///
/// The recorder is somebody else's code: it is asked and told with the child's slot unlocked.
#[derive(Default)]
struct Meter {
    starts: Option<Counter>,
    restarts: Option<Counter>,
    /// Of the exits that there have been.
    exits: Vec<(TaskExit, Counter)>,
    running: Option<Gauge>,
    duration: Option<Histogram>,
    stuck: Option<Counter>,
}

/// There is one meter per child, however many layers observe it.
const METER: usize = 0;

pub(super) fn begun(ctx: &TaskContext) {
    let starts = handle(
        ctx,
        |meter| &mut meter.starts,
        |child| CHILD_STARTS.counter(&[child]),
    );
    starts.increment(1);
    if ctx.generation() > 1 {
        let restarts = handle(
            ctx,
            |meter| &mut meter.restarts,
            |child| CHILD_RESTARTS.counter(&[child]),
        );
        restarts.increment(1);
    }
    running(ctx).increment(1.0);
}

pub(super) fn ended(ctx: &TaskContext, exit: TaskExit, ran: Duration) {
    exits(ctx, exit).increment(1);
    let duration = handle(
        ctx,
        |meter| &mut meter.duration,
        |child| RUN_DURATION.histogram(&[child]),
    );
    duration.record(ran);
    running(ctx).decrement(1.0);
}

pub(super) fn stuck(ctx: &TaskContext) {
    let stuck = handle(
        ctx,
        |meter| &mut meter.stuck,
        |child| STUCK_POLLS.counter(&[child]),
    );
    stuck.increment(1);
}

fn exits(ctx: &TaskContext, exit: TaskExit) -> Counter {
    let known = ctx.memory(METER, |meter: &mut Meter| {
        let mut known = meter.exits.iter().filter(|(of, _)| *of == exit);
        known.next().map(|(_, counter)| counter.clone())
    });
    known.unwrap_or_else(|| {
        let new = CHILD_EXITS.counter(&[&child_label(ctx.path()), exit.as_str()]);
        ctx.memory(METER, |meter: &mut Meter| {
            meter.exits.push((exit, new.clone()));
        });
        new
    })
}

fn running(ctx: &TaskContext) -> Gauge {
    handle(
        ctx,
        |meter| &mut meter.running,
        |child| CHILD_RUNNING.gauge(&[child]),
    )
}

fn handle<T: Clone>(
    ctx: &TaskContext,
    place: impl Fn(&mut Meter) -> &mut Option<T>,
    register: impl FnOnce(&str) -> T,
) -> T {
    let known = ctx.memory(METER, |meter| place(meter).clone());
    known.unwrap_or_else(|| {
        let new = register(&child_label(ctx.path()));
        ctx.memory(METER, |meter| *place(meter) = Some(new.clone()));
        new
    })
}
