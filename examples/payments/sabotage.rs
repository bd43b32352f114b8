//! The saboteur: breaks the others for real, in their own code, in an order that its seed decides.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use rust_supervisor::{CommandMeta, SupervisedTask, TaskContext, TaskResult};
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, time::sleep};

use crate::shop::Shop;

/// What the children look at, each in its place.
#[derive(Default)]
pub struct Sabotage {
    pub poison_order: Switch,
    pub hang_worker: Switch,
    pub slow_disk: Switch,
    pub stall_request: Switch,
    pub fail_gateway: Notify,
}

/// Set once, taken once.
#[derive(Default)]
pub struct Switch(AtomicBool);

impl Switch {
    fn set(&self) {
        self.0.store(true, Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }

    pub fn take(&self) -> bool {
        self.0.swap(false, Relaxed)
    }
}

/// What can be broken, and how its child ends by that.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Fault {
    /// The database is closed under everybody's hands: its child fails.
    DropConnection,
    /// An order that a worker panics on.
    PoisonOrder,
    /// A worker hangs and shows no sign of life: unhealthy.
    HangWorker,
    /// The gateway returns an error.
    FailGateway,
    /// A request hangs and the gateway then fails: the client, waiting for its answer, is aborted.
    StallRequest,
    /// The exporter cannot start in time.
    SlowDisk,
    /// Somebody restarts a worker by hand.
    RestartWorker,
    /// Somebody sets another number of workers, from one to six.
    ResizePool,
    /// Somebody pauses the gateway for a moment.
    PauseGateway,
}

impl Fault {
    const ALL: [Self; 9] = [
        Self::DropConnection,
        Self::PoisonOrder,
        Self::HangWorker,
        Self::FailGateway,
        Self::StallRequest,
        Self::SlowDisk,
        Self::RestartWorker,
        Self::ResizePool,
        Self::PauseGateway,
    ];
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SaboteurSettings {
    every_ms: u64,
    seed: u64,
    /// All of them, in an order of its own, then all of them again.
    faults: Vec<Fault>,
}

impl SaboteurSettings {
    /// As often as the others can still do anything in between, and with everything there is.
    pub fn aggressive() -> Self {
        Self {
            every_ms: 50,
            seed: 42,
            faults: Fault::ALL.to_vec(),
        }
    }
}

/// Commits one fault after the other.
pub async fn saboteur(ctx: TaskContext, shop: Arc<Shop>, settings: SaboteurSettings) -> TaskResult {
    let mut random = SplitMix(settings.seed);
    let mut deck = Vec::new();
    while ctx
        .run_until_cancelled(sleep(Duration::from_millis(settings.every_ms)))
        .await
        .is_some()
    {
        if deck.is_empty() {
            deck.clone_from(&settings.faults);
        }
        if !deck.is_empty() {
            let fault = deck.swap_remove(random.below(deck.len()));
            commit(fault, &ctx, &shop, &mut random).await?;
        }
    }
    Ok(())
}

async fn commit(fault: Fault, ctx: &TaskContext, shop: &Shop, random: &mut SplitMix) -> TaskResult {
    let sabotage = &shop.sabotage;
    match fault {
        Fault::RestartWorker | Fault::ResizePool | Fault::PauseGateway => {
            interfere(fault, ctx, random).await?;
        }
        Fault::DropConnection => {
            let connection = shop.connection.clone();
            ctx.spawn_blocking(move || connection.close()).await?;
        }
        Fault::PoisonOrder => sabotage.poison_order.set(),
        Fault::HangWorker => sabotage.hang_worker.set(),
        Fault::SlowDisk => sabotage.slow_disk.set(),
        Fault::FailGateway => sabotage.fail_gateway.notify_one(),
        Fault::StallRequest => {
            sabotage.stall_request.set();
            while sabotage.stall_request.is_set() {
                if ctx
                    .run_until_cancelled(sleep(Duration::from_millis(10)))
                    .await
                    .is_none()
                {
                    return Ok(());
                }
            }
            sabotage.fail_gateway.notify_one();
        }
    }
    Ok(())
}

/// Does what a person might, at the worst time. That a command does not apply just then is no failure.
async fn interfere(fault: Fault, ctx: &TaskContext, random: &mut SplitMix) -> TaskResult {
    let Some(handle) = ctx.supervisor().and_then(|weak| weak.upgrade()) else {
        return Ok(());
    };
    let by = CommandMeta::new("saboteur", "to see what happens")?;
    let answer = match fault {
        Fault::RestartWorker => handle.restart_child("storage/settle/0", &by).await,
        Fault::ResizePool => {
            let workers = 1 + random.below(6);
            handle.scale_child("storage/settle", workers, &by).await
        }
        _ => {
            let paused = handle.pause_child("edge/gateway", &by).await;
            sleep(Duration::from_millis(100)).await;
            let resumed = handle.resume_child("edge/gateway", &by).await;
            paused.and(resumed)
        }
    };
    if let Err(error) = answer {
        tracing::debug!(%error, "not now");
    }
    Ok(())
}

/// A small generator of numbers that look random and are the same for the same seed.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}
