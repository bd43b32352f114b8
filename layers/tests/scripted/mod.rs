//! Children that do as a script says, and what every layer alone has to pass through.
#![allow(dead_code, unreachable_pub)]

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use supervisor_layers::{BoxError, TaskContext, TaskFactory, TaskFailure, secs, service_fn};
use tokio_test::task;
use tower_layer::Layer;
use tower_service::Service;
use tower_test::mock::{self, Mock};

/// Waits no longer than a virtual day: a promise that is not kept is a failure, not a hang.
pub async fn within<F: Future>(future: F) -> F::Output {
    match tokio::time::timeout(secs(86_400), future).await {
        Ok(output) => output,
        Err(_) => panic!("nothing happened for a day"),
    }
}

/// Lets every task go on as far as it can without time passing.
pub async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// How one run of a scripted child ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ends {
    Ok,
    Err,
    Fatal,
    Panic,
    /// With `Ok` when stopped, and not before.
    Stopped,
    /// Never.
    Deaf,
}

/// One run of a scripted child.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub lasts: Duration,
    pub ends: Ends,
}

impl Ends {
    /// Without any time passing.
    pub fn at_once(self) -> Run {
        self.after(Duration::ZERO)
    }

    pub fn after(self, lasts: Duration) -> Run {
        Run { lasts, ends: self }
    }
}

/// A child whose n-th run goes as the n-th entry says; after the last it runs until stopped.
pub fn script(runs: impl Into<Vec<Run>>) -> impl TaskFactory<Error = BoxError> {
    let runs = runs.into();
    service_fn(move |ctx| {
        let at = usize::try_from(ctx.generation() - 1).expect("a small number");
        let run = runs.get(at).copied().unwrap_or(Ends::Stopped.at_once());
        async move {
            if !run.lasts.is_zero() {
                tokio::time::sleep(run.lasts).await;
            }
            match run.ends {
                Ends::Ok => Ok(()),
                Ends::Err => Err("broken".into()),
                Ends::Fatal => Err(BoxError::from(TaskFailure::fatal("beyond repair"))),
                Ends::Panic => panic!("scripted"),
                Ends::Stopped => {
                    ctx.cancelled().await;
                    Ok(())
                }
                Ends::Deaf => std::future::pending().await,
            }
        }
    })
}

/// The same run again and again.
pub fn always(run: Run) -> impl TaskFactory<Error = BoxError> {
    script(vec![run; 1000])
}

/// A service of one's own that panics, without the catch that `service_fn` has built in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PanicsIn {
    Call,
    Poll,
    Ready,
}

pub struct BareRun;

impl Service<TaskContext> for PanicsIn {
    type Response = ();
    type Error = BoxError;
    type Future = BareRun;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        assert_ne!(*self, Self::Ready);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: TaskContext) -> BareRun {
        assert_ne!(*self, Self::Call);
        BareRun
    }
}

impl Future for BareRun {
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        panic!("in poll")
    }
}

/// Readiness, response and error go through `layer` as they are, and a request arrives once.
pub async fn assert_passes_through<L>(layer: L)
where
    L: Layer<Mock<TaskContext, ()>>,
    L::Service: Service<TaskContext, Response = (), Error: Into<BoxError>>,
{
    let (mut service, mut child) = mock::spawn_layer(layer);
    child.allow(0);
    assert!(service.poll_ready().is_pending());
    child.allow(2);
    assert!(service.is_woken(), "readiness wakes whoever waits for it");
    assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))));

    let mut run = task::spawn(service.call(TaskContext::detached("first")));
    assert!(run.poll().is_pending());
    let (ctx, response) = within(child.next_request()).await.expect("a request");
    assert_eq!(ctx.path(), "/first");
    response.send_response(());
    assert!(run.is_woken());
    assert!(matches!(run.poll(), Poll::Ready(Ok(()))));

    assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))));
    let mut run = task::spawn(service.call(TaskContext::detached("second")));
    assert!(run.poll().is_pending());
    let (_, response) = within(child.next_request()).await.expect("a request");
    response.send_error("connection lost");
    match run.poll() {
        Poll::Ready(Err(error)) => assert_eq!(error.into().to_string(), "connection lost"),
        other => panic!("an error came in, {} came out", other.is_ready()),
    }
    assert!(child.poll_request().is_pending(), "one request per call");
}

/// An error of readiness goes through `layer` as it is.
pub fn assert_passes_readiness_errors_through<L>(layer: L)
where
    L: Layer<Mock<TaskContext, ()>>,
    L::Service: Service<TaskContext, Response = (), Error: Into<BoxError>>,
{
    let (mut service, mut child) = mock::spawn_layer(layer);
    child.send_error("worn out");
    match service.poll_ready() {
        Poll::Ready(Err(error)) => assert_eq!(error.into().to_string(), "worn out"),
        other => panic!("an error came in, {} came out", other.is_ready()),
    }
}
