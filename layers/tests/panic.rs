//! A panic, wherever a child of a user's own may panic, is one failure of its run and goes no further.

mod support;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use supervisor_layers::{
    BackoffLayer, BoxError, FailureKind, FuseLayer, Jitter, NextRun, RestartLayer, ShutdownLayer,
    TaskContext, TaskExit, TaskFactory, TaskFactoryExt, TaskFailure,
    context::ContextSpec,
    secs, service_fn,
    task::{CatchPanic, PanicSite},
};
use support::{OnDrop, Own, live, supervised, within};
use tokio::time::Instant;
use tower::{Service, ServiceBuilder, timeout::TimeoutLayer};

type Run = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// An error as bad as they come.
#[derive(Debug, Default)]
struct Bad {
    shown: bool,
    dropped: bool,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        assert!(!self.shown, "panicked when displayed");
        f.write_str("bad")
    }
}

impl std::error::Error for Bad {}

impl Drop for Bad {
    fn drop(&mut self) {
        assert!(
            !self.dropped || std::thread::panicking(),
            "panicked when dropped"
        );
    }
}

/// Converted into what a service's boundary wants, it panics.
#[derive(Debug)]
struct Inconvertible;

impl From<Inconvertible> for BoxError {
    fn from(_: Inconvertible) -> Self {
        panic!("panicked when converted")
    }
}

/// Ready at once, and panics when dropped.
struct Trap;

impl Future for Trap {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        panic!("panicked when dropped");
    }
}

/// A payload that panics when dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the payload panicked when dropped");
    }
}

/// Two failures pass, the third blows the fuse; the delays are one and two seconds.
async fn counts_each_panic_once<S: TaskFactory>(child: S) -> TaskFailure {
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .layer(FuseLayer::new(2, secs(600)))
        .layer(BackoffLayer::exponential(secs(1), secs(60)).jitter(Jitter::None))
        .layer(ShutdownLayer::grace(secs(5)))
        .service(child);
    let ctx = TaskContext::detached("child");
    let began = Instant::now();
    let failure = within(live(child, &ctx))
        .await
        .expect("no panic leaves the stack")
        .unwrap_err();
    assert_eq!(failure.kind(), FailureKind::GaveUp);
    let snapshot = ctx.snapshot();
    assert_eq!((snapshot.generation, snapshot.fuse.unwrap().used), (3, 3));
    assert_eq!(began.elapsed(), secs(3));
    failure
        .find::<TaskFailure>()
        .expect("the last run's failure")
        .clone()
}

/// The panic's words and that its place is in this file.
fn site(failure: &TaskFailure) -> &str {
    assert_eq!(failure.kind(), FailureKind::Panic);
    assert_eq!(failure.exit(), TaskExit::Panicked);
    let site = failure.panic_site().expect("a panic keeps its site");
    let location = site.location.as_deref().expect("and its location");
    assert!(location.starts_with("layers/tests/panic.rs:"), "{location}");
    assert!(failure.to_string().contains(&site.message));
    &site.message
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_function_or_its_future_is_a_failure_of_the_run() {
    let in_closure = service_fn(|ctx: TaskContext| {
        assert!(ctx.generation() == 0, "closure of run {}", ctx.generation());
        async {}
    });
    assert_eq!(
        site(&counts_each_panic_once(in_closure).await),
        "closure of run 3"
    );
    let at_once = service_fn(|_| async { panic!("at once") });
    assert_eq!(site(&counts_each_panic_once(at_once).await), "at once");
    let later = service_fn(|_| async {
        tokio::task::yield_now().await;
        panic!("later")
    });
    assert_eq!(site(&counts_each_panic_once(later).await), "later");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_destructor_of_a_future_is_a_failure_of_the_run() {
    assert_eq!(
        site(&counts_each_panic_once(service_fn(|_| Trap)).await),
        "panicked when dropped"
    );
    let cut_off = service_fn(|_| async {
        let _trap = OnDrop(|| panic!("panicked when cut off"));
        std::future::pending::<()>().await;
    });
    let limited = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(0)))
        .service(cut_off);
    let failure = counts_each_panic_once(limited).await;
    assert_eq!(
        failure.exit(),
        TaskExit::TimedOut,
        "what ended the run is its exit"
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_run_that_is_dropped_at_the_end_of_its_grace_stays_inside() {
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .layer(ShutdownLayer::grace(secs(1)))
        .service(service_fn(|_| async {
            let _trap = OnDrop(|| panic!("panicked when cut off"));
            std::future::pending::<()>().await;
        }));
    let ctx = TaskContext::detached("child");
    let life = live(child, &ctx);
    within(ctx.gate().ready()).await.unwrap();
    ctx.gate().shutdown();
    within(life).await.unwrap().unwrap();
    let last = ctx.snapshot().last_exit.unwrap();
    assert_eq!(last.exit, TaskExit::Panicked);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_run_that_is_dropped_with_its_life_stays_inside() {
    let child = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(service_fn(|_| async {
            let _trap = OnDrop(|| panic!("panicked when cut off"));
            std::future::pending::<()>().await;
        }));
    let ctx = TaskContext::detached("child");
    let mut life = tokio_test::task::spawn(child.run(ctx.clone()));
    tokio_test::assert_pending!(life.poll());
    drop(life);
    assert_eq!(ctx.snapshot().last_exit.unwrap().exit, TaskExit::Aborted);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_panics_when_shown_dropped_or_converted_is_a_failure_like_any_other() {
    let hidden = service_fn(|_| async {
        Err::<(), _>(Bad {
            shown: true,
            dropped: false,
        })
    });
    let failure = counts_each_panic_once(hidden).await;
    assert_eq!(failure.exit(), TaskExit::Failed);
    assert!(
        failure.to_string().contains("panicked when displayed"),
        "{failure}"
    );

    let worst = service_fn(|_| async {
        Err::<(), _>(Bad {
            shown: true,
            dropped: true,
        })
    });
    assert_eq!(counts_each_panic_once(worst).await.exit(), TaskExit::Failed);

    let strange = service_fn(|_| async { Err::<(), _>(Inconvertible) });
    assert_eq!(
        site(&counts_each_panic_once(strange).await),
        "panicked when converted"
    );
}

#[tokio::test(start_paused = true)]
async fn an_error_whose_destructor_panics_does_not_end_the_life() {
    let child = ServiceBuilder::new()
        .layer(RestartLayer::transient())
        .service(service_fn(|ctx: TaskContext| async move {
            if ctx.generation() > 2 {
                return Ok(());
            }
            Err(Bad {
                shown: false,
                dropped: true,
            })
        }));
    let ctx = TaskContext::detached("child");
    within(live(child, &ctx))
        .await
        .expect("no panic leaves the stack")
        .unwrap();
    assert_eq!(ctx.snapshot().exits[TaskExit::Failed as usize], 2);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_call_or_run_of_a_users_own_service_is_counted_like_an_error() {
    let in_call = Own {
        ready: || Poll::Ready(Ok(())),
        call: |_| -> Run { panic!("in call") },
    };
    assert_eq!(site(&counts_each_panic_once(in_call).await), "in call");
    let in_run = Own {
        ready: || Poll::Ready(Ok(())),
        call: |_| async { panic!("in run") },
    };
    assert_eq!(site(&counts_each_panic_once(in_run).await), "in run");
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_readiness_is_asked_is_final_as_its_error_is() {
    let child = || Own {
        ready: || panic!("in poll_ready"),
        call: |_| async { Ok(()) },
    };
    let stack = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .layer(FuseLayer::new(2, secs(600)))
        .service(child());
    let ctx = TaskContext::detached("child");
    let failure = within(live(stack, &ctx)).await.unwrap().unwrap_err();
    assert_eq!(site(&failure), "in poll_ready");
    let last = ctx.snapshot().last_exit.unwrap();
    assert_eq!((last.generation, last.exit), (1, TaskExit::Panicked));

    let alone = CatchPanic::new(child()).run(TaskContext::detached("alone"));
    assert_eq!(
        site(&TaskFailure::of(within(alone).await.unwrap_err())),
        "in poll_ready"
    );
}

#[tokio::test(start_paused = true)]
async fn a_payload_of_any_kind_is_caught_with_its_place() {
    let number = service_fn(|_| async { std::panic::panic_any(7) });
    assert_eq!(
        site(&counts_each_panic_once(number).await),
        "(a payload that is no string)"
    );
    let bomb = service_fn(|_| async { std::panic::panic_any(Bomb) });
    assert_eq!(
        site(&counts_each_panic_once(bomb).await),
        "(a payload that is no string)"
    );
    let thrown_again = service_fn(|_| async {
        std::panic::resume_unwind(Box::new(String::from("no hook sees it")));
    });
    let failure = counts_each_panic_once(thrown_again).await;
    let site = failure.panic_site().unwrap();
    assert_eq!(
        (site.message.as_str(), site.location.as_deref()),
        ("no hook sees it", None)
    );
}

#[tokio::test(start_paused = true)]
async fn a_child_of_a_function_gives_its_panic_as_an_error_without_any_layer() {
    let error =
        within(service_fn(|_| async { panic!("bare") }).run(TaskContext::detached("child")))
            .await
            .unwrap_err();
    assert_eq!(site(&TaskFailure::of(error)), "bare");
    let error = within(
        service_fn(|_| async { Err::<(), _>(Inconvertible) }).run(TaskContext::detached("child")),
    )
    .await
    .unwrap_err();
    assert_eq!(site(&TaskFailure::of(error)), "panicked when converted");
}

#[tokio::test(start_paused = true)]
async fn a_panics_site_is_found_under_the_error_that_wraps_it() {
    #[derive(Debug)]
    struct Wrapped(TaskFailure);
    impl fmt::Display for Wrapped {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("in the second worker")
        }
    }
    impl std::error::Error for Wrapped {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let inner = TaskFailure::panic(PanicSite {
        message: "boom".into(),
        location: Some("here:1:1".into()),
    });
    let failure = TaskFailure::of(Wrapped(inner).into());
    assert_eq!(
        (failure.kind(), failure.to_string().as_str()),
        (FailureKind::Panic, "in the second worker")
    );
    assert_eq!(
        failure.panic_site().unwrap().to_string(),
        "panicked at here:1:1: boom"
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_helper_is_the_helpers_own() {
    let ctx = TaskContext::detached("child");
    let child = ServiceBuilder::new()
        .layer(RestartLayer::temporary())
        .service(service_fn(|ctx: TaskContext| async move {
            let helper = ctx.spawn(async { panic!("in the helper") });
            assert!(helper.await.unwrap_err().is_panic());
        }));
    within(live(child, &ctx)).await.unwrap().unwrap();
    assert_eq!(ctx.snapshot().last_exit.unwrap().exit, TaskExit::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_is_told_of_a_panic_with_its_place() {
    let (owner, ctx) = supervised(ContextSpec::default());
    let NextRun::Run(run) = within(ctx.gate().next_run()).await else {
        panic!("the gate is open")
    };
    let mut child = ServiceBuilder::new()
        .layer(RestartLayer::temporary())
        .service(service_fn(|_| async { panic!("told") }));
    within(child.call(run)).await.unwrap_err();
    let steps = owner.steps();
    let told = steps.iter().find_map(|(_, step)| match step {
        supervisor_layers::LifecycleEvent::Exited { exit, message } => {
            Some((*exit, message.clone()))
        }
        _ => None,
    });
    let (exit, message) = told.unwrap();
    let message = message.unwrap();
    assert_eq!(exit, TaskExit::Panicked);
    assert!(
        message.starts_with("panicked at layers/tests/panic.rs:"),
        "{message}"
    );
    assert!(message.ends_with(": told"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn in_a_clone_it_is_the_lifes_failure() {
    /// Is ready, and cannot be cloned.
    struct Unique;

    impl Clone for Unique {
        fn clone(&self) -> Self {
            panic!("there is one of me")
        }
    }

    impl Service<TaskContext> for Unique {
        type Response = ();
        type Error = BoxError;
        type Future = Run;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: TaskContext) -> Run {
            Box::pin(std::future::pending())
        }
    }

    let ctx = TaskContext::detached("unique");
    let mut stack = ServiceBuilder::new()
        .layer(RestartLayer::permanent())
        .service(Unique);
    let failure = within(stack.call(ctx.clone())).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Panic);
    assert!(
        failure.to_string().contains("there is one of me"),
        "{failure}"
    );
    let snapshot = ctx.snapshot();
    assert_eq!(snapshot.last_exit.unwrap().exit, TaskExit::Panicked);
    assert_eq!(snapshot.status.as_str(), "failed");
}
