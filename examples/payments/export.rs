//! The exporter: a plain function on a blocking thread that writes the ledger as CSV.

use std::{sync::Arc, time::Duration};

use rust_supervisor::{TaskContext, TaskResult};
use serde::Deserialize;
use tokio::{runtime::Handle, time::sleep};

use crate::{books, shop::Shop};

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportSettings {
    every_ms: u64,
}

/// One run is one export: it opens its file, waits for its time, writes and completes. Being permanent, it
/// then runs again.
pub fn export(ctx: TaskContext, shop: Arc<Shop>, settings: ExportSettings) -> TaskResult {
    // A thread cannot be aborted: whatever it waits for, it has to wait for its stop as well.
    let runtime = Handle::current();
    if shop.sabotage.slow_disk.take() {
        runtime.block_on(ctx.cancelled());
    }
    let unfinished = shop.export_file().with_extension("part");
    let mut file = csv::Writer::from_path(&unfinished)?;
    ctx.mark_ready();

    let wait = sleep(Duration::from_millis(settings.every_ms));
    if runtime.block_on(ctx.run_until_cancelled(wait)).is_none() {
        return Ok(());
    }
    file.write_record(["number", "order", "account", "cents", "label"])?;
    shop.connection.blocking(|db| {
        books::each_entry(db, |number, order, account, cents, label| {
            Ok(file.serialize((number, order, account, cents, label))?)
        })
    })?;
    file.flush()?;
    std::fs::rename(unfinished, shop.export_file())?;
    Ok(())
}
