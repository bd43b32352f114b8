//! A client of the gateway: sends orders over HTTP, some of them malformed, and keeps the receipts.

use std::{
    num::NonZeroU64,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use reqwest::{Client, header::CONTENT_TYPE};
use rust_supervisor::{BoxError, TaskContext, TaskResult};
use serde::Deserialize;
use tokio::{fs::File, io::AsyncWriteExt, time::sleep};

use crate::{order::Order, shop::Shop};

const MALFORMED: [&str; 5] = [
    "{\"id\": \"half an ord",
    "[]",
    r#"{"id": "m-1", "payer": "anna", "payee": "bert", "cents": -5, "memo": ""}"#,
    r#"{"id": "m-2", "payer": "anna", "payee": "anna", "cents": 5, "memo": "to myself"}"#,
    r#"{"id": "m-3", "payer": "anna", "payee": "bert", "cents": 5, "memo": "", "vip": true}"#,
];
/// Byte 12 is inside the house.
const POISON: &str = "for a house\u{1f3e0} by the sea";
const PEOPLE: [&str; 4] = ["anna", "bert", "carla", "dieter"];

/// Numbers the orders over all runs of the client.
pub struct OrderBook {
    /// Tells this program's orders from those of earlier ones on the same data.
    series: u128,
    next: AtomicU64,
}

impl Default for OrderBook {
    fn default() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            series: since.unwrap_or_default().as_millis(),
            next: AtomicU64::new(1),
        }
    }
}

impl OrderBook {
    fn next(&self, memo: &str) -> Order {
        let number = self.next.fetch_add(1, Relaxed);
        let person = |n: u64| PEOPLE[(n % PEOPLE.len() as u64) as usize].to_owned();
        Order {
            id: format!("{}-{number:06}", self.series),
            payer: person(number),
            payee: person(number + 1 + number % 3),
            cents: (number * 37 % 9_999 + 1) as u32,
            memo: memo.to_owned(),
        }
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSettings {
    pause_ms: u64,
    timeout_ms: u64,
    /// After so many orders comes a malformed one.
    malformed_every: NonZeroU64,
}

/// What the gateway made of a request.
enum Answer {
    Acknowledged,
    Refused,
    /// None, or that it cannot say now: the order may be in the books or not.
    Unknown,
}

/// Sends one order at a time, again and again until it is answered.
pub async fn client(ctx: TaskContext, shop: Arc<Shop>, settings: ClientSettings) -> TaskResult {
    let pause = Duration::from_millis(settings.pause_ms);
    let timeout = Duration::from_millis(settings.timeout_ms);
    let http = Client::builder().no_proxy().timeout(timeout).build()?;
    let mut receipts = File::options();
    let receipts = receipts.create(true).append(true);
    let mut receipts = receipts.open(shop.receipts_file()).await?;
    for round in 1.. {
        let memo = if shop.sabotage.poison_order.take() {
            POISON
        } else {
            "thank you"
        };
        let order = shop.order_book.next(memo);
        let body = serde_json::to_string(&order)?;
        let Some(acknowledged) = insist(&ctx, &shop, &http, &body, pause).await else {
            break;
        };
        if !acknowledged {
            return Err(format!("the gateway refused {body}").into());
        }
        // In one write, so that whatever ends this program leaves a whole line or none.
        let receipt = format!("{},{}\n", order.id, order.cents);
        receipts.write_all(receipt.as_bytes()).await?;
        receipts.flush().await?;
        if round % settings.malformed_every.get() == 0 {
            let body =
                MALFORMED[(round / settings.malformed_every.get()) as usize % MALFORMED.len()];
            match insist(&ctx, &shop, &http, body, pause).await {
                Some(true) => return Err(format!("the gateway accepted {body}").into()),
                Some(false) => drop(shop.rejected.fetch_add(1, Relaxed)),
                None => break,
            }
        }
        if ctx.run_until_cancelled(sleep(pause)).await.is_none() {
            break;
        }
    }
    Ok(())
}

/// Whether the gateway acknowledged or refused; `None` if stopped before it said.
async fn insist(
    ctx: &TaskContext,
    shop: &Shop,
    http: &Client,
    body: &str,
    pause: Duration,
) -> Option<bool> {
    let mut gateway = shop.gateway.subscribe();
    loop {
        let listening = gateway.wait_for(Option::is_some);
        let address = (*ctx.run_until_cancelled(listening).await?.ok()?)?;
        // Not given up for a stop: who has sent an order wants to know what became of it.
        match send(http, &format!("http://{address}/orders"), body).await {
            Answer::Acknowledged => return Some(true),
            Answer::Refused => return Some(false),
            Answer::Unknown => ctx.run_until_cancelled(sleep(pause)).await?,
        }
    }
}

async fn send(http: &Client, url: &str, body: &str) -> Answer {
    let request = http.post(url).header(CONTENT_TYPE, "application/json");
    match request.body(body.to_owned()).send().await {
        Ok(response) if response.status().is_success() => Answer::Acknowledged,
        Ok(response) if response.status().is_client_error() => Answer::Refused,
        Ok(_) | Err(_) => Answer::Unknown,
    }
}

/// Every order this and earlier clients got an acknowledgement for, with its cents.
pub fn read_receipts(path: &Path) -> Result<Vec<(String, u32)>, BoxError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_path(path)?;
    Ok(reader.deserialize().collect::<Result<_, _>>()?)
}
