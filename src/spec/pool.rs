use std::{fmt, sync::Arc};

use supervisor_layers::task::catch_panic;

use super::ChildSpec;

/// What a pool's replicas are made by, as long as the pool is there.
#[derive(Clone)]
pub(crate) struct Replicas(Arc<Make>);

/// Makes the replica of an index, or says why it cannot.
type Make = dyn Fn(usize) -> Result<ChildSpec, String> + Send + Sync;

impl Replicas {
    pub(crate) fn new(
        make: impl Fn(usize) -> Result<ChildSpec, String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(make))
    }

    /// The replica of this index. Its name is the index; significance and dependencies are the pool's.
    pub(crate) fn replica(&self, index: usize) -> Result<ChildSpec, String> {
        // Called by a command, it is the user's code in a task of the tree's.
        let made = catch_panic(|| (self.0)(index)).map_err(|panic| panic.to_string())?;
        made.map(|kind| named(kind, index))
    }
}

/// A replica of this kind and index.
pub(crate) fn named(mut kind: ChildSpec, index: usize) -> ChildSpec {
    kind.id = index.to_string();
    kind.significant = false;
    kind.depends_on.clear();
    kind
}

impl fmt::Debug for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replicas")
    }
}
