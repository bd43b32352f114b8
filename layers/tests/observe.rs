//! One span per run, metrics, poll statistics.

mod recorded;
mod scripted;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use recorded::{Log, Recorder};
use scripted::{
    Ends, PanicsIn, Run, always, assert_passes_readiness_errors_through, assert_passes_through,
    script, settle, within,
};
use supervisor_layers::{
    BoxError, ObserveLayer, RestartType, ServiceBuilderExt, TaskContext, TaskFactory,
    TaskFactoryExt, WatchdogLayer, ms, secs, service_fn,
};
use tower::ServiceBuilder;
use tracing::Level;

#[tokio::test(start_paused = true)]
async fn alone_it_passes_everything_through() {
    for layer in [
        ObserveLayer::new(),
        ObserveLayer::new().metrics(false).poll_statistics(false),
    ] {
        assert_passes_through(layer).await;
        assert_passes_readiness_errors_through(layer);
    }
}

fn polled_three_times() -> impl TaskFactory<Error = BoxError> {
    service_fn(|_| async {
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
    })
}

#[tokio::test]
async fn every_poll_is_counted_and_timed() {
    let child = ServiceBuilder::new()
        .observe()
        .service(polled_three_times());
    let ctx = TaskContext::detached("probe");
    within(child.run(ctx.clone())).await.unwrap();
    let polls = ctx.snapshot().polls;
    assert_eq!((polls.polls, polls.slow), (3, 0));
    assert!(polls.longest > secs(0) && polls.longest <= polls.busy);
}

#[tokio::test]
async fn a_poll_over_the_threshold_is_slow() {
    // Every poll takes longer than nothing.
    let layer = ObserveLayer::new().slow_poll(secs(0));
    let child = ServiceBuilder::new()
        .layer(layer)
        .service(polled_three_times());
    let ctx = TaskContext::detached("probe");
    within(child.run(ctx.clone())).await.unwrap();
    assert_eq!(ctx.snapshot().polls.slow, 3);
}

#[tokio::test]
async fn turned_off_nothing_is_counted() {
    let recorder = Recorder::default();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let layer = ObserveLayer::new().poll_statistics(false).metrics(false);
    let child = ServiceBuilder::new()
        .layer(layer)
        .service(polled_three_times());
    let ctx = TaskContext::detached("probe");
    within(child.run(ctx.clone())).await.unwrap();
    assert_eq!(ctx.snapshot().polls.polls, 0);
    assert!(recorder.kept().is_empty());
}

#[tokio::test(start_paused = true)]
async fn runs_exits_and_restarts_are_counted_and_runs_timed() {
    let recorder = Recorder::default();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let child = ServiceBuilder::new()
        .restart(RestartType::Transient)
        .observe()
        .service(script([
            Ends::Err.after(secs(1)),
            Ends::Panic.after(secs(2)),
            Ends::Err.after(secs(3)),
            Ends::Ok.after(secs(4)),
        ]));
    within(child.run(TaskContext::detached("probe")))
        .await
        .unwrap();
    let exit = |exit| {
        recorder.total(&format!(
            "supervisor_child_exits_total{{child=/probe,exit={exit}}}"
        ))
    };
    assert_eq!(
        (exit("failed"), exit("panicked"), exit("completed")),
        (2.0, 1.0, 1.0)
    );
    assert_eq!(recorder.exits().len(), 3);
    assert_eq!(
        recorder.total("supervisor_child_restarts_total{child=/probe}"),
        3.0
    );
    let durations = recorder.kept()["supervisor_run_duration_seconds{child=/probe}"].clone();
    assert_eq!(durations, [1.0, 2.0, 3.0, 4.0]);
}

/// The exits counted of a child whose first run is stopped by somebody else, or by nobody.
async fn counted(run: Run, stopped: bool) -> Vec<(String, f64)> {
    let recorder = Recorder::default();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let child = ServiceBuilder::new()
        .restart(RestartType::Temporary)
        .observe()
        .watchdog(WatchdogLayer::new().stale_after(secs(60)))
        .graceful(secs(1))
        .timeout(secs(100))
        .service(always(run));
    let ctx = TaskContext::detached("probe");
    let life = tokio::spawn(child.run(ctx.clone()));
    settle().await;
    if stopped {
        ctx.gate().shutdown();
    }
    let _ = within(life).await.unwrap();
    let last = ctx.snapshot().last_exit.unwrap().exit;
    let exits = recorder.exits();
    let expected = format!("supervisor_child_exits_total{{child=/probe,exit={last}}}");
    assert_eq!(exits, [(expected, 1.0)], "metrics and state agree");
    exits
}

#[tokio::test(start_paused = true)]
async fn exits_are_counted_by_their_kind_as_the_state_has_them() {
    for (run, stopped, exit) in [
        (Ends::Ok.at_once(), false, "completed"),
        (Ends::Err.at_once(), false, "failed"),
        (Ends::Fatal.at_once(), false, "failed"),
        (Ends::Panic.at_once(), false, "panicked"),
        (Ends::Deaf.at_once(), false, "unhealthy"),
        (Ends::Stopped.at_once(), false, "unhealthy"),
        (Ends::Stopped.at_once(), true, "cancelled"),
        (Ends::Deaf.at_once(), true, "aborted"),
    ] {
        let counted = counted(run, stopped).await;
        assert!(
            counted[0].0.contains(&format!("exit={exit}}}")),
            "{run:?}: {counted:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_over_its_timeout_is_counted_as_timed_out() {
    let recorder = Recorder::default();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let child = ServiceBuilder::new()
        .observe()
        .timeout(secs(1))
        .service(always(Ends::Deaf.at_once()));
    within(child.run(TaskContext::detached("probe")))
        .await
        .unwrap_err();
    let expected = "supervisor_child_exits_total{child=/probe,exit=timed_out}";
    assert_eq!(recorder.exits(), [(expected.to_owned(), 1.0)]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_that_unwinds_through_the_stack_is_counted_as_one() {
    for child in [PanicsIn::Poll, PanicsIn::Call] {
        let recorder = Recorder::default();
        let _installed = metrics::set_default_local_recorder(&recorder);
        let child = ServiceBuilder::new()
            .restart(RestartType::Temporary)
            .observe()
            .service(child);
        within(child.run(TaskContext::detached("probe")))
            .await
            .unwrap_err();
        let expected = "supervisor_child_exits_total{child=/probe,exit=panicked}";
        assert_eq!(recorder.exits(), [(expected.to_owned(), 1.0)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_dropped_from_outside_is_counted_as_aborted() {
    let recorder = Recorder::default();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let child = ServiceBuilder::new()
        .observe()
        .service(always(Ends::Deaf.at_once()));
    let run = tokio::spawn(child.run(TaskContext::detached("probe")));
    settle().await;
    run.abort();
    within(run).await.unwrap_err();
    let expected = "supervisor_child_exits_total{child=/probe,exit=aborted}";
    assert_eq!(recorder.exits(), [(expected.to_owned(), 1.0)]);
}

#[tokio::test]
async fn a_recorder_may_look_at_the_child_it_is_told_of() {
    /// Looks from another thread, as a recorder with a lock of its own would wait for one that does.
    #[derive(Clone)]
    struct Looks {
        ctx: TaskContext,
        in_vain: Arc<AtomicBool>,
    }

    impl Looks {
        fn look(&self) {
            let (ctx, (done, seen)) = (self.ctx.clone(), std::sync::mpsc::channel());
            std::thread::spawn(move || {
                let _ = ctx.snapshot();
                let _ = done.send(());
            });
            let in_vain = seen.recv_timeout(secs(5)).is_err();
            self.in_vain.fetch_or(in_vain, Ordering::Relaxed);
        }
    }

    impl metrics::CounterFn for Looks {
        fn increment(&self, _: u64) {
            self.look();
        }

        fn absolute(&self, _: u64) {}
    }

    impl metrics::HistogramFn for Looks {
        fn record(&self, _: f64) {
            self.look();
        }
    }

    impl metrics::Recorder for Looks {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            self.look();
            Counter::from_arc(Arc::new(self.clone()))
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            self.look();
            Histogram::from_arc(Arc::new(self.clone()))
        }
    }

    let ctx = TaskContext::detached("probe");
    let recorder = Looks {
        ctx: ctx.clone(),
        in_vain: Arc::default(),
    };
    let _installed = metrics::set_default_local_recorder(&recorder);
    let child = ServiceBuilder::new()
        .restart(RestartType::Transient)
        .observe()
        .service(script([Ends::Err.at_once(), Ends::Ok.at_once()]));
    within(child.run(ctx)).await.unwrap();
    assert!(!recorder.in_vain.load(Ordering::Relaxed), "it is locked");
}

#[tokio::test]
async fn the_label_has_a_star_for_a_pools_index() {
    for (id, label) in [
        ("storage/settle/0", "/storage/settle/*"),
        ("storage/settle/17", "/storage/settle/*"),
        ("storage/db", "/storage/db"),
        ("v2", "/v2"),
        ("7", "/7"),
    ] {
        let recorder = Recorder::default();
        let _installed = metrics::set_default_local_recorder(&recorder);
        let child = ServiceBuilder::new()
            .observe()
            .service(service_fn(|_| async {}));
        within(child.run(TaskContext::detached(id))).await.unwrap();
        let expected = format!("supervisor_child_exits_total{{child={label},exit=completed}}");
        assert_eq!(recorder.exits(), [(expected, 1.0)]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_run_logs_is_inside_its_own_span() {
    let log = Log::default();
    let _installed = tracing::subscriber::set_default(log.clone());
    let child = ServiceBuilder::new()
        .restart(RestartType::Transient)
        .observe()
        .service(service_fn(|ctx: TaskContext| {
            tracing::event!(Level::INFO, "building");
            async move {
                tokio::time::sleep(ms(1)).await;
                tracing::event!(Level::INFO, "working");
                if ctx.generation() == 1 {
                    return Err("broken");
                }
                Ok(())
            }
        }));
    within(child.run(TaskContext::detached("probe")))
        .await
        .unwrap();
    tracing::event!(Level::INFO, "outside");
    let first = "[rust_supervisor supervisor.run path=\"/probe\" generation=1 attempt=1]";
    let second = "[rust_supervisor supervisor.run path=\"/probe\" generation=2 attempt=2]";
    assert_eq!(
        log.lines(),
        [
            format!("{first} INFO building"),
            format!("{first} INFO working"),
            format!("{first} WARN run failed error=broken"),
            format!("{second} INFO building"),
            format!("{second} INFO working"),
            format!("{second} DEBUG run ended"),
            "[] INFO outside".to_owned(),
        ]
    );
    assert_eq!(log.spans(), 2, "one span per run");
}

/// It panics when displayed.
#[derive(Debug)]
struct Unspeakable;

impl std::fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("panicked when displayed")
    }
}

impl std::error::Error for Unspeakable {}

#[tokio::test(start_paused = true)]
async fn an_error_that_cannot_be_logged_is_a_failure_like_any_other() {
    let _installed = tracing::subscriber::set_default(Log::default());
    let child = ServiceBuilder::new()
        .restart(RestartType::Temporary)
        .observe()
        .service(service_fn(|_| async { Err::<(), _>(Unspeakable) }));
    let ctx = TaskContext::detached("probe");
    within(child.run(ctx.clone())).await.unwrap_err();
    assert_eq!(
        ctx.snapshot().last_exit.unwrap().exit,
        supervisor_layers::TaskExit::Failed
    );
}
