//! What compiles, and the program of the front page.

mod support;

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use supervisor_layers::{
    Backoff, BackoffLayer, BoxError, ChildPolicy, FailureKind, FuseLayer, Jitter, ObserveLayer,
    QuarantineLayer, RestartLayer, RestartType, ServiceBuilderExt, ShutdownLayer, TaskContext,
    TaskFactory, TaskFactoryExt, TaskFailure, TaskResult, WatchdogLayer, ms, secs, service_fn,
};
use support::{live, within};
use tower::ServiceBuilder;

async fn consume_queue(ctx: TaskContext) -> TaskResult {
    while ctx
        .run_until_cancelled(tokio::time::sleep(ms(10)))
        .await
        .is_some()
    {
        match ctx.generation() {
            3 => return Ok(()),
            _ => Err("connection lost")?,
        }
    }
    Ok(())
}

fn front_page() -> impl TaskFactory<Error = TaskFailure> {
    ServiceBuilder::new()
        .layer(RestartLayer::transient())
        .layer(QuarantineLayer::until_released())
        .layer(FuseLayer::new(5, Duration::from_secs(60)))
        .layer(BackoffLayer::exponential(ms(100), secs(5)).jitter(Jitter::Full))
        .layer(ObserveLayer::new())
        .layer(ShutdownLayer::grace(secs(5)))
        .timeout(secs(3600)) // tower's own: a limit on one run
        .service(service_fn(consume_queue))
}

#[tokio::test(start_paused = true)]
async fn the_program_of_the_front_page_runs_as_a_life_of_its_own() -> Result<(), BoxError> {
    let child = front_page();
    let ctx = TaskContext::detached("consumer");
    within(child.clone().run(ctx.clone())).await?;
    assert_eq!(ctx.snapshot().restarts(), 2);
    let settings = ctx.snapshot().settings;
    assert_eq!(settings.restart, Some(RestartType::Transient));
    assert_eq!(settings.fuse.unwrap().failures, 5);
    assert_eq!(settings.quarantine, Some(None));
    assert_eq!(settings.grace, Some(secs(5)));
    Ok(())
}

/// A future that names the stack's in its own fields does not compile here.
#[tokio::test(start_paused = true)]
async fn a_stack_is_held_across_an_await_in_a_spawned_block() {
    let block = tokio::spawn(async move {
        let child = ServiceBuilder::new()
            .layer(RestartLayer::transient())
            .layer(QuarantineLayer::until_released())
            .layer(FuseLayer::new(5, secs(60)))
            .layer(BackoffLayer::exponential(ms(100), secs(5)))
            .layer(ObserveLayer::new())
            .layer(WatchdogLayer::new().start_timeout(secs(30)))
            .layer(ShutdownLayer::grace(secs(5)))
            .timeout(secs(3600))
            .service(service_fn(|ctx| async move {
                tokio::task::yield_now().await;
                match ctx.generation() {
                    2 => Ok(()),
                    _ => Err(BoxError::from("not yet")),
                }
            }));
        child.clone().run(TaskContext::detached("first")).await?;
        child.run(TaskContext::detached("second")).await
    });
    within(block).await.unwrap().unwrap();
    let limited = tokio::spawn(async move {
        let life = ServiceBuilder::new()
            .timeout(secs(60))
            .restart(RestartType::Permanent)
            .backoff(Backoff::constant(secs(1)))
            .timeout(secs(1))
            .graceful(secs(5))
            .timeout(secs(1))
            .service(service_fn(|_| async {
                Err::<(), BoxError>("broken".into())
            }));
        life.run(TaskContext::detached("limited")).await
    });
    let error = within(limited).await.unwrap().unwrap_err();
    assert_eq!(TaskFailure::of(error).kind(), FailureKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn the_builders_methods_make_what_the_layers_make() {
    let child = ServiceBuilder::new()
        .restart(RestartType::Transient)
        .quarantine(Some(secs(30)))
        .fuse(0, secs(60))
        .backoff(Backoff::constant(ms(100)).jitter(Jitter::None))
        .observe()
        .watchdog(
            WatchdogLayer::new()
                .stale_after(secs(9))
                .start_timeout(secs(7)),
        )
        .graceful(secs(5))
        .service(service_fn(|ctx| async move {
            if ctx.generation() == 1 {
                Err("broken")
            } else {
                Ok(())
            }
        }));
    let ctx = TaskContext::detached("child");
    let began = tokio::time::Instant::now();
    within(child.run(ctx.clone())).await.unwrap();
    assert_eq!(began.elapsed(), secs(30), "held, and run again");
    let settings = ctx.snapshot().settings;
    assert_eq!(settings.quarantine, Some(Some(secs(30))));
    assert_eq!(settings.stale_after, Some(secs(9)));
    assert_eq!(settings.start_timeout, Some(secs(7)));
    assert_eq!(settings.backoff.unwrap().max(), ms(100));

    let policy = ChildPolicy {
        restart: RestartType::Temporary,
        ..ChildPolicy::default()
    };
    let child = ServiceBuilder::new()
        .supervised(policy)
        .service(service_fn(|_| async {}));
    within(child.run(TaskContext::detached("child")))
        .await
        .unwrap();
}

fn diverges() -> ! {
    panic!("ran to where it cannot return from")
}

async fn never() -> ! {
    std::future::pending::<()>().await;
    diverges()
}

/// Runs one child to its failure's words; `None` if it completed.
async fn words<S: TaskFactory>(child: S) -> Option<String> {
    let child = ServiceBuilder::new()
        .layer(RestartLayer::temporary())
        .service(child);
    let ctx = TaskContext::detached("child");
    within(live(child, &ctx))
        .await
        .unwrap()
        .err()
        .map(|failure| failure.to_string())
}

#[derive(Debug, thiserror::Error)]
#[error("a type of one's own")]
struct Custom;

/// Not an error, but can become one.
#[derive(Debug)]
struct Convertible;

impl From<Convertible> for BoxError {
    fn from(_: Convertible) -> Self {
        "converted".into()
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_may_return_whatever_can_be_read_as_an_outcome() {
    assert_eq!(words(service_fn(|_| async {})).await, None);
    assert_eq!(
        words(service_fn(|_| async { Ok::<(), BoxError>(()) })).await,
        None
    );
    assert_eq!(
        words(service_fn(|_| async { Ok::<(), Infallible>(()) })).await,
        None
    );
    let text = |child: Option<String>| child.expect("it failed");
    assert_eq!(
        text(words(service_fn(|_| async { Err::<(), _>("&str") })).await),
        "&str"
    );
    let string = service_fn(|_| async { Err::<(), _>(String::from("String")) });
    assert_eq!(text(words(string).await), "String");
    let custom = service_fn(|_| async { Err::<(), _>(Custom) });
    assert_eq!(text(words(custom).await), "a type of one's own");
    let io = service_fn(|_| async { Err::<(), _>(io::Error::other("io")) });
    assert_eq!(text(words(io).await), "io");
    let convertible = service_fn(|_| async { Err::<(), _>(Convertible) });
    assert_eq!(text(words(convertible).await), "converted");
    let infallible = service_fn(|_| async { Err::<Infallible, _>("cannot be Ok") });
    assert_eq!(text(words(infallible).await), "cannot be Ok");
    let failure = service_fn(|_| async { Err::<(), _>(TaskFailure::fatal("fatal")) });
    assert_eq!(text(words(failure).await), "fatal");
    let question_mark = service_fn(|_| async {
        "seven".parse::<u8>()?;
        TaskResult::Ok(())
    });
    assert!(text(words(question_mark).await).contains("invalid digit"));
}

#[tokio::test(start_paused = true)]
async fn a_function_may_never_return() {
    fn is_child(_: &impl TaskFactory) {}
    let named = service_fn(|_| never());
    is_child(&named);
    let ctx = TaskContext::detached("child");
    let child = ServiceBuilder::new()
        .layer(ShutdownLayer::grace(secs(1)))
        .service(named);
    let life = live(child, &ctx);
    support::settle().await;
    ctx.gate().shutdown();
    let failure = within(life).await.unwrap().unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Aborted);

    async fn fails() -> Result<Infallible, Custom> {
        Err(Custom)
    }
    assert_eq!(
        words(service_fn(|_| fails())).await.unwrap(),
        "a type of one's own"
    );
    let panics = words(service_fn(|_| async { diverges() })).await.unwrap();
    assert!(panics.contains("cannot return from"));
}

#[tokio::test(start_paused = true)]
async fn closures_need_no_annotation_and_share_what_they_capture() {
    let total = Arc::new(AtomicU32::new(0));
    let child = service_fn({
        let total = total.clone();
        move |ctx| {
            let total = total.clone();
            async move {
                total.fetch_add(1, Ordering::Relaxed);
                ctx.heartbeat();
                ctx.mark_ready();
                let _ = ctx.spawn(async {}).await;
                ctx.run_until_cancelled(tokio::time::sleep(ms(1))).await;
            }
        }
    });
    let mut calls = 0;
    let counting = service_fn(move |ctx| {
        calls += 1;
        let nth = calls;
        async move {
            assert_eq!(ctx.generation(), nth, "one call per run, of one closure");
            if nth < 3 { Err("again") } else { Ok(()) }
        }
    });
    for _ in 0..2 {
        within(child.clone().run(TaskContext::detached("child")))
            .await
            .unwrap();
    }
    assert_eq!(total.load(Ordering::Relaxed), 2);
    let life = ServiceBuilder::new()
        .layer(RestartLayer::transient())
        .service(counting);
    within(life.run(TaskContext::detached("child")))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_layer_of_a_users_own_stands_anywhere_in_a_stack() {
    let log = Log::default();
    let note = |place| Note {
        place,
        log: log.clone(),
    };
    let child = ServiceBuilder::new()
        .layer(note("life"))
        .layer(RestartLayer::transient())
        .layer(note("run"))
        .layer(BackoffLayer::constant(ms(1)))
        .layer(note("inside"))
        .service(service_fn(|ctx| async move {
            if ctx.generation() < 2 {
                Err("again")
            } else {
                Ok(())
            }
        }));
    within(child.run(TaskContext::detached("child")))
        .await
        .unwrap();
    assert_eq!(
        *log.lock().unwrap(),
        ["life", "run", "inside", "run", "inside"]
    );
}

type Log = Arc<Mutex<Vec<&'static str>>>;

/// Notes each call that passes it.
#[derive(Clone)]
struct Note {
    place: &'static str,
    log: Log,
}

impl<S> tower::Layer<S> for Note {
    type Service = Noting<S>;

    fn layer(&self, inner: S) -> Noting<S> {
        let note = self.clone();
        Noting { inner, note }
    }
}

#[derive(Clone)]
struct Noting<S> {
    inner: S,
    note: Note,
}

impl<S: tower::Service<TaskContext>> tower::Service<TaskContext> for Noting<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, ctx: TaskContext) -> S::Future {
        self.note.log.lock().unwrap().push(self.note.place);
        self.inner.call(ctx)
    }
}
