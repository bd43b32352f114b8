//! What a client sends: an order to move money from one account to another.

use serde::{Deserialize, Serialize};

/// An order. Its id is the client's, so that sending it again is no second order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    pub id: String,
    pub payer: String,
    pub payee: String,
    pub cents: u32,
    pub memo: String,
}

impl Order {
    /// What the types do not say; the error is meant for whoever sent it.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.id.trim().is_empty() {
            Err("an order needs an id")
        } else if self.cents == 0 {
            Err("an order moves at least one cent")
        } else if self.payer == self.payee {
            Err("payer and payee are the same account")
        } else {
            Ok(())
        }
    }
}
