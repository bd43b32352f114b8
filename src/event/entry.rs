use std::sync::Arc;

use arrayvec::ArrayVec;
use supervisor_layers::{
    LifecycleEvent,
    context::{PlainEnd, RunEnd, Steps},
};

use super::{EventKind, TreeEvent};
use crate::{commanded::Commanded, shutdown::ChildShutdownStatus};

/// What the ring is to remember of what happened at once: most of it is a word, and becomes events when somebody
/// reads it.
pub(crate) enum Entry<'a> {
    Plain(Plain),
    End(&'a RunEnd),
    /// The end of a child's last run, by which it took a shutdown gracefully.
    Last(LastEnd),
    Command(Command),
    Other(Box<EventKind>),
}

/// See [`Entry::Last`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastEnd(pub(crate) PlainEnd);

/// What is told of a command.
pub(crate) enum Command {
    Accepted(Arc<Commanded>),
    Completed(Arc<Commanded>),
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
pub(super) enum Told {
    End(RunEnd),
    Command(Command),
    Other(Box<EventKind>),
}

/// The events that happened at once.
pub(super) type Kinds = ArrayVec<EventKind, 5>;

impl Entry<'_> {
    /// How many events it stands for.
    pub(super) fn count(&self) -> u8 {
        match self {
            // Not more than five.
            Self::End(end) => end.count() as u8,
            Self::Last(_) => LastEnd::EVENTS,
            Self::Plain(_) | Self::Command(_) | Self::Other(_) => 1,
        }
    }

    /// An exit and a command open a chain of consequences.
    pub(super) fn opens(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Command(Command::Completed(_)) => false,
            Self::End(_) | Self::Last(_) | Self::Command(Command::Accepted(_)) => true,
            Self::Other(kind) => matches!(
                **kind,
                EventKind::Lifecycle(LifecycleEvent::Unhealthy { .. })
                    | EventKind::Tree(
                        TreeEvent::CommandAccepted { .. } | TreeEvent::CommandRefused { .. }
                    )
            ),
        }
    }

    fn other(kind: impl Into<EventKind>) -> Self {
        Self::Other(Box::new(kind.into()))
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
            Self::Command(command) => Kinds::from_iter([command.kind()]),
            Self::Other(kind) => Kinds::from_iter([EventKind::clone(kind)]),
        }
    }
}

impl Command {
    fn kind(&self) -> EventKind {
        match self {
            Self::Accepted(commanded) => {
                let (requested_by, reason) = commanded.by.shared();
                TreeEvent::CommandAccepted {
                    command: commanded.command.into(),
                    requested_by,
                    reason,
                }
            }
            Self::Completed(commanded) => TreeEvent::CommandCompleted {
                command: commanded.command.into(),
                outcome: commanded.outcome_in_words().into(),
            },
        }
        .into()
    }
}

impl From<Command> for Entry<'_> {
    fn from(command: Command) -> Self {
        Self::Command(command)
    }
}

impl LastEnd {
    /// How many events it consists of.
    pub(super) const EVENTS: u8 = PlainEnd::EVENTS + 1;

    pub(super) fn kinds(self) -> Kinds {
        let mut kinds = Told::End(self.0.into()).kinds();
        kinds.push(Plain::Shutdown(ChildShutdownStatus::Graceful).kind());
        kinds
    }
}

impl From<LastEnd> for Entry<'_> {
    fn from(end: LastEnd) -> Self {
        Self::Last(end)
    }
}

impl<'a> From<Steps<'a>> for Entry<'a> {
    fn from(steps: Steps<'a>) -> Self {
        Self::Plain(match steps {
            Steps::End(end) => return Self::End(end),
            Steps::One(event) => match event {
                LifecycleEvent::Starting => Plain::Starting,
                LifecycleEvent::Ready => Plain::Ready,
                LifecycleEvent::Paused => Plain::Paused,
                LifecycleEvent::Resumed => Plain::Resumed,
                other => return Self::other(other.clone()),
            },
        })
    }
}

impl From<TreeEvent> for Entry<'_> {
    fn from(event: TreeEvent) -> Self {
        Self::Plain(match event {
            TreeEvent::ChildAdded => Plain::Added,
            TreeEvent::Removed => Plain::Removed,
            TreeEvent::ChildShutdown { status } => Plain::Shutdown(status),
            other => return Self::other(other),
        })
    }
}
