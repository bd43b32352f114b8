//! Each run of each child as an OpenTelemetry span, through the usual bridge.
//!
//! `cargo run --example opentelemetry` prints them; another exporter in the place of the one for standard
//! output brings them wherever you look at traces.

use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use rust_supervisor::{BoxError, ChildSpec, CommandMeta, Supervisor, SupervisorSpec, TaskContext};
use tracing::Instrument;
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

/// Asks a broker that is not there at first.
async fn consumer(ctx: TaskContext) -> Result<(), &'static str> {
    tracing::info!(broker = "localhost", "connecting");
    tokio::time::sleep(Duration::from_millis(20)).await;
    if ctx.generation() < 3 {
        return Err("connection refused");
    }
    ctx.mark_ready();
    ctx.cancelled().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(opentelemetry_stdout::SpanExporter::default())
        .build();
    let bridge = tracing_opentelemetry::layer().with_tracer(provider.tracer("shop"));
    tracing_subscriber::registry().with(bridge).init();

    // Runs are part of the span that their tree was started in: one trace for all of this program.
    let program = tracing::info_span!("shop");
    let tree = SupervisorSpec::one_for_one("shop").child(ChildSpec::worker("consumer", consumer));
    let handle = Supervisor::start(tree).instrument(program.clone()).await?;
    while handle.child_state("consumer")?.generation < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    handle
        .shutdown_tree(&CommandMeta::new("example", "seen enough")?)
        .await?;
    drop((handle, program));
    provider.shutdown()?;
    Ok(())
}
