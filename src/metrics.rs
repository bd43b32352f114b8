//! The metrics of trees: what concerns supervisors, commands, the shutdown and those who watch. Those of a
//! child's runs are its [`ObserveLayer`](crate::ObserveLayer)'s.

use std::{sync::Arc, time::Duration};

use metrics::{SharedString, Unit};
use supervisor_layers::{
    RestartDecision,
    metric::{Metric, MetricKind, child_label, is_recorded},
    observe,
};

use crate::{event::TreeEvent, shutdown::ShutdownResult};

macro_rules! counters {
    ($($(#[$about:meta])* $id:ident = $name:literal [$($label:literal),*] $help:literal;)*) => {
        $($(#[$about])* static $id: Metric = Metric {
            name: $name,
            kind: MetricKind::Counter,
            unit: None,
            labels: &[$($label),*],
            help: $help,
        };)*
        static COUNTERS: &[&Metric] = &[$(&$id),*];
    };
}

counters! {
    FUSE_BLOWN = "supervisor_child_fuse_blown_total" ["child"]
        "Failures that were one too many for the child's fuse.";
    QUARANTINES = "supervisor_child_quarantines_total" ["child"]
        "Times that a blown fuse held the child down.";
    GROUP_RESTARTS = "supervisor_group_restarts_total" ["supervisor"]
        "Restarts of several siblings together.";
    INTENSITY_EXCEEDED = "supervisor_intensity_exceeded_total" ["supervisor"]
        "Restarts that were one too many for the supervisor.";
    ESCALATIONS = "supervisor_escalations_total" ["supervisor", "policy"]
        "Times that the supervisor gave up, by what became of it: escalate_to_parent, shutdown_tree or \
         quarantine_scope.";
    COMMANDS = "supervisor_commands_total" ["command", "outcome"]
        "Commands, by whether they were completed, failed or refused.";
    SHUTDOWN_CHILDREN = "supervisor_shutdown_children_total" ["status"]
        "Children by how they took the shutdown: already_exited, graceful, aborted, abort_failed or \
         late_report.";
    SUBSCRIBER_LAG = "supervisor_subscriber_lag_total" ["subscriber", "level"]
        "Times that a subscriber was so far behind: warning, critical, cut_off or sampled.";
    SUBSCRIBER_MISSED = "supervisor_subscriber_missed_events_total" ["subscriber"]
        "Events that a subscriber did not get.";
    JOURNAL_FAILURES = "supervisor_journal_failures_total" []
        "Times that the journal file could no longer be written.";
    AUDIT_FAILURES = "supervisor_audit_failures_total" []
        "Times that the audit file could no longer be written.";
}

static SHUTDOWN_DURATION: Metric = Metric {
    name: "supervisor_shutdown_duration_seconds",
    kind: MetricKind::Histogram,
    unit: Some(Unit::Seconds),
    labels: &[],
    help: "How long the shutdown took.",
};

/// All metrics there are.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    let of_runs = observe::METRICS.iter();
    of_runs.chain(COUNTERS).copied().chain([&SHUTDOWN_DURATION])
}

/// The table of all metrics, in Markdown.
pub fn table() -> String {
    let mut table = "| metric | type | labels | tells |\n|---|---|---|---|\n".to_owned();
    for metric in all() {
        let labels = match metric.labels {
            [] => String::new(),
            labels => format!("`{}`", labels.join("`, `")),
        };
        table += &format!(
            "| `{}` | {} | {labels} | {} |\n",
            metric.name, metric.kind, metric.help
        );
    }
    table
}

/// Counts what happened in a tree. To be called with nothing locked: the recorder is the program's.
pub(crate) fn count(path: &str, event: &TreeEvent) {
    if !is_recorded() {
        return;
    }
    match event {
        TreeEvent::GroupRestartBegun { .. } => GROUP_RESTARTS
            .counter([path.to_owned().into()])
            .increment(1),
        TreeEvent::IntensityExceeded { .. } => INTENSITY_EXCEEDED
            .counter([path.to_owned().into()])
            .increment(1),
        TreeEvent::Escalated { policy, .. } => {
            ESCALATIONS
                .counter([path.to_owned().into(), word(policy).into()])
                .increment(1);
        }
        TreeEvent::SubscriberLagged {
            subscriber, level, ..
        } => SUBSCRIBER_LAG
            .counter([subscriber.clone().into(), word(level).into()])
            .increment(1),
        TreeEvent::JournalFailed { .. } => JOURNAL_FAILURES.counter([]).increment(1),
        TreeEvent::AuditFailed { .. } => AUDIT_FAILURES.counter([]).increment(1),
        TreeEvent::CommandRefused { command, .. } => command_ended(command.clone(), "refused"),
        _ => {}
    }
}

/// A command came to its end: completed, failed or refused.
pub(crate) fn command_ended(command: impl Into<SharedString>, outcome: &'static str) {
    if !is_recorded() {
        return;
    }
    COMMANDS
        .counter([command.into(), outcome.into()])
        .increment(1);
}

/// Counts what follows an exit, where that is out of the ordinary.
pub(crate) fn decided(path: &Arc<str>, decision: &RestartDecision) {
    if decision.fuse.is_none_or(|fuse| !fuse.blown) {
        return;
    }
    let child = child_label(path);
    FUSE_BLOWN.counter([child.clone()]).increment(1);
    if let crate::RestartAction::Quarantine { .. } = decision.action {
        QUARANTINES.counter([child]).increment(1);
    }
}

pub(crate) fn missed(subscriber: &str, events: u64) {
    SUBSCRIBER_MISSED
        .counter([subscriber.to_owned().into()])
        .increment(events);
}

pub(crate) fn shut_down(result: &ShutdownResult) {
    let took: Duration = result.report.took;
    SHUTDOWN_DURATION.histogram([]).record(took);
    for (status, children) in result.report.counts() {
        let status = word(&status).into();
        SHUTDOWN_CHILDREN
            .counter([status])
            .increment(children as u64);
    }
}

/// A value's name, as JSON has it.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
