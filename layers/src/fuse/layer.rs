use std::{sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{Fuse, FuseService, Note};
use crate::policy::FuseLimit;

/// A limit on failures within a window; see the [module](super).
#[derive(Debug, Clone)]
pub struct FuseLayer {
    kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// Nothing is counted.
    Off,
    /// Counted per child; the address tells two fuses of one stack apart.
    Own(Arc<FuseLimit>),
    Shared(Fuse),
}

impl FuseLayer {
    /// At most `failures` within `window` for each child.
    pub fn new(failures: u32, window: Duration) -> Self {
        Self::limit(Some(FuseLimit { failures, window }))
    }

    /// The same from a limit; without one the layer does nothing.
    pub fn limit(limit: Option<FuseLimit>) -> Self {
        Self {
            kind: limit.map_or(Kind::Off, |limit| Kind::Own(Arc::new(limit))),
        }
    }

    /// Counts into a fuse shared with others.
    pub fn shared(fuse: Fuse) -> Self {
        Self {
            kind: Kind::Shared(fuse),
        }
    }

    pub(crate) fn note(&self) -> Note {
        Note::new(self.kind.clone())
    }
}

impl<S> Layer<S> for FuseLayer {
    type Service = FuseService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        FuseService::new(inner, self.kind.clone())
    }
}
