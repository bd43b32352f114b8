use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use metrics::{Counter, Gauge, Histogram, Unit};

use crate::{
    TaskContext, TaskExit,
    metric::{Labels, Metric, MetricKind, is_recorded},
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

/// A child's metrics, looked up at its first exit and kept with its history: one that has none takes no room.
///
/// The recorder is somebody else's code: it is asked and told with the child's slot unlocked.
pub(crate) struct Meter {
    starts: Counter,
    restarts: Counter,
    running: Gauge,
    duration: Histogram,
    /// Of the exits that there have been.
    exits: Mutex<Vec<(TaskExit, Counter)>>,
    stuck: OnceLock<Counter>,
}

impl Meter {
    /// Counts a run that begins.
    pub(super) fn begun(ctx: &TaskContext) {
        if !is_recorded() {
            return;
        }
        if ctx.generation() > 1 {
            let meter = Self::of(ctx);
            meter.starts.increment(1);
            meter.restarts.increment(1);
            meter.running.increment(1.0);
        } else {
            let mut child = Labels::of_child(ctx.shared_path());
            CHILD_STARTS.counter_of(&mut child).increment(1);
            CHILD_RUNNING.gauge_of(&mut child).increment(1.0);
        }
    }

    /// There is one per child, however many layers observe it.
    pub(super) fn of(ctx: &TaskContext) -> Arc<Self> {
        ctx.slot().meter().unwrap_or_else(|| {
            let new = Arc::new(Self::new(&mut Labels::of_child(ctx.shared_path())));
            ctx.slot().keep_meter(new.clone());
            new
        })
    }

    fn new(child: &mut Labels) -> Self {
        Self {
            starts: CHILD_STARTS.counter_of(child),
            restarts: CHILD_RESTARTS.counter_of(child),
            running: CHILD_RUNNING.gauge_of(child),
            duration: RUN_DURATION.histogram_of(child),
            exits: Mutex::default(),
            stuck: OnceLock::new(),
        }
    }

    /// Counts a run that has ended. One that somebody stopped is as likely as not the child's last.
    pub(super) fn ended(ctx: &TaskContext, exit: TaskExit) {
        if !is_recorded() {
            return;
        }
        let (ran, meter) = ctx.slot().ran_for_on();
        let stopped = exit == TaskExit::Cancelled;
        match meter.or_else(|| (!stopped).then(|| Self::of(ctx))) {
            Some(meter) => {
                meter.exits(ctx, exit).increment(1);
                meter.duration.record(ran);
                meter.running.decrement(1.0);
            }
            None => {
                let mut child = Labels::of_child(ctx.shared_path());
                RUN_DURATION.histogram_of(&mut child).record(ran);
                CHILD_RUNNING.gauge_of(&mut child).decrement(1.0);
                exits_of(child, exit).increment(1);
            }
        }
    }

    pub(super) fn stuck(&self, ctx: &TaskContext) {
        let stuck = self
            .stuck
            .get_or_init(|| STUCK_POLLS.counter_of(&mut Labels::of_child(ctx.shared_path())));
        stuck.increment(1);
    }

    fn exits(&self, ctx: &TaskContext, exit: TaskExit) -> Counter {
        let exits = || self.exits.lock().unwrap_or_else(PoisonError::into_inner);
        let known = exits().iter().find(|(of, _)| *of == exit).cloned();
        if let Some((_, known)) = known {
            return known;
        }
        let new = exits_of(Labels::of_child(ctx.shared_path()), exit);
        exits().push((exit, new.clone()));
        new
    }
}

fn exits_of(child: Labels, exit: TaskExit) -> Counter {
    CHILD_EXITS.counter_of(&mut child.with("exit", exit.as_str()))
}
