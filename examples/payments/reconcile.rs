//! The reconciler: checks every few seconds that the books balance.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use rust_supervisor::{TaskContext, TaskFailure, TaskResult};
use serde::Deserialize;

use crate::{books, shop::Shop};

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReconcileSettings {
    every_ms: NonZeroU64,
}

/// Is ready after its first check.
pub async fn reconcile(
    ctx: TaskContext,
    shop: Arc<Shop>,
    settings: ReconcileSettings,
) -> TaskResult {
    let mut every = tokio::time::interval(Duration::from_millis(settings.every_ms.get()));
    while ctx.run_until_cancelled(every.tick()).await.is_some() {
        if let Some(what) = shop.connection.within(&ctx, books::imbalance).await? {
            // No restart puts money back.
            return Err(TaskFailure::fatal(what).into());
        }
        ctx.mark_ready();
    }
    Ok(())
}
