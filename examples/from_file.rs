//! The tree comes from a file; the program says what each factory makes. Ctrl-C ends it.

use rust_supervisor::{BoxError, Factories, Supervisor, SupervisorConfig, TaskContext, TaskResult};
use serde::Deserialize;

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct GatewaySettings {
    port: u16,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettleSettings {
    batch: usize,
}

async fn database(ctx: TaskContext) -> TaskResult {
    ctx.mark_ready();
    ctx.cancelled().await;
    Ok(())
}

async fn settle(ctx: TaskContext, settings: SettleSettings) -> TaskResult {
    println!("{} settles {} at a time", ctx.path(), settings.batch);
    ctx.cancelled().await;
    Ok(())
}

async fn gateway(ctx: TaskContext, settings: GatewaySettings) -> TaskResult {
    println!("{} would listen on port {}", ctx.path(), settings.port);
    ctx.cancelled().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let config = SupervisorConfig::load("examples/config/shop.yaml")?;
    let factories = Factories::new()
        .worker("database", |(): ()| database)
        .worker("gateway", |settings: GatewaySettings| {
            move |ctx| gateway(ctx, settings.clone())
        })
        .worker("settle", |settings: SettleSettings| {
            move |ctx| settle(ctx, settings.clone())
        });
    let handle = Supervisor::start(config.into_spec(&factories)?).await?;
    println!("{}", handle.current_state());
    handle.shutdown_on_signal().await?;
    Ok(())
}
