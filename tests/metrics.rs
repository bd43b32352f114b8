//! What a tree counts, under which names, and that nothing else is.

#[path = "../layers/tests/recorded/mod.rs"]
mod recorded;
mod support;

use std::collections::BTreeSet;

use recorded::Recorder;
use rust_supervisor::{
    Backoff, Backpressure, BackpressureStrategy, ChildSpec, EscalationPolicy, SupervisorSpec,
    metrics, ms, secs,
    test_util::{Script, TestTree, by},
};
use support::{Switchboard, within};

/// A tree in which nearly everything is counted that can be.
async fn eventful(recorder: &Recorder, on: bool) {
    let _installed = ::metrics::set_default_local_recorder(recorder);
    let board = Switchboard::new();
    let fused = board
        .child("a")
        .fuse(1, secs(600))
        .backoff(Backoff::constant(ms(10)));
    let group = SupervisorSpec::one_for_all("g")
        .intensity(1, secs(600))
        .escalation(EscalationPolicy::QuarantineScope)
        .child(board.child("x").no_fuse())
        .child(board.child("y"));
    let deaf = Script::new().runs_until_stopped(1).deaf();
    let deaf = ChildSpec::worker("deaf", deaf.task()).grace(secs(1));
    let spec = SupervisorSpec::one_for_one("t")
        .metrics(on)
        .event_channel_capacity(5)
        .backpressure(Backpressure::new(BackpressureStrategy::AlertAndBlock).window(secs(10)))
        .child(fused)
        .child(deaf)
        .pool(2, {
            let board = board.clone();
            move |_| board.child("p")
        })
        .supervisor(group);
    let tree = TestTree::start(spec).await;
    let mut slow = tree.subscribe_events().named("slow");
    for generation in 2..=3 {
        board.fail("a");
        if generation == 2 {
            tree.until_running("a", 2).await;
        }
    }
    tree.until_status("a", "quarantined").await;
    board.fail("x");
    tree.until_running("g/y", 2).await;
    board.fail("x");
    tree.until_status("g", "quarantined").await;
    within(tree.restart_child("p/0", &by())).await.unwrap();
    within(tree.restart_child("nobody", &by()))
        .await
        .unwrap_err();
    within(tree.restart_child("a", &by())).await.unwrap_err();
    tokio::time::sleep(secs(11)).await;
    slow.next().await;
    within(tree.handle().shutdown_tree(&by())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_happens_is_counted_under_bounded_labels() {
    let recorder = Recorder::default();
    eventful(&recorder, true).await;
    for (metric, total) in [
        ("supervisor_child_starts_total{child=/a}", 2.0),
        ("supervisor_child_restarts_total{child=/a}", 1.0),
        ("supervisor_child_exits_total{child=/a,exit=failed}", 2.0),
        (
            "supervisor_child_exits_total{child=/deaf,exit=aborted}",
            1.0,
        ),
        ("supervisor_child_fuse_blown_total{child=/a}", 1.0),
        ("supervisor_child_quarantines_total{child=/a}", 1.0),
        // Both replicas under one label, one of them twice.
        ("supervisor_child_starts_total{child=/p/*}", 3.0),
        ("supervisor_child_starts_total{child=/p}", 1.0),
        ("supervisor_group_restarts_total{supervisor=/g}", 1.0),
        ("supervisor_intensity_exceeded_total{supervisor=/g}", 1.0),
        (
            "supervisor_escalations_total{supervisor=/g,policy=quarantine_scope}",
            1.0,
        ),
        (
            "supervisor_commands_total{command=restart_child,outcome=completed}",
            1.0,
        ),
        (
            "supervisor_commands_total{command=restart_child,outcome=failed}",
            1.0,
        ),
        (
            "supervisor_commands_total{command=restart_child,outcome=refused}",
            1.0,
        ),
        (
            "supervisor_commands_total{command=shutdown_tree,outcome=completed}",
            1.0,
        ),
        (
            "supervisor_subscriber_lag_total{subscriber=slow,level=cut_off}",
            1.0,
        ),
        ("supervisor_shutdown_children_total{status=aborted}", 1.0),
    ] {
        assert_eq!(recorder.total(metric), total, "{metric}");
    }
    assert!(recorder.total("supervisor_subscriber_missed_events_total{subscriber=slow}") > 0.0);
    // The child that does not end in its grace took one second.
    let took = recorder.kept()["supervisor_shutdown_duration_seconds{}"].clone();
    assert_eq!(took, [1.0]);
    // Whatever began has ended.
    let running = recorder.kept();
    let running: Vec<_> = running
        .iter()
        .filter(|(name, _)| name.starts_with("supervisor_child_running"))
        .map(|(name, values)| (name.clone(), values.iter().sum::<f64>()))
        .collect();
    assert!(running.len() >= 6);
    assert!(running.iter().all(|(_, now)| *now == 0.0), "{running:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_counted_that_the_table_does_not_have_and_labels_are_as_it_says() {
    let recorder = Recorder::default();
    eventful(&recorder, true).await;
    for metric in recorder.kept().keys() {
        let (name, labels) = metric.split_once('{').unwrap();
        let labels: Vec<_> = labels
            .trim_end_matches('}')
            .split(',')
            .filter_map(|label| Some(label.split_once('=')?.0))
            .collect();
        let known = metrics::all().find(|known| known.name == name);
        assert_eq!(
            known.unwrap_or_else(|| panic!("{name}")).labels,
            labels,
            "{name}"
        );
    }
    for metric in metrics::all() {
        assert!(metric.name.starts_with("supervisor_"));
        let counts = metric.kind == rust_supervisor::layers::metric::MetricKind::Counter;
        assert_eq!(metric.name.ends_with("_total"), counts, "{}", metric.name);
    }
}

#[tokio::test(start_paused = true)]
async fn where_a_trees_metrics_are_off_only_the_runs_layers_count() {
    let recorder = Recorder::default();
    eventful(&recorder, false).await;
    let kept = recorder.kept();
    let of_runs = rust_supervisor::layers::observe::METRICS;
    for metric in kept.keys() {
        let name = metric.split_once('{').unwrap().0;
        assert!(of_runs.iter().any(|known| known.name == name), "{name}");
    }
}

#[test]
fn the_dashboard_shows_every_metric_and_no_other() {
    let dashboard = include_str!("../docs/grafana/supervisor.json");
    let _: serde_json::Value = serde_json::from_str(dashboard).unwrap();
    let words = dashboard.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let shown: BTreeSet<&str> = words
        .filter(|word| word.starts_with("supervisor_"))
        .map(|word| {
            let of_histogram = ["_bucket", "_sum", "_count"];
            let base = of_histogram.iter().find_map(|end| word.strip_suffix(end));
            base.unwrap_or(word)
        })
        .collect();
    let there: BTreeSet<&str> = metrics::all().map(|metric| metric.name).collect();
    assert_eq!(shown, there);
}
