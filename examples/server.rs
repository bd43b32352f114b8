//! A server that one already has, with all its tower layers, as a child. Ctrl-C ends it gracefully.

use std::net::SocketAddr;

use axum::{Router, routing::get};
use rust_supervisor::{
    ChildSpec, ReadinessPolicy, Supervisor, SupervisorSpec, TaskContext, TaskResult,
};

fn server(addr: SocketAddr, app: Router) -> ChildSpec {
    ChildSpec::worker("http", move |ctx: TaskContext| {
        let app = app.clone(); // axum, tonic, hyper: with all its tower layers
        async move {
            let listener = tokio::net::TcpListener::bind(addr).await?;
            println!("listening on {}", listener.local_addr()?);
            ctx.mark_ready();
            axum::serve(listener, app)
                .with_graceful_shutdown(ctx.cancelled_owned())
                .await?;
            TaskResult::Ok(())
        }
    })
    .readiness(ReadinessPolicy::Explicit)
}

#[tokio::main]
async fn main() -> Result<(), rust_supervisor::SupervisorError> {
    let app = Router::new().route("/", get(|| async { "supervised\n" }));
    let addr = SocketAddr::from(([127, 0, 0, 1], 0));
    let handle =
        Supervisor::start(SupervisorSpec::one_for_one("server").child(server(addr, app))).await?;
    handle.shutdown_on_signal().await?;
    Ok(())
}
