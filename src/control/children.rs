use std::{fmt, sync::Arc};

use supervisor_layers::ChildStatus;
use tokio::runtime::Handle;

use super::Change;
use crate::{
    SupervisorError,
    spec::{NewChild, SupervisorPath},
    tree::{Child, Scope, ScopeCore},
};

/// The children of one supervisor, for a program that adds and removes some itself: one for each connection, say.
/// OTP's `start_child`, and `terminate_child` with `delete_child`. Cheap to clone; it keeps neither the tree nor the
/// supervisor alive, and is of use in each further life of that.
///
/// What is added here is a child like any other, and its coming and going are among the tree's events. A temporary
/// one is gone when it has ended; others stay, as finished or failed, until they are removed. But nobody gave a
/// command: who wanted it, and why, is not asked for, and the audit, which has what people did to the tree, knows
/// nothing of it. It goes on where commands are refused, as their control plane is stopped or busy.
///
/// ```
/// # use rust_supervisor::{ChildSpec, RestartType, Supervisor, SupervisorError, SupervisorSpec, TaskContext};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), SupervisorError> {
/// let tree = SupervisorSpec::one_for_one("app").supervisor(SupervisorSpec::one_for_one("sessions"));
/// let handle = Supervisor::start(tree).await?;
///
/// let sessions = handle.children("/sessions")?;
/// let session = |ctx: TaskContext| async move { ctx.cancelled().await };
/// let added = sessions
///     .add(ChildSpec::worker("42", session).restart(RestartType::Temporary))
///     .await?;
/// assert_eq!(added.path().as_str(), "/sessions/42");
/// added.remove().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Children {
    of: Arc<ScopeCore>,
}

impl Children {
    pub(super) fn of(supervisor: &Arc<ScopeCore>) -> Self {
        Self {
            of: supervisor.clone(),
        }
    }

    /// The supervisor that they stand under.
    pub fn supervisor(&self) -> &SupervisorPath {
        &self.of.path
    }

    /// Adds a child after all others and waits until it has started, as
    /// [`add_child`](crate::SupervisorHandle::add_child) does.
    ///
    /// # Errors
    ///
    /// A name that is taken or cannot be one, a declaration that stands for nothing, a supervisor that is down or
    /// gone or takes no children, a start that fails, a tree that shuts down. Nothing has changed then.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the child stays if it starts, and is taken out if it does not.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub async fn add(&self, child: impl Into<NewChild>) -> Result<AddedChild, SupervisorError> {
        let runtime = Handle::current();
        if self.of.tree.is_closing() {
            return Err(SupervisorError::ShuttingDown);
        }
        let Some(scope) = self.of.supervisor() else {
            return Err(SupervisorError::UnknownPath {
                path: self.supervisor().clone(),
                nearest: None,
            });
        };
        let child = scope.take_in(child.into(), 0)?;
        let starts = Rest {
            runtime,
            scope: &scope,
            child: &child,
            doing: Some(Doing::Starts),
        };
        starts.unless(scope.come_up(&child, 0)).await?;
        Ok(AddedChild { child })
    }
}

impl fmt::Debug for Children {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Children")
            .field("supervisor", self.supervisor())
            .finish_non_exhaustive()
    }
}

/// A child that was added to [`Children`]. It is that one alone: another of its name, added when it had gone, is not
/// meant. Dropping this changes nothing.
#[derive(Clone)]
pub struct AddedChild {
    child: Arc<Child>,
}

impl AddedChild {
    /// Where it stands, or stood.
    pub fn path(&self) -> SupervisorPath {
        self.child.path()
    }

    /// Which addition of a child it is: unique in the tree.
    pub fn instance(&self) -> u64 {
        self.child.gate().instance()
    }

    /// What it is doing.
    pub fn status(&self) -> ChildStatus {
        self.child.gate().status()
    }

    /// Stops the child, waits for its end, and takes it out, as
    /// [`remove_child`](crate::SupervisorHandle::remove_child) does; its name can be used again at once. One that has
    /// gone already, or goes, is [`AlreadySo`](Change::AlreadySo).
    ///
    /// # Errors
    ///
    /// Siblings that depend on it, a tree that shuts down. Nothing has changed then.
    ///
    /// # Cancel safety
    ///
    /// The child is taken out even if the future is dropped.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub async fn remove(&self) -> Result<Change, SupervisorError> {
        let runtime = Handle::current();
        if self.child.tree().is_closing() {
            return Err(SupervisorError::ShuttingDown);
        }
        let Some(scope) = self.child.under() else {
            return Ok(self.child.removed(false));
        };
        let goes = scope.let_go(&self.child)?;
        let leaves = Rest {
            runtime,
            scope: &scope,
            child: &self.child,
            doing: goes.then_some(Doing::Leaves),
        };
        Ok(leaves.unless(scope.see_off(&self.child, goes, 0)).await)
    }
}

impl fmt::Debug for AddedChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddedChild")
            .field("child", &self.child)
            .finish_non_exhaustive()
    }
}

/// What is left to do for a child when whoever does it goes away in the middle.
struct Rest<'a> {
    runtime: Handle,
    scope: &'a Arc<Scope>,
    child: &'a Arc<Child>,
    doing: Option<Doing>,
}

#[derive(Debug, Clone, Copy)]
enum Doing {
    Starts,
    Leaves,
}

impl Rest<'_> {
    /// Nothing, if this comes to its end.
    async fn unless<T>(mut self, done: impl Future<Output = T>) -> T {
        let answer = done.await;
        self.doing = None;
        answer
    }
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        let Some(doing) = self.doing else {
            return;
        };
        let (scope, child) = (self.scope.clone(), self.child.clone());
        self.runtime.spawn(async move {
            match doing {
                // Nobody is left to be told that it did not start; the events have how it ended.
                Doing::Starts if !child.gate().is_ending() => {
                    drop(scope.come_up(&child, 0).await);
                }
                Doing::Starts | Doing::Leaves => drop(scope.see_off(&child, true, 0).await),
            }
        });
    }
}
