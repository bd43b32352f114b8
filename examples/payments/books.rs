//! The books: orders, accounts and a double-entry ledger, each change one transaction of the database.

use std::collections::{BTreeMap, HashMap, HashSet};

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use rust_supervisor::BoxError;
use serde::Serialize;

use crate::order::Order;

/// Every accepted order, as JSON, by its id.
const ORDERS: TableDefinition<'_, &str, &str> = TableDefinition::new("orders");
/// The ids of those not yet settled, with how often that was attempted.
const DUE: TableDefinition<'_, &str, u32> = TableDefinition::new("due");
/// Entries in order of settlement: order, account, cents, label. An order has two, which add up to nothing.
const LEDGER: TableDefinition<'_, u64, (&str, &str, i64, &str)> = TableDefinition::new("ledger");
/// Balances in cents.
const ACCOUNTS: TableDefinition<'_, &str, i64> = TableDefinition::new("accounts");

/// What became of an order that asked to be accepted.
pub enum Acceptance {
    New,
    /// The same order has been accepted before.
    Known,
    /// Another order has its id.
    Conflict,
}

/// How the books stand.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Figures {
    pub accepted: u64,
    pub settled: u64,
    pub pending: u64,
}

/// The orders that the books and the clients' receipts tell of, one by one.
#[derive(Debug, Default, Serialize)]
pub struct Audit {
    /// In the books.
    pub accepted: u64,
    /// Acknowledged to a client, by its receipts.
    pub acknowledged: u64,
    /// Settled exactly once.
    pub settled: u64,
    /// Accepted and durable, to be settled by the next run.
    pub pending: u64,
    /// Settled more than once, or both settled and due.
    pub settled_twice: u64,
    /// Acknowledged or accepted, and neither settled exactly once nor pending.
    pub lost: u64,
}

/// Makes the tables of a new database.
pub fn prepare(db: &Database) -> Result<(), BoxError> {
    let txn = db.begin_write()?;
    txn.open_table(ORDERS)?;
    txn.open_table(DUE)?;
    txn.open_table(LEDGER)?;
    txn.open_table(ACCOUNTS)?;
    Ok(txn.commit()?)
}

/// Takes an order into the books. It is on disk when this returns.
pub fn accept(db: &Database, order: &Order) -> Result<Acceptance, BoxError> {
    let text = serde_json::to_string(order)?;
    let txn = db.begin_write()?;
    {
        let mut orders = txn.open_table(ORDERS)?;
        if let Some(known) = orders.get(&*order.id)? {
            let same = known.value() == text;
            return Ok(if same {
                Acceptance::Known
            } else {
                Acceptance::Conflict
            });
        }
        orders.insert(&*order.id, &*text)?;
        txn.open_table(DUE)?.insert(&*order.id, 0)?;
    }
    txn.commit()?;
    Ok(Acceptance::New)
}

/// The first due order that `free` lets pass.
pub fn next_due(
    db: &Database,
    mut free: impl FnMut(&str) -> bool,
) -> Result<Option<Order>, BoxError> {
    let txn = db.begin_read()?;
    for entry in txn.open_table(DUE)?.iter()? {
        let (id, _) = entry?;
        if free(id.value()) {
            let order = txn.open_table(ORDERS)?.get(id.value())?;
            let order = order.ok_or_else(|| format!("{} is due but unknown", id.value()))?;
            return Ok(Some(serde_json::from_str(order.value())?));
        }
    }
    Ok(None)
}

/// Notes that an order is about to be settled, before anything can go wrong with it, and answers which
/// attempt this is; `None` if it is no longer due.
pub fn attempt(db: &Database, order: &Order) -> Result<Option<u32>, BoxError> {
    let txn = db.begin_write()?;
    let attempt = {
        let mut due = txn.open_table(DUE)?;
        let Some(before) = due.get(&*order.id)?.map(|count| count.value()) else {
            return Ok(None);
        };
        due.insert(&*order.id, before + 1)?;
        before + 1
    };
    txn.commit()?;
    Ok(Some(attempt))
}

/// Settles an order: both entries, both balances, and no longer due, or nothing of it. Says whether it was
/// still due, so that settling again changes nothing.
pub fn settle(db: &Database, order: &Order, label: &str) -> Result<bool, BoxError> {
    let txn = db.begin_write()?;
    if txn.open_table(DUE)?.remove(&*order.id)?.is_none() {
        return Ok(false);
    }
    {
        let mut ledger = txn.open_table(LEDGER)?;
        let mut accounts = txn.open_table(ACCOUNTS)?;
        let first = ledger.last()?.map_or(0, |(last, _)| last.value() + 1);
        let cents = i64::from(order.cents);
        let entries = [(&*order.payer, -cents), (&*order.payee, cents)];
        for (number, (account, cents)) in (first..).zip(entries) {
            ledger.insert(number, (&*order.id, account, cents, label))?;
            let balance = accounts.get(account)?.map_or(0, |balance| balance.value());
            accounts.insert(account, balance + cents)?;
        }
    }
    txn.commit()?;
    Ok(true)
}

/// How the books stand, by the sizes of the tables.
pub fn figures(db: &Database) -> Result<Figures, BoxError> {
    let txn = db.begin_read()?;
    Ok(Figures {
        accepted: txn.open_table(ORDERS)?.len()?,
        settled: txn.open_table(LEDGER)?.len()? / 2,
        pending: txn.open_table(DUE)?.len()?,
    })
}

/// Hands every ledger entry to `row`: number, order, account, cents, label.
pub fn each_entry(
    db: &Database,
    mut row: impl FnMut(u64, &str, &str, i64, &str) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    for entry in db.begin_read()?.open_table(LEDGER)?.iter()? {
        let (number, entry) = entry?;
        let (order, account, cents, label) = entry.value();
        row(number.value(), order, account, cents, label)?;
    }
    Ok(())
}

/// What is wrong with the books, if anything: the ledger adds up to nothing, balances are the sums of their
/// entries, and every order is either due or has its two entries.
pub fn imbalance(db: &Database) -> Result<Option<String>, BoxError> {
    // One read transaction is one moment: settlements go on meanwhile.
    let txn = db.begin_read()?;
    let mut sums = BTreeMap::<String, i64>::new();
    let mut entries = 0;
    for entry in txn.open_table(LEDGER)?.iter()? {
        let (_, entry) = entry?;
        let (_, account, cents, _) = entry.value();
        *sums.entry(account.to_owned()).or_default() += cents;
        entries += 1;
    }
    let total: i64 = sums.values().sum();
    if total != 0 {
        return Ok(Some(format!("the ledger is {total} cents off")));
    }
    for balance in txn.open_table(ACCOUNTS)?.iter()? {
        let (account, balance) = balance?;
        let (account, balance) = (account.value(), balance.value());
        let sum = sums.get(account).copied().unwrap_or_default();
        if sum != balance {
            return Ok(Some(format!(
                "{account} has {balance} cents, its entries make {sum}"
            )));
        }
    }
    let accepted = txn.open_table(ORDERS)?.len()?;
    let due = txn.open_table(DUE)?.len()?;
    if accepted - due != entries / 2 {
        let message = format!("{accepted} orders, {due} due, but {entries} entries");
        return Ok(Some(message));
    }
    Ok(None)
}

/// Follows every order of the books and every receipt through the ledger.
pub fn audit(db: &Database, receipts: &[(String, u32)]) -> Result<Audit, BoxError> {
    let txn = db.begin_read()?;
    let mut entries = HashMap::<String, Vec<i64>>::new();
    each_entry(db, |_, order, _, cents, _| {
        entries.entry(order.to_owned()).or_default().push(cents);
        Ok(())
    })?;
    let mut due = HashSet::new();
    for entry in txn.open_table(DUE)?.iter()? {
        due.insert(entry?.0.value().to_owned());
    }
    let mut audit = Audit {
        acknowledged: receipts.len() as u64,
        ..Audit::default()
    };
    let mut known = HashMap::new();
    for entry in txn.open_table(ORDERS)?.iter()? {
        let order: Order = serde_json::from_str(entry?.1.value())?;
        let cents = i64::from(order.cents);
        audit.accepted += 1;
        match (
            entries.get(&order.id).map(Vec::as_slice),
            due.contains(&order.id),
        ) {
            (Some(&[out, into]), false) if (out, into) == (-cents, cents) => audit.settled += 1,
            (None, true) => audit.pending += 1,
            (Some(_), _) => audit.settled_twice += 1,
            (None, false) => audit.lost += 1,
        }
        known.insert(order.id, order.cents);
    }
    audit.lost += audit.settled_twice;
    audit.lost += receipts
        .iter()
        .filter(|(id, cents)| known.get(id) != Some(cents))
        .count() as u64;
    Ok(audit)
}
