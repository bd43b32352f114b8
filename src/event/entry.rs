use arrayvec::ArrayVec;
use supervisor_layers::{
    LifecycleEvent,
    context::{RunEnd, Steps},
};

use super::{EventKind, TreeEvent};
use crate::shutdown::ChildShutdownStatus;

/// What the ring remembers of what happened at once: most of it is a word, and becomes events when somebody
/// reads it.
pub(crate) enum Entry {
    Plain(Plain),
    Told(Told),
}

/// What has nothing more to say.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Plain {
    Starting,
    Ready,
    Paused,
    Resumed,
    Added,
    Removed,
    Shutdown(ChildShutdownStatus),
}

/// What has.
pub(crate) enum Told {
    End(RunEnd),
    Other(Box<EventKind>),
}

/// The events that happened at once.
pub(super) type Kinds = ArrayVec<EventKind, 5>;

impl Entry {
    /// How many events it stands for.
    pub(super) fn count(&self) -> u8 {
        match self {
            // Not more than five.
            Self::Told(Told::End(end)) => end.count() as u8,
            Self::Told(Told::Other(_)) | Self::Plain(_) => 1,
        }
    }

    /// An exit and a command open a chain of consequences.
    pub(super) fn opens(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Told(Told::End(_)) => true,
            Self::Told(Told::Other(kind)) => matches!(
                **kind,
                EventKind::Lifecycle(LifecycleEvent::Unhealthy { .. })
                    | EventKind::Tree(
                        TreeEvent::CommandAccepted { .. } | TreeEvent::CommandRefused { .. }
                    )
            ),
        }
    }
}

impl Plain {
    pub(super) fn kind(self) -> EventKind {
        match self {
            Self::Starting => LifecycleEvent::Starting.into(),
            Self::Ready => LifecycleEvent::Ready.into(),
            Self::Paused => LifecycleEvent::Paused.into(),
            Self::Resumed => LifecycleEvent::Resumed.into(),
            Self::Added => TreeEvent::ChildAdded.into(),
            Self::Removed => TreeEvent::Removed.into(),
            Self::Shutdown(status) => TreeEvent::ChildShutdown { status }.into(),
        }
    }
}

impl Told {
    pub(super) fn kinds(&self) -> Kinds {
        match self {
            Self::End(end) => end.events().into_iter().map(EventKind::from).collect(),
            Self::Other(kind) => Kinds::from_iter([EventKind::clone(kind)]),
        }
    }

    fn other(kind: impl Into<EventKind>) -> Entry {
        Entry::Told(Self::Other(Box::new(kind.into())))
    }
}

impl From<Steps> for Entry {
    fn from(steps: Steps) -> Self {
        Self::Plain(match steps {
            Steps::End(end) => return Self::Told(Told::End(end)),
            Steps::One(event) => match event {
                LifecycleEvent::Starting => Plain::Starting,
                LifecycleEvent::Ready => Plain::Ready,
                LifecycleEvent::Paused => Plain::Paused,
                LifecycleEvent::Resumed => Plain::Resumed,
                other => return Told::other(other),
            },
        })
    }
}

impl From<TreeEvent> for Entry {
    fn from(event: TreeEvent) -> Self {
        Self::Plain(match event {
            TreeEvent::ChildAdded => Plain::Added,
            TreeEvent::Removed => Plain::Removed,
            TreeEvent::ChildShutdown { status } => Plain::Shutdown(status),
            other => return Told::other(other),
        })
    }
}
