//! For tests of one's own tree: children that do what a test says, a tree under paused time, waits that say
//! what they waited for, and a shutdown that fails if anything is left alive. With the feature `test-util`.
//!
//! ```
//! use rust_supervisor::{
//!     Backoff, ChildSpec, Jitter, SupervisorSpec, ms, secs,
//!     test_util::{Script, TestTree},
//! };
//!
//! # // #[tokio::test(start_paused = true)]
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() { consumer_survives_a_lost_connection().await }
//! async fn consumer_survives_a_lost_connection() {
//!     let broken = Script::new().fails(3, "connection lost").then_runs();
//!     let child = ChildSpec::worker("c", broken.task())
//!         .backoff(Backoff::exponential(ms(50), secs(10)).jitter(Jitter::None));
//!     let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(child)).await;
//!     tree.until_running("c", 4).await; // generation 4, in virtual time
//!     assert_eq!(broken.delays(), [ms(50), ms(100), ms(200)]);
//!     tree.shutdown_clean().await; // fails if anything is left alive
//! }
//! ```
//!
//! Where something is not as a test says it is, these panic: with what was expected and where, the tree as it
//! is, and what happened last.

mod clock;
mod history;
mod play;
mod record;
mod recorder;
mod script;
mod tree;
mod wait;

pub use record::ScriptedRun;
pub use script::Script;
pub use tree::{TestTree, by};
