//! One span per run, metrics, poll statistics.

mod scripted;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, SharedString, Unit,
};
use scripted::{
    Ends, Run, always, assert_passes_readiness_errors_through, assert_passes_through, script,
    settle, within,
};
use supervisor_layers::{
    BoxError, ObserveLayer, RestartType, ServiceBuilderExt, TaskContext, TaskFactory,
    TaskFactoryExt, ms, secs, service_fn,
};
use tower::ServiceBuilder;
use tower_service::Service;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span,
};

/// A recorder that keeps every value under `name{label=value}`.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

struct Handle(Recorder, String);

impl Recorder {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Vec<f64>>> {
        self.0.lock().unwrap()
    }

    fn total(&self, metric: &str) -> f64 {
        self.kept()
            .get(metric)
            .map_or(0.0, |values| values.iter().sum())
    }

    fn handle(&self, key: &Key) -> Arc<Handle> {
        let labels: Vec<_> = key
            .labels()
            .map(|l| format!("{}={}", l.key(), l.value()))
            .collect();
        let metric = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::new(Handle(self.clone(), metric))
    }
}

impl Handle {
    fn keep(&self, value: f64) {
        self.0.kept().entry(self.1.clone()).or_default().push(value);
    }
}

impl CounterFn for Handle {
    fn increment(&self, value: u64) {
        self.keep(value as f64);
    }

    fn absolute(&self, _: u64) {
        panic!("counters only grow")
    }
}

impl HistogramFn for Handle {
    fn record(&self, value: f64) {
        self.keep(value);
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.handle(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        panic!("there are no gauges")
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.handle(key))
    }
}

fn exits(recorder: &Recorder) -> Vec<(String, f64)> {
    let kept = recorder.kept();
    let exits = kept
        .iter()
        .filter(|(name, _)| name.starts_with("supervisor_child_exits"));
    exits
        .map(|(name, values)| (name.clone(), values.iter().sum()))
        .collect()
}

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
    assert_eq!(exits(&recorder).len(), 3);
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
        .watchdog(supervisor_layers::WatchdogLayer::new().stale_after(secs(60)))
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
    let exits = exits(&recorder);
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
    assert_eq!(exits(&recorder), [(expected.to_owned(), 1.0)]);
}

/// A service of one's own, without the catch that `service_fn` has built in.
#[derive(Clone)]
struct Bare {
    panics_in_call: bool,
}

struct BareRun;

impl Service<TaskContext> for Bare {
    type Response = ();
    type Error = BoxError;
    type Future = BareRun;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: TaskContext) -> BareRun {
        assert!(!self.panics_in_call, "in call");
        BareRun
    }
}

impl Future for BareRun {
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        panic!("in poll")
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_that_unwinds_through_the_stack_is_counted_as_one() {
    for panics_in_call in [false, true] {
        let recorder = Recorder::default();
        let _installed = metrics::set_default_local_recorder(&recorder);
        let child = ServiceBuilder::new()
            .restart(RestartType::Temporary)
            .observe()
            .service(Bare { panics_in_call });
        within(child.run(TaskContext::detached("probe")))
            .await
            .unwrap_err();
        let expected = "supervisor_child_exits_total{child=/probe,exit=panicked}";
        assert_eq!(exits(&recorder), [(expected.to_owned(), 1.0)]);
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
    assert_eq!(exits(&recorder), [(expected.to_owned(), 1.0)]);
}

#[tokio::test]
async fn the_label_leaves_a_pools_index_out() {
    for (id, label) in [
        ("storage/settle/0", "/storage/settle"),
        ("storage/settle/17", "/storage/settle"),
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
        assert_eq!(exits(&recorder), [(expected, 1.0)]);
    }
}

/// A subscriber that writes every event with the span it is in.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<LogState>>);

#[derive(Default)]
struct LogState {
    spans: Vec<String>,
    entered: Vec<u64>,
    lines: Vec<String>,
}

struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => write!(self.0, " {value:?}").unwrap(),
            name => write!(self.0, " {name}={value:?}").unwrap(),
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let mut words = Words(format!(
            "{} {}",
            span.metadata().target(),
            span.metadata().name()
        ));
        span.record(&mut words);
        let mut state = self.0.lock().unwrap();
        state.spans.push(words.0);
        span::Id::from_u64(state.spans.len() as u64)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut words = Words(event.metadata().level().to_string());
        event.record(&mut words);
        let mut state = self.0.lock().unwrap();
        let span = state
            .entered
            .last()
            .map_or("", |&id| &state.spans[id as usize - 1]);
        let line = format!("[{span}] {}", words.0);
        state.lines.push(line);
    }

    fn enter(&self, span: &span::Id) {
        self.0.lock().unwrap().entered.push(span.into_u64());
    }

    fn exit(&self, span: &span::Id) {
        assert_eq!(
            self.0.lock().unwrap().entered.pop(),
            Some(span.into_u64()),
            "spans nest"
        );
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
    let lines = log.0.lock().unwrap().lines.clone();
    assert_eq!(
        lines,
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
    assert_eq!(log.0.lock().unwrap().spans.len(), 2, "one span per run");
}
