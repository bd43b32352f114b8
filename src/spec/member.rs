use std::fmt;

use serde_json::Value;

use super::{ChildSpec, SupervisorSpec};

/// One place in a supervisor's order.
#[derive(Debug, Clone)]
pub(crate) enum Member {
    Child(ChildSpec),
    Supervisor(Box<SupervisorSpec>),
}

impl Member {
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Child(child) => &child.id,
            Self::Supervisor(supervisor) => &supervisor.id,
        }
    }

    pub(crate) fn depends_on(&self) -> &[String] {
        match self {
            Self::Child(child) => &child.depends_on,
            Self::Supervisor(supervisor) => &supervisor.depends_on,
        }
    }
}

/// What can be added to a supervisor that runs; see
/// [`add_child`](crate::SupervisorHandle::add_child).
///
/// A [`ChildSpec`], a [`SupervisorSpec`] with all below it, or a declaration as a configuration file's
/// `children` has them: a [`ChildConfig`](crate::config::configurable::ChildConfig), or the same as JSON.
#[derive(Debug, Clone)]
pub struct NewChild(pub(crate) New);

#[derive(Debug, Clone)]
pub(crate) enum New {
    Typed(Member),
    Declared(Value),
}

impl NewChild {
    /// The name it is to have; empty where a declaration says none.
    pub fn id(&self) -> &str {
        match &self.0 {
            New::Typed(member) => member.id(),
            New::Declared(declaration) => declaration["name"].as_str().unwrap_or_default(),
        }
    }
}

impl From<ChildSpec> for NewChild {
    fn from(child: ChildSpec) -> Self {
        Self(New::Typed(Member::Child(child)))
    }
}

impl From<SupervisorSpec> for NewChild {
    fn from(supervisor: SupervisorSpec) -> Self {
        Self(New::Typed(Member::Supervisor(Box::new(supervisor))))
    }
}

impl From<Value> for NewChild {
    fn from(declaration: Value) -> Self {
        Self(New::Declared(declaration))
    }
}

/// Makes members of declarations under one supervisor, with what they inherit there.
pub(crate) trait Declare: fmt::Debug + Send + Sync {
    /// The member a declaration stands for, or everything that is wrong with it.
    fn member(&self, declaration: &Value) -> Result<Member, String>;
}
