//! What the children share: the way to each other, and the switches of the saboteur.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use rust_supervisor::BoxError;
use tokio::sync::{Notify, watch};

use crate::{
    books::{self, Figures},
    client::OrderBook,
    database::Connection,
    sabotage::Sabotage,
    settle::Claims,
};

pub struct Shop {
    /// Where database, receipts and exports are kept.
    pub data: PathBuf,
    pub connection: Arc<Connection>,
    /// Where the gateway listens, while it does.
    pub gateway: watch::Sender<Option<SocketAddr>>,
    /// An order was accepted.
    pub accepted: Notify,
    /// Orders that were refused, by the answers the client got.
    pub rejected: AtomicU64,
    pub claims: Arc<Claims>,
    pub order_book: OrderBook,
    pub sabotage: Sabotage,
}

impl Shop {
    pub fn new(data: PathBuf) -> Self {
        Self {
            data,
            connection: Arc::default(),
            gateway: watch::Sender::default(),
            accepted: Notify::new(),
            rejected: AtomicU64::new(0),
            claims: Arc::default(),
            order_book: OrderBook::default(),
            sabotage: Sabotage::default(),
        }
    }

    /// How the books stand; an error while the database is closed.
    pub fn figures(&self) -> Result<Figures, BoxError> {
        tokio::task::block_in_place(|| self.connection.blocking(books::figures))
    }

    /// The business in one line.
    pub fn line(&self) -> String {
        let rejected = self.rejected.load(Relaxed);
        match self.figures() {
            Ok(books) => format!(
                "orders: {} accepted, {} settled, {} pending, {rejected} rejected",
                books.accepted, books.settled, books.pending
            ),
            Err(error) => format!("orders: {error}, {rejected} rejected"),
        }
    }

    pub fn database_file(&self) -> PathBuf {
        self.data.join("books.redb")
    }

    pub fn receipts_file(&self) -> PathBuf {
        self.data.join("receipts.csv")
    }

    pub fn export_file(&self) -> PathBuf {
        self.data.join("ledger.csv")
    }
}
