use std::{collections::BTreeMap, sync::Arc};

use super::{Child, Scope};
use crate::{
    SupervisorError,
    spec::{Member, Replicas},
};

/// What became of a pool's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scaled {
    /// It is as asked.
    Done,
    /// It was so before.
    AlreadySo,
    /// It is as asked, but a run of a replica that was one too many cannot be ended.
    Lingering,
}

impl Scope {
    pub(crate) fn is_pool(&self) -> bool {
        self.replicas.is_some()
    }

    /// How many replicas it has, if it is a pool.
    pub(crate) fn replicas(&self) -> Option<usize> {
        self.is_pool().then(|| self.by_index().len())
    }

    /// Sets how many replicas a pool has: starts those of the lowest free indices, one after the other, or
    /// ends those of the highest together. Replicas stay for further lives of the pool.
    ///
    /// # Errors
    ///
    /// It is no pool or down, or a replica does not start; nothing has changed then.
    pub(crate) async fn scale(
        self: &Arc<Self>,
        replicas: usize,
        correlation: u64,
    ) -> Result<Scaled, SupervisorError> {
        let Some(of) = &self.replicas else {
            let path = self.path().clone();
            return Err(SupervisorError::NotAPool { path });
        };
        let _alone = self.scaling.lock().await;
        if !self.is_live() {
            return Err(SupervisorError::NotApplicable {
                command: "scale_child",
                path: self.path().clone(),
                status: "not running".to_owned(),
            });
        }
        let taken = self.by_index();
        let mut staying: Vec<_> = taken.values().filter(|one| !one.is_leaving()).collect();
        match replicas.checked_sub(staying.len()) {
            Some(0) => Ok(Scaled::AlreadySo),
            Some(missing) => {
                let free = (0..).filter(|index| !taken.contains_key(index));
                self.more(of, free.take(missing), correlation).await?;
                Ok(Scaled::Done)
            }
            None => Ok(self.fewer(&staying.split_off(replicas), correlation).await),
        }
    }

    async fn more(
        self: &Arc<Self>,
        of: &Replicas,
        indices: impl Iterator<Item = usize>,
        correlation: u64,
    ) -> Result<(), SupervisorError> {
        let mut added = Vec::new();
        for index in indices {
            let started = match of.replica(index) {
                Ok(replica) => {
                    let replica = Member::Child(replica);
                    self.add_replica(replica, correlation).await
                }
                Err(reason) => Err(SupervisorError::StartFailed {
                    path: self.path().child(&index.to_string()),
                    reason,
                }),
            };
            match started {
                Ok(replica) => added.push(replica),
                Err(error) => {
                    for replica in added.iter().rev() {
                        self.evict(replica, correlation).await;
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn fewer(self: &Arc<Self>, going: &[&Arc<Child>], correlation: u64) -> Scaled {
        let mut ends = tokio::task::JoinSet::new();
        for &replica in going {
            // Nobody depends on a replica. One that somebody else removes meanwhile goes all the same.
            if self.let_go(replica).is_ok_and(|first| first) {
                let (scope, replica) = (self.clone(), replica.clone());
                ends.spawn(async move { scope.evict(&replica, correlation).await });
            }
        }
        ends.join_all().await;
        match going.iter().all(|replica| replica.is_gone()) {
            true => Scaled::Done,
            false => Scaled::Lingering,
        }
    }

    /// Its replicas by index. What has no index for a name is none.
    fn by_index(&self) -> BTreeMap<usize, Arc<Child>> {
        let index = |child: &Arc<Child>| {
            let index: usize = child.gate().id().parse().ok()?;
            (index.to_string() == child.gate().id()).then_some(index)
        };
        let children = self.children().into_iter();
        children
            .filter_map(|child| Some((index(&child)?, child)))
            .collect()
    }
}
