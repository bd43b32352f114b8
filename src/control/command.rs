use std::{future::Future, sync::Arc};

use supervisor_layers::{Gate, HoldReason, context::StopRequest};

use super::{
    Change, CommandMeta, CommandOutcome, SupervisorHandle, carried_out::CarriedOut, order::Order,
};
use crate::{
    SupervisorError,
    spec::{NewChild, SupervisorPath},
    tree::{Child, Scaled, Scope},
};

impl SupervisorHandle {
    /// Adds a child under a supervisor, after all others, and waits until it has started. One that does
    /// not start is taken out again. It ends with the supervisor's life: a restart of that forgets it.
    ///
    /// What is added is a [`ChildSpec`](crate::ChildSpec), a [`SupervisorSpec`](crate::SupervisorSpec) with
    /// all below it, or a declaration as in a configuration file, which names one of the tree's
    /// [`Factories`](crate::Factories) and inherits what the file says for its place.
    ///
    /// # Errors
    ///
    /// An unknown path, a name that is taken or cannot be one, a declaration that stands for nothing, a
    /// supervisor that takes no children, a start that fails. Nothing has changed then.
    ///
    /// # Cancel safety
    ///
    /// An accepted command is carried out even if the future is dropped. So it is with all commands.
    pub async fn add_child(
        &self,
        parent: impl Into<SupervisorPath>,
        child: impl Into<NewChild>,
        by: &CommandMeta,
    ) -> Result<CommandOutcome, SupervisorError> {
        let (parent, child) = (parent.into(), child.into());
        let path = parent.child(child.id());
        let scope = self.supervisor_at(&parent);
        self.command(
            "add_child",
            path,
            by,
            scope,
            |scope, correlation| async move {
                let added = scope.add(child, correlation).await?;
                Ok((added.gate().clone(), Change::Done))
            },
        )
        .await
    }

    /// Stops a child, waits for its end, and takes it out; its name can be used again at once.
    ///
    /// # Errors
    ///
    /// An unknown path, or siblings that depend on it.
    pub async fn remove_child(
        &self,
        path: impl Into<SupervisorPath>,
        by: &CommandMeta,
    ) -> Result<CommandOutcome, SupervisorError> {
        self.on_child(
            "remove_child",
            path.into(),
            by,
            |Target { scope, child }, correlation| async move {
                let change = scope.remove(&child, correlation).await?;
                Ok((child.gate().clone(), change))
            },
        )
        .await
    }

    /// Sets how many replicas a pool has: starts those of the lowest free indices and waits until each has
    /// started, or ends those of the highest and waits until they have. The count stays for further lives
    /// of the pool.
    ///
    /// # Errors
    ///
    /// An unknown path, a child that is no pool, a pool that is down or has no room, a replica that does not
    /// start. Nothing has changed then.
    pub async fn scale_child(
        &self,
        path: impl Into<SupervisorPath>,
        replicas: usize,
        by: &CommandMeta,
    ) -> Result<CommandOutcome, SupervisorError> {
        let path = path.into();
        let target = self.find(&path).and_then(|child| {
            let pool = child.scope().filter(|scope| scope.is_pool()).cloned();
            let pool = pool.ok_or(SupervisorError::NotAPool { path: path.clone() })?;
            Ok((child, pool))
        });
        self.command(
            "scale_child",
            path,
            by,
            target,
            move |(child, pool), correlation| async move {
                let change = match pool.scale(replicas, correlation).await? {
                    Scaled::Done => Change::Done,
                    Scaled::AlreadySo => Change::AlreadySo,
                    Scaled::Lingering => Change::Lingering,
                };
                Ok((child.gate().clone(), change))
            },
        )
        .await
    }

    /// Stops a child's run, if it has one, and waits until the next one has begun, with fuse and backoff
    /// as new.
    ///
    /// # Errors
    ///
    /// An unknown path; a child that is held or being removed.
    pub async fn restart_child(
        &self,
        path: impl Into<SupervisorPath>,
        by: &CommandMeta,
    ) -> Result<CommandOutcome, SupervisorError> {
        self.on_child(
            "restart_child",
            path.into(),
            by,
            |Target { scope, child }, correlation| async move {
                let gate = child.gate();
                let generation = gate.generation();
                let request = StopRequest {
                    correlation,
                    ..scope.stop_request(&child)
                };
                gate.restart_with(request)
                    .ok_or_else(|| not_applicable("restart_child", &child))?;
                let ended = scope.settle(&child, generation).await;
                if !ended {
                    gate.mark_lingering();
                    return Ok((child.gate().clone(), Change::Lingering));
                }
                // A temporary child may have run again and be gone.
                if !scope.revive(&child) && gate.generation() == generation {
                    return Err(SupervisorError::NotApplicable {
                        command: "restart_child",
                        path: child.path(),
                        status: "down with its supervisor".to_owned(),
                    });
                }
                match gate.ran_again(generation).await {
                    Ok(_) => Ok((child.gate().clone(), Change::Done)),
                    Err(_) => Err(not_applicable("restart_child", &child)),
                }
            },
        )
        .await
    }

    /// Stops a child and keeps it down until it is resumed. Waits until its run has ended.
    ///
    /// # Errors
    ///
    /// An unknown path; a child in quarantine, done, failed, or being removed.
    pub async fn pause_child(
        &self,
        path: impl Into<SupervisorPath>,
        by: &CommandMeta,
    ) -> Result<CommandOutcome, SupervisorError> {
        self.on_child(
            "pause_child",
            path.into(),
            by,
            |Target { scope, child }, correlation| async move {
                let gate = child.gate();
                if !gate.is_held() && (gate.is_ended() || gate.is_ending()) {
                    return Err(not_applicable("pause_child", &child));
                }
                let request = StopRequest {
                    correlation,
                    ..scope.stop_request(&child)
                };
                let generation = gate.generation();
                let change = match gate.pause_with(request) {
                    true => Change::Done,
                    // Also while its run still stops for that.
                    false if gate.hold() == Some(HoldReason::Quarantined) => {
                        return Err(not_applicable("pause_child", &child));
                    }
                    false => Change::AlreadySo,
                };
                Ok(settled(&scope, &child, generation, change).await)
            },
        )
        .await
    }

    /// Stops a child and holds it in quarantine until it is resumed. Waits until its run has ended.
    ///
    /// # Errors
    ///
    /// An unknown path; a child that is done, failed, or being removed.
    pub async fn quarantine_child(
        &self,
        path: impl Into<SupervisorPath>,
        by: &CommandMeta,
    ) -> Result<CommandOutcome, SupervisorError> {
        let path = path.into();
        let target = self.target(&path);
        let reason = format!("by {}: {}", by.requested_by(), by.reason());
        self.command(
            "quarantine_child",
            path,
            by,
            target,
            |Target { scope, child }, correlation| async move {
                let gate = child.gate();
                if (gate.is_ended() && !gate.is_held()) || gate.is_ending() {
                    return Err(not_applicable("quarantine_child", &child));
                }
                let request = StopRequest {
                    correlation,
                    ..scope.stop_request(&child)
                };
                let generation = gate.generation();
                let change = if gate.quarantine_with(reason, None, request) {
                    Change::Done
                } else {
                    Change::AlreadySo
                };
                Ok(settled(&scope, &child, generation, change).await)
            },
        )
        .await
    }

    /// Releases a child that is paused or in quarantine, with fuse and backoff as new. The root, too, when
    /// it gave up and is held.
    ///
    /// # Errors
    ///
    /// An unknown path; a child that is done, failed, or being removed.
    pub async fn resume_child(
        &self,
        path: impl Into<SupervisorPath>,
        by: &CommandMeta,
    ) -> Result<CommandOutcome, SupervisorError> {
        let path = path.into();
        if path.is_root() {
            return self.resume_root(path, by).await;
        }
        self.on_child(
            "resume_child",
            path,
            by,
            |Target { scope, child }, correlation| async move {
                let gate = child.gate();
                let change = match gate.release_with(correlation) {
                    Some(HoldReason::Paused | HoldReason::Quarantined) => Change::Done,
                    None if gate.is_ended() || gate.is_ending() => {
                        return Err(not_applicable("resume_child", &child));
                    }
                    None => Change::AlreadySo,
                };
                scope.revive(&child);
                Ok((child.gate().clone(), change))
            },
        )
        .await
    }

    async fn resume_root(
        &self,
        path: SupervisorPath,
        by: &CommandMeta,
    ) -> Result<CommandOutcome, SupervisorError> {
        let root = Ok(self.shared().root.gate.clone());
        self.command(
            "resume_child",
            path,
            by,
            root,
            |root, correlation| async move {
                let change = match root.release_with(correlation) {
                    Some(_) => Change::Done,
                    None => Change::AlreadySo,
                };
                Ok((root, change))
            },
        )
        .await
    }

    /// Waits until a child is ready, and answers which run is.
    ///
    /// # Errors
    ///
    /// An unknown path; a child that is down for good or held, so that it will not be ready by itself.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn wait_ready(
        &self,
        path: impl Into<SupervisorPath>,
    ) -> Result<u64, SupervisorError> {
        let path = path.into();
        let child = self.find(&path)?;
        child
            .gate()
            .ready()
            .await
            .map_err(|status| SupervisorError::NotApplicable {
                command: "wait_ready",
                path,
                status: status.to_string(),
            })
    }

    fn target(&self, path: &SupervisorPath) -> Result<Target, SupervisorError> {
        let child = self.find(path)?;
        let scope = child.under();
        // It may be gone since.
        let scope = scope.ok_or_else(|| self.unknown(path))?;
        Ok(Target { scope, child })
    }

    /// A command on one child.
    async fn on_child<F, Fut>(
        &self,
        command: &'static str,
        path: SupervisorPath,
        by: &CommandMeta,
        carry_out: F,
    ) -> Result<CommandOutcome, SupervisorError>
    where
        F: FnOnce(Target, u64) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(Gate, Change), SupervisorError>> + Send + 'static,
    {
        let target = self.target(&path);
        self.command(command, path, by, target, carry_out).await
    }

    /// Takes a command in, carries it out, and records how it went.
    async fn command<T, F, Fut>(
        &self,
        command: &'static str,
        path: SupervisorPath,
        by: &CommandMeta,
        target: Result<T, SupervisorError>,
        carry_out: F,
    ) -> Result<CommandOutcome, SupervisorError>
    where
        T: Send + 'static,
        F: FnOnce(T, u64) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(Gate, Change), SupervisorError>> + Send + 'static,
    {
        // An answer that comes at once, before anything of the tree's is touched.
        let admitted = if self.tree().is_closing() {
            Err(SupervisorError::ShuttingDown)
        } else if !self.is_alive() {
            Err(SupervisorError::ControlPlaneStopped)
        } else {
            let permit = self.shared().commands.clone().try_acquire_owned();
            permit.map_err(|_| SupervisorError::Busy {
                capacity: self.shared().capacity,
            })
        };
        let order = Order::new(self.tree(), command, path, by);
        let (permit, target) = match admitted.and_then(|permit| Ok((permit, target?))) {
            Ok(accepted) => accepted,
            Err(error) => {
                order.refused(&error).await;
                return Err(error);
            }
        };
        let work = async move {
            let accepted = order.accepted().await?;
            let carried_out = carry_out(target, accepted.correlation).await;
            let result = carried_out.map(|(gate, change)| CommandOutcome {
                command,
                instance: gate.instance(),
                generation: gate.generation(),
                status: gate.status().in_words(),
                change,
                path: SupervisorPath::of(gate.path().clone()),
            });
            order.completed(&result, accepted).await;
            drop(permit);
            result
        };
        CarriedOut::new(Box::pin(work)).await
    }
}

/// A child and the supervisor it stands under.
struct Target {
    scope: Arc<Scope>,
    child: Arc<Child>,
}

async fn settled(
    scope: &Arc<Scope>,
    child: &Arc<Child>,
    generation: u64,
    change: Change,
) -> (Gate, Change) {
    if scope.settle(child, generation).await {
        return (child.gate().clone(), change);
    }
    child.gate().mark_lingering();
    (child.gate().clone(), Change::Lingering)
}

fn not_applicable(command: &'static str, child: &Child) -> SupervisorError {
    SupervisorError::NotApplicable {
        command,
        path: child.path(),
        status: child.gate().status().to_string(),
    }
}
