//! What other supervisors' tests demand, case by case: each is tested here, or it is said why it does not
//! apply. `docs/conformance.md` is the list, written by `cargo xtask generate`.

#[path = "../support/mod.rs"]
mod support;

mod case;
mod given;
mod list;
mod otp;
mod ractor_supervisor;
mod suture;
mod task_supervisor;
mod traps;
