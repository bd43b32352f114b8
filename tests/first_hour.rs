//! What a user writes in the first hour, as written: each program runs. Those of the README, with signals and
//! from a file, run where they stand.

use std::{future::pending, net::SocketAddr};

use axum::{Router, routing::get};
use rust_supervisor::{
    Backoff, BackoffLayer, ChildSpec, CommandMeta, EventItem, FuseLayer, Jitter, ObserveLayer,
    ReadinessPolicy, RestartLayer, ShutdownLayer, Supervisor, SupervisorError, SupervisorSpec,
    TaskContext, TaskResult, ms, secs, service_fn,
    test_util::{Script, TestTree},
};
use tower::ServiceBuilder;

async fn ticker(ctx: TaskContext) -> TaskResult {
    let mut every = tokio::time::interval(std::time::Duration::from_secs(1));
    while ctx.run_until_cancelled(every.tick()).await.is_some() {
        println!("tick of run {}", ctx.generation());
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn one_child_with_nothing_configured() {
    let tree = SupervisorSpec::one_for_one("app").child(ChildSpec::worker("ticker", ticker));
    let tree = TestTree::start(tree).await;
    tokio::time::sleep(secs(60)).await;
    assert!(tree.child_state("ticker").unwrap().polls.polls >= 60);
    let result = tree.shutdown_clean().await;
    assert_eq!(result.report.took, ms(0));
}

/// Loses its connection twice; then it neither ends nor listens.
async fn consume(ctx: TaskContext) -> TaskResult {
    ctx.mark_ready();
    tokio::task::yield_now().await;
    if ctx.generation() < 3 {
        return Err("connection lost".into());
    }
    pending().await
}

#[rustfmt::skip]
fn short() -> ChildSpec {
    ChildSpec::worker("consumer", consume)          // permanent; ChildSpec::job: runs to its end
        .backoff(Backoff::exponential(ms(50), secs(10)).jitter(Jitter::Full))
        .fuse(5, secs(60))
        .grace(secs(20))
        .readiness(ReadinessPolicy::Explicit)
}

#[rustfmt::skip]
fn long() -> ChildSpec {
    let stack = ServiceBuilder::new()
        .layer(RestartLayer::transient())
        .layer(FuseLayer::new(5, secs(60)))
        .layer(BackoffLayer::exponential(ms(50), secs(10)).jitter(Jitter::Full))
        .layer(ObserveLayer::new())
        .layer(ShutdownLayer::grace(secs(20)))
        .timeout(secs(3600))                               // tower's own: a limit on one run
        .service(service_fn(consume));
    ChildSpec::new("consumer", stack)
}

#[tokio::test(start_paused = true)]
async fn policies_in_the_short_form_and_in_the_long_one() {
    for (child, runs_in_a_day) in [(short(), 3), (long(), 26)] {
        let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(child)).await;
        tree.until_running("consumer", 3).await;
        assert_eq!(tree.child_state("consumer").unwrap().fuse.unwrap().used, 2);
        tokio::time::sleep(secs(23 * 3600 + 1800)).await;
        let child = tree.child_state("consumer").unwrap();
        assert_eq!(child.generation, runs_in_a_day, "the stack limits a run");
        let result = tree.shutdown_clean().await;
        assert_eq!(result.report.took, secs(20), "its grace");
    }
}

#[rustfmt::skip]
fn server(addr: SocketAddr, app: Router) -> ChildSpec {
    ChildSpec::worker("http", move |ctx: TaskContext| {
        let app = app.clone();                             // axum, tonic, hyper: with all its tower layers
        async move {
            let listener = tokio::net::TcpListener::bind(addr).await?;
            ctx.mark_ready();
            axum::serve(listener, app).with_graceful_shutdown(ctx.cancelled_owned()).await?;
            TaskResult::Ok(())
        }
    })
}

// A server's clients know nothing of virtual time.
#[tokio::test]
async fn a_server_that_one_already_has() -> Result<(), SupervisorError> {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let app = Router::new().route("/", get(|| async { "supervised" }));
    let child = server(addr, app).readiness(ReadinessPolicy::Explicit);
    let handle = Supervisor::start(SupervisorSpec::one_for_one("t").child(child)).await?;
    let answer = reqwest::get(format!("http://{addr}/")).await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "supervised");
    let result = handle
        .shutdown_tree(&CommandMeta::new("test", "done")?)
        .await?;
    assert!(result.clean);
    Ok(())
}

async fn connect(ctx: TaskContext) {
    ctx.cancelled().await;
}

async fn settle(ctx: TaskContext, _lane: usize) {
    ctx.cancelled().await;
}

async fn gateway(ctx: TaskContext) {
    ctx.cancelled().await;
}

async fn cache(ctx: TaskContext) {
    ctx.cancelled().await;
}

/// Looks now and then whether it is to stop.
fn export(ctx: TaskContext) {
    while !ctx.is_cancelled() {
        std::thread::yield_now();
    }
}

#[rustfmt::skip]
fn shop() -> SupervisorSpec {
    SupervisorSpec::one_for_one("shop")
        .supervisor(SupervisorSpec::rest_for_one("storage")
            .child(ChildSpec::worker("database", connect))
            .pool(4, |i| ChildSpec::worker("settle", move |ctx| settle(ctx, i))))
        .supervisor(SupervisorSpec::one_for_all("edge")
            .child(ChildSpec::worker("gateway", gateway))
            .child(ChildSpec::worker("cache", cache)))
        .child(ChildSpec::blocking("export", export))       // a plain fn on the blocking pool
}

#[rustfmt::skip]
#[tokio::test(start_paused = true)]
async fn a_tree_steered_and_asked() -> Result<(), SupervisorError> {
    let handle = Supervisor::start(shop()).await?;
    let mut events = handle.subscribe_events();
    let by = CommandMeta::new("alice", "rotating credentials")?;
    handle.restart_child("storage/database", &by).await?;
    handle.pause_child("edge/gateway", &by).await?;
    println!("{}", handle.current_state());                // a tree for people; Serialize for machines
    let report = handle.shutdown_tree(&by).await?;
    assert!(report.clean);
    let mut paused = false;
    while let Some(event) = events.next().await {
        let EventItem::Event(event) = event else { panic!("{event:?}") };
        paused |= event.to_string().contains("/edge/gateway run 1 {\"type\":\"paused\"}");
    }
    assert!(paused);
    Ok(())
}

#[rustfmt::skip]
#[tokio::test(start_paused = true)]
async fn consumer_survives_a_lost_connection() {
    let broken = Script::new().fails(3, "connection lost").then_runs();
    let child = ChildSpec::worker("c", broken.task()).backoff(Backoff::exponential(ms(50), secs(10)).jitter(Jitter::None));
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(child)).await;
    tree.until_running("c", 4).await;                   // generation 4, in virtual time
    assert_eq!(broken.delays(), [ms(50), ms(100), ms(200)]);
    tree.shutdown_clean().await;                        // fails if anything is left alive
}

// From the page on tests.
#[rustfmt::skip]
#[tokio::test(start_paused = true)]
async fn the_gateway_waits_for_the_database_each_time() {
    let database = Script::new()
        .fails(1, "disk full").after(secs(60)).ready_after(secs(2))
        .then_runs().ready_after(secs(5));
    let gateway = Script::new();
    let tree = TestTree::start(
        SupervisorSpec::rest_for_one("shop")
            .child(ChildSpec::worker("database", database.task()).readiness(ReadinessPolicy::Explicit).backoff(None))
            .child(ChildSpec::worker("gateway", gateway.task())),
    )
    .await;
    tree.until_running("gateway", 2).await;
    let (database, gateway) = (database.recorded(), gateway.recorded());
    assert_eq!(gateway[1].began, database[1].began + secs(5));
    assert!(gateway[0].ended >= database[0].ended);
    tree.shutdown_clean().await;
}
