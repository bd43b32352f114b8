//! The last log records of each child: what a program itself logged while a run of it went on.
//!
//! ```
//! use rust_supervisor::{ChildSpec, Supervisor, SupervisorSpec, TaskContext, log_tail::LogTail};
//! use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};
//!
//! async fn consumer(ctx: TaskContext) {
//!     tracing::info!(queue = "orders", "connected");
//!     ctx.cancelled().await;
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), rust_supervisor::SupervisorError> {
//! let tail = LogTail::new();
//! tracing_subscriber::registry().with(tail.layer()).init();
//! let tree = SupervisorSpec::one_for_one("shop").child(ChildSpec::worker("consumer", consumer));
//! let handle = Supervisor::start(tree).await?;
//! # handle.wait_ready("consumer").await?;
//! let last = tail.last("/consumer", 10);
//! assert_eq!(last[0].message, "connected");
//! assert_eq!(last[0].fields, [("queue".to_owned(), "orders".to_owned())]);
//! # Ok(())
//! # }
//! ```
//!
//! A record belongs to the run in whose span it was made, or in a span below that: `supervisor.run`, which
//! [`ObserveLayer`](crate::ObserveLayer) opens. Helpers that a run starts carry it along only if they are told
//! to, with `tracing`'s `in_current_span`.

mod layer;
mod record;
mod stream;
mod tail;

pub use layer::LogTailLayer;
pub use record::LogRecord;
pub use stream::{LogItem, LogStream};
pub use tail::LogTail;
