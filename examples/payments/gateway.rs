//! The HTTP gateway: acknowledges an order once it is in the database, and not before.

use std::{future::IntoFuture, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use rust_supervisor::{TaskContext, TaskResult};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::{
    books::{self, Acceptance},
    order::Order,
    shop::Shop,
};

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaySettings {
    /// Port 0 takes any that is free.
    listen: SocketAddr,
    /// How long a request hangs when the saboteur wants one to.
    stall_ms: u64,
}

/// What a request finds.
#[derive(Clone)]
struct Desk {
    ctx: TaskContext,
    shop: Arc<Shop>,
    stall: Duration,
}

/// Listens, is ready, and serves until stopped; requests under way are then still answered.
pub async fn gateway(ctx: TaskContext, shop: Arc<Shop>, settings: GatewaySettings) -> TaskResult {
    let listener = TcpListener::bind(settings.listen).await?;
    shop.gateway.send_replace(Some(listener.local_addr()?));
    let desk = Desk {
        ctx: ctx.clone(),
        shop: shop.clone(),
        stall: Duration::from_millis(settings.stall_ms),
    };
    let app = Router::new()
        .route("/orders", post(accept))
        .with_state(desk);
    // Also resolved by the end of this run: no connection outlives it for longer than its request.
    let server = axum::serve(listener, app).with_graceful_shutdown(ctx.cancelled_owned());
    ctx.mark_ready();
    let end = tokio::select! {
        served = server.into_future() => served.map_err(Into::into),
        () = shop.sabotage.fail_gateway.notified() => Err("the listening socket was lost".into()),
    };
    shop.gateway.send_replace(None);
    end
}

async fn accept(
    State(desk): State<Desk>,
    Json(order): Json<Order>,
) -> Result<StatusCode, (StatusCode, String)> {
    order
        .check()
        .map_err(|what| (StatusCode::UNPROCESSABLE_ENTITY, what.to_owned()))?;
    if desk.shop.sabotage.stall_request.take() {
        tokio::time::sleep(desk.stall).await;
    }
    let connection = &desk.shop.connection;
    match connection
        .within(&desk.ctx, move |db| books::accept(db, &order))
        .await
    {
        Ok(Acceptance::New) => {
            desk.shop.accepted.notify_one();
            Ok(StatusCode::CREATED)
        }
        Ok(Acceptance::Known) => Ok(StatusCode::OK),
        Ok(Acceptance::Conflict) => {
            Err((StatusCode::CONFLICT, "another order has this id".to_owned()))
        }
        Err(error) => Err((StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}
