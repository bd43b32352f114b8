use tokio::time::Instant;

/// Whether tokio's clock stands still. Asked by watching it, so that tokio's own `test-util` need not be there.
pub(super) fn is_paused() -> bool {
    let virtually = Instant::now();
    let really = now();
    while now() == really {
        std::hint::spin_loop();
    }
    Instant::now() == virtually
}

#[expect(
    clippy::disallowed_methods,
    reason = "what tokio's clock is compared with"
)]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
