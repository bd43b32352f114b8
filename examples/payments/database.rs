//! The connection to the embedded database: one child owns it, the others borrow it for a transaction.

use std::{
    num::NonZeroU64,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use redb::Database;
use rust_supervisor::{BoxError, TaskContext, TaskResult};
use serde::Deserialize;

use crate::{books, shop::Shop};

/// Where the others find the open database. Empty while its owner is down.
#[derive(Default)]
pub struct Connection(RwLock<Option<Database>>);

impl Connection {
    /// Runs `work` on the database, on the calling thread; an error while there is none.
    pub fn blocking<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, BoxError>,
    ) -> Result<T, BoxError> {
        let open = self.0.read().unwrap_or_else(PoisonError::into_inner);
        work(open.as_ref().ok_or("the database is closed")?)
    }

    /// Runs `work` on the database, on a blocking thread that belongs to the run of `ctx`: the run is not
    /// over, and nothing of it is begun anew, before the transaction is.
    pub async fn within<T: Send + 'static>(
        self: &Arc<Self>,
        ctx: &TaskContext,
        work: impl FnOnce(&Database) -> Result<T, BoxError> + Send + 'static,
    ) -> Result<T, BoxError> {
        let connection = self.clone();
        ctx.spawn_blocking(move || connection.blocking(work))
            .await?
    }

    /// Closes the database, after the transactions under way.
    pub fn close(&self) {
        let open = self
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(open);
    }

    /// Opens the database, and makes it if it is not there.
    pub fn open(&self, path: &Path) -> Result<(), BoxError> {
        let db = Database::create(path)?;
        books::prepare(&db)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(db);
        Ok(())
    }
}

/// Closes the connection when its owner's run ends, however it ends.
struct Owned(Arc<Connection>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// How often the connection is tried.
    ping_ms: NonZeroU64,
}

/// Opens the database, is ready, and fails when the connection is lost.
pub async fn database(ctx: TaskContext, shop: Arc<Shop>, settings: DatabaseSettings) -> TaskResult {
    let (connection, path) = (shop.connection.clone(), shop.database_file());
    let owned = Owned(connection.clone());
    ctx.spawn_blocking(move || connection.open(&path)).await??;
    ctx.mark_ready();

    let mut ping = tokio::time::interval(Duration::from_millis(settings.ping_ms.get()));
    let mut state = Ok(());
    while state.is_ok() && ctx.run_until_cancelled(ping.tick()).await.is_some() {
        state = shop
            .connection
            .within(&ctx, |db| books::figures(db).map(drop))
            .await;
    }
    // Closing waits for transactions and writes to the disk: not on a thread of the runtime.
    ctx.spawn_blocking(move || drop(owned)).await?;
    state.map_err(|error| format!("connection lost: {error}").into())
}
