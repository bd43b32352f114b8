//! A panic is an exit of the child it happened in, wherever that is, and of nobody else.

mod support;

use std::{
    fmt,
    future::{Ready, pending, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use rust_supervisor::{
    Backoff, BoxError, ChildSpec, EventKind, Jitter, LifecycleEvent, ServiceBuilderExt,
    SupervisorHandle, SupervisorSpec, TaskContext, TaskExit, ms, secs, service_fn,
};
use support::{Switchboard, by, event, running, shut_down, start, until, within};
use tower::{Layer, Service, ServiceBuilder};

/// A tree with the child under test between two well-behaved ones.
async fn beside(child: ChildSpec) -> (SupervisorHandle, Switchboard) {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("before"))
        .child(child.backoff(Backoff::constant(ms(10)).jitter(Jitter::None)))
        .child(board.child("after"));
    (start(tree).await, board)
}

/// The child panicked once, ran again, and nobody else noticed.
async fn contained(handle: &SupervisorHandle, board: &Switchboard, words: &str) {
    running(handle, "child", 2).await;
    assert_told(handle, words).await;
    assert_unharmed(handle, board).await;
}

/// Message and place are in the state and in the event.
async fn assert_told(handle: &SupervisorHandle, words: &str) {
    let state = handle.child_state("child").unwrap();
    let last = state.last_exit.unwrap();
    let message = last.message.unwrap();
    assert!(message.contains(words), "{message}");
    assert!(message.contains("tests/panics.rs:"), "{message}");
    assert_eq!(last.exit, TaskExit::Panicked);
    assert_eq!(state.exits[&TaskExit::Panicked], 1);
    event(handle, |event| {
        event.path.id() == "child"
            && matches!(&event.kind, EventKind::Lifecycle(LifecycleEvent::Exited {
                exit: TaskExit::Panicked,
                message: Some(told),
            }) if *told == message)
    })
    .await;
}

async fn assert_unharmed(handle: &SupervisorHandle, board: &Switchboard) {
    for id in ["before", "after"] {
        let state = handle.child_state(id).unwrap();
        assert_eq!(
            (state.generation, state.status.as_str()),
            (1, "running"),
            "{id}"
        );
    }
    assert_eq!(board.log(), ["+before1", "+after1"]);
    within(handle.restart_child("before", &by())).await.unwrap();
    assert!(shut_down(handle).await.clean);
}

/// Panics in its first run only, after it has started.
async fn once(ctx: TaskContext, panics: impl FnOnce()) {
    tokio::task::yield_now().await;
    if ctx.generation() == 1 {
        panics();
    }
    ctx.cancelled().await;
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_run() {
    let child = ChildSpec::worker("child", |ctx| once(ctx, || panic!("in the run")));
    let (handle, board) = beside(child).await;
    contained(&handle, &board, "in the run").await;
}

#[tokio::test(start_paused = true)]
async fn in_the_closure_that_makes_the_run() {
    let child = ChildSpec::worker("child", |ctx: TaskContext| {
        assert!(ctx.generation() != 2, "in the closure");
        async move {
            if ctx.generation() > 1 {
                ctx.cancelled().await;
            }
            tokio::task::yield_now().await;
        }
    });
    let (handle, board) = beside(child).await;
    running(&handle, "child", 3).await;
    assert_told(&handle, "in the closure").await;
    assert_unharmed(&handle, &board).await;
}

#[tokio::test(start_paused = true)]
async fn in_a_destructor_of_the_run() {
    let child = ChildSpec::worker("child", |ctx: TaskContext| {
        let first = ctx.generation() == 1;
        let dropped = OnDrop(move || assert!(!first, "in the destructor"));
        async move {
            let _dropped = dropped;
            once(ctx, || ()).await;
        }
    })
    .grace(secs(1));
    let (handle, board) = beside(child).await;
    within(handle.restart_child("child", &by())).await.unwrap();
    contained(&handle, &board, "in the destructor").await;
}

#[tokio::test(start_paused = true)]
async fn in_the_display_of_an_error() {
    #[derive(Debug)]
    struct Unspeakable;
    impl fmt::Display for Unspeakable {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("no words for it")
        }
    }
    impl std::error::Error for Unspeakable {}
    let child = ChildSpec::worker("child", |ctx: TaskContext| async move {
        tokio::task::yield_now().await;
        if ctx.generation() == 1 {
            return Err(BoxError::from(Unspeakable));
        }
        ctx.cancelled().await;
        Ok(())
    });
    let (handle, board) = beside(child).await;
    running(&handle, "child", 2).await;
    let last = handle.child_state("child").unwrap().last_exit.unwrap();
    assert_eq!(last.exit, TaskExit::Failed);
    assert!(last.message.unwrap().contains("no words for it"));
    assert_unharmed(&handle, &board).await;
}

#[tokio::test(start_paused = true)]
async fn in_a_helper_task() {
    let child = ChildSpec::worker("child", |ctx: TaskContext| async move {
        let helper = ctx.spawn(async { panic!("in the helper") });
        assert!(helper.await.unwrap_err().is_panic());
        ctx.cancelled().await;
    });
    let (handle, board) = beside(child).await;
    tokio::time::sleep(secs(1)).await;
    assert_eq!(handle.child_state("child").unwrap().generation, 1);
    assert_unharmed(&handle, &board).await;
}

#[tokio::test]
async fn in_a_function_on_the_blocking_pool() {
    let child = ChildSpec::blocking("child", |ctx: TaskContext| {
        if ctx.generation() == 2 {
            panic!("in the thread");
        }
        while ctx.generation() > 2 && !ctx.is_cancelled() {
            std::thread::yield_now();
        }
    });
    let (handle, board) = beside(child).await;
    running(&handle, "child", 3).await;
    assert_told(&handle, "in the thread").await;
    assert_unharmed(&handle, &board).await;
}

/// A service that panics where it is told to.
#[derive(Clone)]
struct Touchy {
    place: &'static str,
    left: Arc<AtomicUsize>,
}

impl Touchy {
    fn new(place: &'static str) -> Self {
        Self {
            place,
            left: Arc::new(AtomicUsize::new(1)),
        }
    }

    fn touch(&self, place: &str) {
        let due = self.place == place
            && self
                .left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_ok();
        assert!(!due, "in {place}");
    }
}

impl Service<TaskContext> for Touchy {
    type Response = ();
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.touch("poll_ready");
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ctx: TaskContext) -> Self::Future {
        self.touch("call");
        Box::pin(async move {
            ctx.cancelled().await;
            Ok(())
        })
    }
}

impl Drop for Touchy {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.touch("drop");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_call_of_a_service() {
    let service = Touchy::new("call");
    service.left.store(0, Ordering::Relaxed);
    let (left, child) = (service.left.clone(), ChildSpec::service("child", service));
    let (handle, board) = beside(child).await;
    // The first start is spared: it would not be retried.
    left.store(1, Ordering::Relaxed);
    within(handle.restart_child("child", &by())).await.unwrap();
    running(&handle, "child", 3).await;
    assert_told(&handle, "in call").await;
    assert_unharmed(&handle, &board).await;
}

#[tokio::test(start_paused = true)]
async fn in_poll_ready_of_a_service() {
    let service = Touchy::new("poll_ready");
    service.left.store(0, Ordering::Relaxed);
    let (left, child) = (service.left.clone(), ChildSpec::service("child", service));
    let (handle, board) = beside(child).await;
    left.store(1, Ordering::Relaxed);
    // A service that cannot say whether it is ready does not run again by itself.
    let outcome = within(handle.restart_child("child", &by())).await.unwrap();
    assert_eq!(outcome.status, "failed");
    assert_told(&handle, "in poll_ready").await;
    within(handle.restart_child("child", &by())).await.unwrap();
    assert_unharmed(&handle, &board).await;
}

#[tokio::test(start_paused = true)]
async fn in_a_destructor_of_the_service_at_removal_and_shutdown() {
    for at_removal in [true, false] {
        for bare in [true, false] {
            let service = Touchy::new("drop");
            service.left.store(0, Ordering::Relaxed);
            let left = service.left.clone();
            let child = match bare {
                true => ChildSpec::new("child", service),
                false => ChildSpec::service("child", service),
            };
            let (handle, board) = beside(child).await;
            left.store(1, Ordering::Relaxed);
            if at_removal {
                within(handle.remove_child("child", &by())).await.unwrap();
                assert_eq!(left.load(Ordering::Relaxed), 0, "it has panicked");
                assert!(handle.child_state("child").is_err());
            }
            assert_unharmed(&handle, &board).await;
            assert_eq!(left.swap(0, Ordering::Relaxed), 0, "it has panicked");
        }
    }
}

/// A layer whose service panics in its second call.
#[derive(Clone)]
struct TouchyLayer;

#[derive(Clone)]
struct Second<S>(S, usize);

impl<S> Layer<S> for TouchyLayer {
    type Service = Second<S>;

    fn layer(&self, inner: S) -> Second<S> {
        Second(inner, 0)
    }
}

impl<S: Service<TaskContext>> Service<TaskContext> for Second<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, ctx: TaskContext) -> S::Future {
        self.1 += 1;
        assert!(self.1 != 2, "in the layer");
        self.0.call(ctx)
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_layer_of_the_users() {
    let stack = ServiceBuilder::new()
        .supervised(rust_supervisor::ChildPolicy::default())
        .layer(TouchyLayer)
        .service(service_fn(|ctx: TaskContext| async move {
            tokio::task::yield_now().await;
            if ctx.generation() > 1 {
                ctx.cancelled().await;
            }
        }));
    let (handle, board) = beside(ChildSpec::new("child", stack)).await;
    running(&handle, "child", 3).await;
    assert_told(&handle, "in the layer").await;
    assert_unharmed(&handle, &board).await;
}

#[tokio::test(start_paused = true)]
async fn in_a_bare_stack() {
    let stack = service_fn(|ctx: TaskContext| once(ctx, || panic!("in the bare")));
    let (handle, board) = beside(ChildSpec::new("child", stack)).await;
    until(|| handle.child_state("child").unwrap().status.as_str() == "failed").await;
    assert_told(&handle, "in the bare").await;
    within(handle.restart_child("child", &by())).await.unwrap();
    assert_unharmed(&handle, &board).await;
}

/// A service that cannot be cloned more than once.
#[derive(Debug)]
struct Unclonable(Arc<AtomicUsize>);

impl Clone for Unclonable {
    fn clone(&self) -> Self {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) == 0, "in the clone");
        Self(self.0.clone())
    }
}

impl Service<TaskContext> for Unclonable {
    type Response = ();
    type Error = BoxError;
    type Future = Ready<Result<(), BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: TaskContext) -> Self::Future {
        ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn in_the_clone_of_a_service() {
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let cloned = Unclonable(Arc::new(AtomicUsize::new(1)));
    let child = ChildSpec::new("child", cloned);
    let error = within(handle.add_child("/", child, &by()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("in the clone"), "{error}");
    assert!(handle.child_state("child").is_err());
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn of_a_deaf_run_that_is_aborted() {
    let deaf = || {
        service_fn(|_: TaskContext| {
            let dropped = OnDrop(|| panic!("while aborted"));
            async move {
                let _dropped = dropped;
                pending::<()>().await;
            }
        })
    };
    let (handle, board) = beside(ChildSpec::new("child", deaf())).await;
    within(handle.pause_child("child", &by())).await.unwrap();
    within(handle.resume_child("child", &by())).await.unwrap();
    running(&handle, "child", 2).await;
    assert_unharmed(&handle, &board).await;
}

#[tokio::test(start_paused = true)]
async fn of_a_thousand_children_at_once() {
    let panics = tokio_util::sync::CancellationToken::new();
    let mut tree = SupervisorSpec::one_for_one("t").event_channel_capacity(100_000);
    for at in 0..1000 {
        let panics = panics.clone();
        tree = tree.child(ChildSpec::worker(
            format!("c{at}"),
            move |ctx: TaskContext| {
                let panics = panics.clone();
                async move {
                    if ctx.generation() == 1 {
                        panics.cancelled().await;
                        panic!("all together");
                    }
                    ctx.cancelled().await;
                }
            },
        ));
    }
    let handle = start(tree).await;
    std::panic::set_hook(Box::new(|_| {}));
    panics.cancel();
    until(|| {
        let state = handle.current_state();
        state
            .iter()
            .filter(|node| node.generation == 2 && node.ready)
            .count()
            == 1000
    })
    .await;
    let result = shut_down(&handle).await;
    assert!(result.clean);
    assert_eq!(result.report.reconcile.children, 1000);
}
