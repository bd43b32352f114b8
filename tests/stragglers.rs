//! What cannot be ended: threads that are blocked are named in the report, and hold nobody up.

mod support;

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use rust_supervisor::{
    ChildShutdownStatus, ChildSpec, SupervisorSpec, TaskContext, ms, spec::ShutdownOrder,
};
use support::{by, deaf, shut_down, start, status, until, within};

/// Blocks its worker thread until the sender is gone, whatever it is asked.
fn blocked(id: &str, until: mpsc::Receiver<()>) -> ChildSpec {
    let until = Arc::new(std::sync::Mutex::new(until));
    ChildSpec::worker(id, move |ctx: TaskContext| {
        let until = until.clone();
        async move {
            ctx.mark_ready();
            tokio::task::yield_now().await;
            let _ = until.lock().unwrap().recv();
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_blocked_thread_is_reported_as_a_straggler() {
    let (release, held) = mpsc::channel();
    let tree = SupervisorSpec::one_for_one("t")
        .abort_wait(ms(20))
        .child(deaf("other").grace(ms(10)))
        .child(blocked("stuck", held).grace(ms(10)));
    let handle = start(tree).await;
    let result = shut_down(&handle).await;
    assert!(!result.clean);
    assert_eq!(status(&result, "stuck"), ChildShutdownStatus::AbortFailed);
    assert_eq!(status(&result, "other"), ChildShutdownStatus::Aborted);
    let reconcile = &result.report.reconcile;
    assert_eq!((reconcile.tasks_alive, reconcile.helpers_alive), (1, 0));
    assert_eq!(reconcile.stragglers.len(), 1);
    assert_eq!(reconcile.stragglers[0].path.as_str(), "/stuck");
    assert_eq!(reconcile.stragglers[0].generation, 1);
    assert!(reconcile.stragglers[0].since >= ms(30));
    assert!(
        result.to_string().contains("still alive: /stuck run 1"),
        "{result}"
    );
    drop(release);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_function_that_does_not_return_is_reported_with_the_place_it_was_started() {
    let (release, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let begun = Arc::new(AtomicUsize::new(0));
    let begins = begun.clone();
    let stuck = ChildSpec::blocking("stuck", move |_: TaskContext| {
        begins.fetch_add(1, Ordering::Relaxed);
        let _ = held.lock().unwrap().recv();
    });
    let begins = begun.clone();
    let (release_helper, held) = mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    let helped = ChildSpec::worker("helped", move |ctx: TaskContext| {
        let (held, begins) = (held.clone(), begins.clone());
        async move {
            ctx.spawn_blocking(move || {
                begins.fetch_add(1, Ordering::Relaxed);
                held.lock().unwrap().recv()
            });
            ctx.spawn(pending::<()>());
            ctx.cancelled().await;
        }
    });
    let tree = SupervisorSpec::one_for_one("t")
        .abort_wait(ms(20))
        .child(stuck.grace(ms(10)))
        .child(helped.grace(ms(10)));
    let handle = start(tree).await;
    until(|| begun.load(Ordering::Relaxed) == 2).await;
    let result = shut_down(&handle).await;
    assert!(!result.clean);
    assert_eq!(status(&result, "stuck"), ChildShutdownStatus::AbortFailed);
    assert_eq!(status(&result, "helped"), ChildShutdownStatus::AbortFailed);
    let reconcile = &result.report.reconcile;
    assert_eq!((reconcile.tasks_alive, reconcile.helpers_alive), (0, 2));
    for straggler in &reconcile.stragglers {
        assert_eq!(straggler.generation, 1);
        assert_eq!(straggler.helpers.len(), 1, "{straggler:?}");
        assert!(straggler.helpers[0].blocking);
    }
    let helped = reconcile
        .stragglers
        .iter()
        .find(|s| s.path.id() == "helped");
    let name = &helped.unwrap().helpers[0].name;
    assert!(name.starts_with("tests/stragglers.rs:"), "{name}");
    drop((release, release_helper));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_that_ends_after_its_time_but_before_the_report_reports_late() {
    let (release, held) = mpsc::channel();
    let release = std::sync::Mutex::new(Some(release));
    let (ended, has_ended) = tokio::sync::oneshot::channel::<()>();
    let parts = std::sync::Mutex::new(Some((ended, held)));
    let stuck = ChildSpec::worker("stuck", move |ctx: TaskContext| {
        let (ended, held) = parts.lock().unwrap().take().unwrap();
        async move {
            ctx.mark_ready();
            tokio::task::yield_now().await;
            let _: Result<(), _> = held.recv();
            drop(ended);
        }
    });
    let has_ended = std::sync::Mutex::new(Some(has_ended));
    // Asked only after the other was given up.
    let first = ChildSpec::worker("first", move |ctx: TaskContext| {
        let release = release.lock().unwrap().take();
        let has_ended = has_ended.lock().unwrap().take().unwrap();
        async move {
            ctx.cancelled().await;
            drop(release);
            let _ = has_ended.await;
            tokio::time::sleep(ms(50)).await;
        }
    });
    let tree = SupervisorSpec::one_for_one("t")
        .abort_wait(ms(20))
        .child(first)
        .child(stuck.grace(ms(10)));
    let handle = start(tree).await;
    let result = shut_down(&handle).await;
    assert_eq!(status(&result, "stuck"), ChildShutdownStatus::LateReport);
    assert!(result.clean, "{result}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn several_blocked_threads_share_one_wait() {
    let releases: Vec<_> = (0..4).map(|_| mpsc::channel()).collect();
    let (releases, helds): (Vec<_>, Vec<_>) = releases.into_iter().unzip();
    let mut tree = SupervisorSpec::one_for_one("t")
        .shutdown_order(ShutdownOrder::Parallel)
        .abort_wait(ms(200));
    for (at, held) in helds.into_iter().enumerate() {
        tree = tree.child(blocked(&format!("c{at}"), held).grace(ms(10)));
    }
    let handle = start(tree).await;
    let result = shut_down(&handle).await;
    assert_eq!(
        result.report.counts(),
        [(ChildShutdownStatus::AbortFailed, 4)].into()
    );
    assert!(result.report.took < ms(700), "{:?}", result.report.took);
    drop(releases);
}

/// Who waits for the children shares their threads, and must not come to stand behind one that blocks.
#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn blocked_threads_hold_no_shutdown_up_however_the_tasks_are_scheduled() {
    for _ in 0..60 {
        let (releases, helds): (Vec<_>, Vec<_>) = (0..4).map(|_| mpsc::channel()).unzip();
        let mut tree = SupervisorSpec::one_for_one("t")
            .shutdown_order(ShutdownOrder::Parallel)
            .abort_wait(ms(5));
        for (at, held) in helds.into_iter().enumerate() {
            tree = tree.child(blocked(&format!("c{at}"), held).grace(ms(1)));
        }
        let result = shut_down(&start(tree).await).await;
        assert!(!result.clean);
        drop(releases);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_removed_child_whose_thread_goes_on_stays_accounted_for() {
    let (release, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let begun = Arc::new(AtomicUsize::new(0));
    let begins = begun.clone();
    let stuck = ChildSpec::blocking("stuck", move |_: TaskContext| {
        begins.fetch_add(1, Ordering::Relaxed);
        let _ = held.lock().unwrap().recv();
    });
    let tree = SupervisorSpec::one_for_one("t")
        .abort_wait(ms(20))
        .child(stuck.grace(ms(10)));
    let handle = start(tree).await;
    until(|| begun.load(Ordering::Relaxed) == 1).await;
    within(handle.remove_child("stuck", &by())).await.unwrap();
    assert!(handle.child_state("stuck").is_err());
    assert!(!handle.health().is_healthy());
    let result = shut_down(&handle).await;
    assert!(!result.clean);
    assert_eq!(result.report.reconcile.helpers_alive, 1);
    assert_eq!(
        result.report.reconcile.stragglers[0].path.as_str(),
        "/stuck"
    );
    drop(release);
}

/// Its service blocks when it is dropped, until it is told to go on.
#[derive(Clone)]
struct Sticky(Arc<std::sync::Mutex<mpsc::Receiver<()>>>, bool);

impl tower::Service<TaskContext> for Sticky {
    type Response = ();
    type Error = std::convert::Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<(), Self::Error>> + Send>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, ctx: TaskContext) -> Self::Future {
        self.1 = true;
        Box::pin(async move {
            ctx.cancelled().await;
            Ok(())
        })
    }
}

impl Drop for Sticky {
    fn drop(&mut self) {
        // Only of the one that ran.
        if self.1 {
            // Its task is held up. Its thread is lent to the others: Tokio may have put one that this child's end has
            // woken where no other thread can take it from.
            let wait = || self.0.lock().unwrap().recv();
            let _ = tokio::task::block_in_place(wait);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_destructor_blocks_is_alive_though_its_run_ended() {
    let (release, held) = mpsc::channel();
    let sticky = Sticky(Arc::new(std::sync::Mutex::new(held)), false);
    let tree = SupervisorSpec::one_for_one("t")
        .abort_wait(ms(20))
        .child(ChildSpec::service("sticky", sticky).grace(ms(10)));
    let handle = start(tree).await;
    let result = shut_down(&handle).await;
    assert!(!result.clean);
    assert_eq!(status(&result, "sticky"), ChildShutdownStatus::AbortFailed);
    let reconcile = &result.report.reconcile;
    assert_eq!((reconcile.tasks_alive, reconcile.helpers_alive), (1, 0));
    assert_eq!(reconcile.stragglers[0].path.as_str(), "/sticky");
    let summary = handle.run_summary().to_string();
    assert!(summary.contains("/sticky"), "{summary}");
    release.send(()).unwrap();
}
