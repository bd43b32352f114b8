//! One child, nothing configured. Ctrl-C ends it.

use rust_supervisor::{ChildSpec, Supervisor, SupervisorSpec, TaskContext, TaskResult};

async fn ticker(ctx: TaskContext) -> TaskResult {
    let mut every = tokio::time::interval(std::time::Duration::from_secs(1));
    while ctx.run_until_cancelled(every.tick()).await.is_some() {
        println!("tick of run {}", ctx.generation());
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), rust_supervisor::SupervisorError> {
    let tree = SupervisorSpec::one_for_one("app").child(ChildSpec::worker("ticker", ticker));
    let handle = Supervisor::start(tree).await?; // returns once everything has started
    handle.shutdown_on_signal().await?; // Ctrl-C or SIGTERM: four stages, report
    Ok(())
}
