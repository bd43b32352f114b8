use std::{
    borrow::Borrow,
    fmt,
    str::FromStr,
    sync::{Arc, LazyLock},
};

use arrayvec::ArrayString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a child stands in the tree: `/storage/database`. The root is `/`; a leading slash may be left
/// out when one is written.
///
/// ```
/// use rust_supervisor::SupervisorPath;
///
/// assert_eq!(SupervisorPath::from("storage/database").to_string(), "/storage/database");
/// assert_eq!(SupervisorPath::root().child("gateway").to_string(), "/gateway");
/// ```
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(from = "String", into = "String")]
pub struct SupervisorPath(Arc<str>);

impl SupervisorPath {
    /// The root supervisor.
    pub fn root() -> Self {
        static ROOT: LazyLock<Arc<str>> = LazyLock::new(|| "/".into());
        Self(ROOT.clone())
    }

    /// The child of that name under this path.
    pub fn child(&self, id: &str) -> Self {
        let parent = if self.is_root() { "" } else { &*self.0 };
        Self(joined(parent, id))
    }

    /// Whether a path is this one or stands below it.
    pub(crate) fn covers(&self, path: &str) -> bool {
        self.is_root()
            || path
                .strip_prefix(self.as_str())
                .is_some_and(|below| below.is_empty() || below.starts_with('/'))
    }

    /// The supervisor this path stands under; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.0.rsplit_once('/').filter(|_| !self.is_root())?;
        Some(if parent.is_empty() {
            Self::root()
        } else {
            Self(parent.into())
        })
    }

    /// The last name; empty for the root.
    pub fn id(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(_, id)| id)
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        &*self.0 == "/"
    }

    /// The names from the root down.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|id| !id.is_empty())
    }

    /// As text, with a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn shared(&self) -> Arc<str> {
        self.0.clone()
    }

    pub(crate) fn as_shared(&self) -> &Arc<str> {
        &self.0
    }

    pub(crate) fn of(path: Arc<str>) -> Self {
        Self(path)
    }
}

/// With one allocation, unless it is very long.
fn joined(parent: &str, id: &str) -> Arc<str> {
    let parts = [parent, "/", id];
    let mut path = ArrayString::<128>::new();
    match parts.iter().all(|part| path.try_push_str(part).is_ok()) {
        true => path.as_str().into(),
        false => parts.concat().into(),
    }
}

impl From<&str> for SupervisorPath {
    fn from(path: &str) -> Self {
        match path.trim_matches('/') {
            "" => Self::root(),
            path => Self(joined("", path)),
        }
    }
}

impl From<String> for SupervisorPath {
    fn from(path: String) -> Self {
        Self::from(path.as_str())
    }
}

impl From<&String> for SupervisorPath {
    fn from(path: &String) -> Self {
        Self::from(path.as_str())
    }
}

impl From<&SupervisorPath> for SupervisorPath {
    fn from(path: &SupervisorPath) -> Self {
        path.clone()
    }
}

impl FromStr for SupervisorPath {
    type Err = std::convert::Infallible;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(path))
    }
}

impl From<SupervisorPath> for String {
    fn from(path: SupervisorPath) -> Self {
        path.0.as_ref().to_owned()
    }
}

impl AsRef<str> for SupervisorPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for SupervisorPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SupervisorPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name no child can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{id:?} cannot name a child: a name is not blank, has no slash, and no white space around it"
)]
pub struct InvalidId {
    /// The name.
    pub id: String,
}

pub(crate) fn check_id(id: &str) -> Result<(), InvalidId> {
    if id.is_empty() || id.trim() != id || id.contains('/') {
        return Err(InvalidId { id: id.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_the_same_with_and_without_its_leading_slash() {
        assert_eq!(SupervisorPath::from("a/b"), SupervisorPath::from("/a/b"));
        assert_eq!(SupervisorPath::from(""), SupervisorPath::root());
        assert_eq!(SupervisorPath::from("/"), SupervisorPath::root());
    }

    #[test]
    fn parents_and_names_take_a_path_apart() {
        let path = SupervisorPath::from("/a/b");
        assert_eq!(path.id(), "b");
        assert_eq!(path.parent().unwrap().as_str(), "/a");
        assert_eq!(
            path.parent().unwrap().parent(),
            Some(SupervisorPath::root())
        );
        assert_eq!(SupervisorPath::root().parent(), None);
        assert_eq!(path.segments().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn blank_names_and_names_with_a_slash_are_refused() {
        for id in ["", " ", "a/b", " a", "a\n"] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
        assert!(check_id("a b").is_ok());
    }
}
