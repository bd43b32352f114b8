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
    SupervisorSpec, TaskContext, TaskExit, ms, secs, service_fn,
    test_util::{TestTree, by},
};
use support::{Switchboard, within};
use tower::{Layer, Service, ServiceBuilder};

/// A tree with the child under test between two well-behaved ones.
async fn beside(child: ChildSpec) -> (TestTree, Switchboard) {
    let board = Switchboard::new();
    let spec = SupervisorSpec::one_for_one("t")
        .child(board.child("before"))
        .child(child.backoff(Backoff::constant(ms(10)).jitter(Jitter::None)))
        .child(board.child("after"));
    (TestTree::start(spec).await, board)
}

/// The child panicked once, ran again, and nobody else noticed.
async fn contained(tree: &TestTree, board: &Switchboard, words: &str) {
    tree.until_running("child", 2).await;
    assert_told(tree, words).await;
    assert_unharmed(tree, board).await;
}

/// Message and place are in the state and in the event.
async fn assert_told(tree: &TestTree, words: &str) {
    let state = tree.child_state("child").unwrap();
    let last = state.last_exit.unwrap();
    let message = last.message.unwrap();
    assert!(message.contains(words), "{message}");
    assert!(message.contains("tests/panics.rs:"), "{message}");
    assert_eq!(last.exit, TaskExit::Panicked);
    assert_eq!(state.exits[&TaskExit::Panicked], 1);
    tree.until_event(|event| {
        event.path.id() == "child"
            && matches!(&event.kind, EventKind::Lifecycle(LifecycleEvent::Exited {
                exit: TaskExit::Panicked,
                message: Some(told),
            }) if *told == message)
    })
    .await;
}

async fn assert_unharmed(tree: &TestTree, board: &Switchboard) {
    for id in ["before", "after"] {
        let state = tree.child_state(id).unwrap();
        assert_eq!(
            (state.generation, state.status.as_str()),
            (1, "running"),
            "{id}"
        );
    }
    assert_eq!(board.log(), ["+before1", "+after1"]);
    within(tree.restart_child("before", &by())).await.unwrap();
    tree.shutdown_clean().await;
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
    let (tree, board) = beside(child).await;
    contained(&tree, &board, "in the run").await;
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
    let (tree, board) = beside(child).await;
    tree.until_running("child", 3).await;
    assert_told(&tree, "in the closure").await;
    assert_unharmed(&tree, &board).await;
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
    let (tree, board) = beside(child).await;
    within(tree.restart_child("child", &by())).await.unwrap();
    contained(&tree, &board, "in the destructor").await;
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
    let (tree, board) = beside(child).await;
    tree.until_running("child", 2).await;
    let last = tree.child_state("child").unwrap().last_exit.unwrap();
    assert_eq!(last.exit, TaskExit::Failed);
    assert!(last.message.unwrap().contains("no words for it"));
    assert_unharmed(&tree, &board).await;
}

#[tokio::test(start_paused = true)]
async fn in_a_helper_task() {
    let child = ChildSpec::worker("child", |ctx: TaskContext| async move {
        let helper = ctx.spawn(async { panic!("in the helper") });
        assert!(helper.await.unwrap_err().is_panic());
        ctx.cancelled().await;
    });
    let (tree, board) = beside(child).await;
    tokio::time::sleep(secs(1)).await;
    assert_eq!(tree.child_state("child").unwrap().generation, 1);
    assert_unharmed(&tree, &board).await;
}

#[tokio::test(start_paused = true)]
async fn in_a_function_on_the_blocking_pool() {
    let child = ChildSpec::blocking("child", |ctx: TaskContext| {
        if ctx.generation() == 2 {
            panic!("in the thread");
        }
        while ctx.generation() > 2 && !ctx.is_cancelled() {
            std::thread::yield_now();
        }
    });
    let (tree, board) = beside(child).await;
    tree.until_running("child", 3).await;
    assert_told(&tree, "in the thread").await;
    assert_unharmed(&tree, &board).await;
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
    let (tree, board) = beside(child).await;
    // The first start is spared: it would not be retried.
    left.store(1, Ordering::Relaxed);
    within(tree.restart_child("child", &by())).await.unwrap();
    tree.until_running("child", 3).await;
    assert_told(&tree, "in call").await;
    assert_unharmed(&tree, &board).await;
}

#[tokio::test(start_paused = true)]
async fn in_poll_ready_of_a_service() {
    let service = Touchy::new("poll_ready");
    service.left.store(0, Ordering::Relaxed);
    let (left, child) = (service.left.clone(), ChildSpec::service("child", service));
    let (tree, board) = beside(child).await;
    left.store(1, Ordering::Relaxed);
    // A service that cannot say whether it is ready does not run again by itself.
    let outcome = within(tree.restart_child("child", &by())).await.unwrap();
    assert_eq!(outcome.status, "failed");
    assert_told(&tree, "in poll_ready").await;
    within(tree.restart_child("child", &by())).await.unwrap();
    assert_unharmed(&tree, &board).await;
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
            let (tree, board) = beside(child).await;
            left.store(1, Ordering::Relaxed);
            if at_removal {
                within(tree.remove_child("child", &by())).await.unwrap();
                assert_eq!(left.load(Ordering::Relaxed), 0, "it has panicked");
                assert!(tree.child_state("child").is_err());
            }
            assert_unharmed(&tree, &board).await;
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
    let (tree, board) = beside(ChildSpec::new("child", stack)).await;
    tree.until_running("child", 3).await;
    assert_told(&tree, "in the layer").await;
    assert_unharmed(&tree, &board).await;
}

#[tokio::test(start_paused = true)]
async fn in_a_bare_stack() {
    let stack = service_fn(|ctx: TaskContext| once(ctx, || panic!("in the bare")));
    let (tree, board) = beside(ChildSpec::new("child", stack)).await;
    tree.until_status("child", "failed").await;
    assert_told(&tree, "in the bare").await;
    within(tree.restart_child("child", &by())).await.unwrap();
    assert_unharmed(&tree, &board).await;
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
    let tree = TestTree::start(SupervisorSpec::one_for_one("t")).await;
    let cloned = Unclonable(Arc::new(AtomicUsize::new(1)));
    let child = ChildSpec::new("child", cloned);
    let error = within(tree.add_child("/", child, &by())).await.unwrap_err();
    assert!(error.to_string().contains("in the clone"), "{error}");
    assert!(tree.child_state("child").is_err());
    tree.shutdown_clean().await;
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
    let (tree, board) = beside(ChildSpec::new("child", deaf())).await;
    within(tree.pause_child("child", &by())).await.unwrap();
    within(tree.resume_child("child", &by())).await.unwrap();
    tree.until_running("child", 2).await;
    assert_unharmed(&tree, &board).await;
}

#[tokio::test(start_paused = true)]
async fn of_a_thousand_children_at_once() {
    let panics = tokio_util::sync::CancellationToken::new();
    let mut spec = SupervisorSpec::one_for_one("t").event_channel_capacity(100_000);
    for at in 0..1000 {
        let panics = panics.clone();
        spec = spec.child(ChildSpec::worker(
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
    let tree = TestTree::start(spec).await;
    std::panic::set_hook(Box::new(|_| {}));
    panics.cancel();
    tree.until(|| {
        let state = tree.current_state();
        state
            .iter()
            .filter(|node| node.generation == 2 && node.ready)
            .count()
            == 1000
    })
    .await;
    let result = tree.shutdown_clean().await;
    assert!(result.clean);
    assert_eq!(result.report.reconcile.children, 1000);
}
