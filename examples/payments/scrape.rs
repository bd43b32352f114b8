//! What Prometheus finds at `--metrics ADDR`.

use std::net::SocketAddr;

use axum::{Router, routing::get};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use rust_supervisor::BoxError;
use tokio::net::TcpListener;

/// Counts from here on.
pub fn install() -> Result<PrometheusHandle, BoxError> {
    Ok(PrometheusBuilder::new().install_recorder()?)
}

/// Shows what is counted, as long as the program runs.
pub async fn serve(address: SocketAddr, counted: PrometheusHandle) -> Result<(), String> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        Ok((listener.local_addr()?, listener))
    };
    let (address, listener) = bound
        .await
        .map_err(|error: std::io::Error| format!("--metrics {address}: {error}"))?;
    println!("metrics: http://{address}/metrics");
    let page = Router::new().route("/metrics", get(async move || counted.render()));
    tokio::spawn(async move { axum::serve(listener, page).await });
    Ok(())
}
