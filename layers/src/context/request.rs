use tokio::time::Instant;

/// How a stop is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct StopRequest {
    /// When it is; now, unless somebody says so who asks several at a time.
    pub at: Option<Instant>,
    /// When the run is dropped, if its own grace does not end sooner.
    pub deadline: Option<Instant>,
    /// What no extension may pass.
    pub cap: Option<Instant>,
    /// What ties the consequences to their cause; 0 for none.
    pub correlation: u64,
}
