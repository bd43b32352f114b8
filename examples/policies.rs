//! A child's policies, in the short form and as a tower stack of one's own.

use rust_supervisor::{
    Backoff, BackoffLayer, ChildSpec, CommandMeta, FuseLayer, Jitter, ObserveLayer,
    ReadinessPolicy, RestartLayer, ShutdownLayer, Supervisor, SupervisorSpec, TaskContext,
    TaskResult, ms, secs, service_fn,
};
use tower::ServiceBuilder;

/// Loses its connection twice before it gets to work.
async fn consume(ctx: TaskContext) -> TaskResult {
    ctx.mark_ready();
    tokio::time::sleep(ms(100)).await;
    if ctx.generation() < 3 {
        return Err("connection lost".into());
    }
    ctx.cancelled().await;
    Ok(())
}

fn short() -> ChildSpec {
    ChildSpec::worker("consumer", consume) // permanent; ChildSpec::job: runs to its end
        .backoff(Backoff::exponential(ms(50), secs(10)).jitter(Jitter::Full))
        .fuse(5, secs(60))
        .grace(secs(20))
        .readiness(ReadinessPolicy::Explicit)
}

/// The same child as a stack of one's own, with tower's layers between.
fn long() -> ChildSpec {
    let stack = ServiceBuilder::new()
        .layer(RestartLayer::transient())
        .layer(FuseLayer::new(5, secs(60)))
        .layer(BackoffLayer::exponential(ms(50), secs(10)).jitter(Jitter::Full))
        .layer(ObserveLayer::new())
        .layer(ShutdownLayer::grace(secs(20)))
        .timeout(secs(3600)) // tower's own: a limit on one run
        .service(service_fn(consume));
    ChildSpec::new("stack", stack)
}

#[tokio::main]
async fn main() -> Result<(), rust_supervisor::SupervisorError> {
    let handle = Supervisor::start(
        SupervisorSpec::one_for_one("policies")
            .child(short())
            .child(long()),
    )
    .await?;
    for _ in 0..4 {
        println!("{}", handle.current_state());
        tokio::time::sleep(ms(250)).await;
    }
    let result = handle
        .shutdown_tree(&CommandMeta::new("example", "seen enough")?)
        .await?;
    println!("{result}");
    Ok(())
}
