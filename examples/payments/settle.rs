//! The settlement workers: each takes an accepted order, and settles it in one transaction.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redb::Database;
use rust_supervisor::{BoxError, StopCause, TaskContext, TaskResult};
use serde::Deserialize;
use tokio::time::timeout;

use crate::{books, order::Order, shop::Shop};

/// Which orders are in a worker's hands. A matter of efficiency, not of truth: the database alone decides
/// whether an order is settled.
#[derive(Default)]
pub struct Claims(Mutex<HashSet<String>>);

/// An order in a worker's hands, given back however the worker ends.
struct Claim {
    order: Order,
    /// 1 for the first.
    attempt: u32,
    claims: Arc<Claims>,
}

impl Claims {
    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(self: &Arc<Self>, db: &Database) -> Result<Option<Claim>, BoxError> {
        let Some(order) = books::next_due(db, |id| self.lock().insert(id.to_owned()))? else {
            return Ok(None);
        };
        let mut claim = Claim {
            order,
            attempt: 0,
            claims: self.clone(),
        };
        // Not due any more: settled between the two transactions.
        Ok(books::attempt(db, &claim.order)?.map(|attempt| {
            claim.attempt = attempt;
            claim
        }))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.order.id);
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettleSettings {
    /// How long a worker waits for an order before it shows that it is alive.
    idle_ms: u64,
}

/// Settles orders until it is stopped; at a shutdown, until none is left.
pub async fn settle(ctx: TaskContext, shop: Arc<Shop>, settings: SettleSettings) -> TaskResult {
    let idle = Duration::from_millis(settings.idle_ms);
    loop {
        ctx.heartbeat();
        if shop.sabotage.hang_worker.take() {
            ctx.cancelled().await;
        }
        let drains = match ctx.stop_cause() {
            None => false,
            Some(StopCause::Shutdown) => true,
            Some(_) => return Ok(()),
        };
        let claims = shop.claims.clone();
        match shop
            .connection
            .within(&ctx, move |db| claims.next(db))
            .await?
        {
            Some(claim) => finish(&ctx, &shop, claim).await?,
            // What others have in hand is due too: should they crash, somebody has to be there.
            None if drains => match shop.connection.within(&ctx, books::figures).await?.pending {
                0 => return Ok(()),
                _ => tokio::time::sleep(idle / 10).await,
            },
            None => {
                let _ = ctx
                    .run_until_cancelled(timeout(idle, shop.accepted.notified()))
                    .await;
            }
        }
    }
}

async fn finish(ctx: &TaskContext, shop: &Shop, claim: Claim) -> TaskResult {
    // An order whose first attempt did not end well goes without what is not essential.
    let label = match claim.attempt {
        1 => label(&claim.order.memo).to_owned(),
        _ => String::new(),
    };
    let settled = move |db: &Database| books::settle(db, &claim.order, &label).map(drop);
    shop.connection.within(ctx, settled).await
}

/// As much of the memo as fits on a statement.
///
/// Wrong for text that is not ASCII, as such code is: it panics where byte 12 is inside a character.
fn label(memo: &str) -> &str {
    &memo[..memo.len().min(12)]
}
