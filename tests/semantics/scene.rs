use std::{future::Future, time::Duration};

use rust_supervisor::{
    AutoShutdown, Backoff, Change, ChildPolicy, ChildSpec, ReadinessPolicy, RestartType,
    ServiceBuilderExt, SupervisorHandle, SupervisorPath, SupervisorSpec, TaskFactory,
    WatchdogLayer, ms, secs, service_fn,
};
use tower::ServiceBuilder;

use crate::{
    puppet::{Order, Puppet},
    support::{Switchboard, by, comes_to, running, shut_down, start, until, within},
};

const MINUTE: Duration = Duration::from_secs(60);

/// What the child is that is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A worker in the default stack.
    Worker,
    /// One that is added while the tree runs.
    Added,
    /// A stack of one's own, that nothing in it restarts.
    Bare,
    Supervisor,
    Pool,
}

impl Kind {
    pub const ALL: [Self; 5] = [
        Self::Worker,
        Self::Added,
        Self::Bare,
        Self::Supervisor,
        Self::Pool,
    ];
}

/// A tree whose child at `path` is in some state.
pub struct Scene {
    pub handle: SupervisorHandle,
    pub path: SupervisorPath,
    pub puppet: Puppet,
    /// Who has to run in the end, whatever was done to the child.
    pub upright: &'static [&'static str],
}

/// The child as declared.
struct Cast {
    kind: Kind,
    puppet: Puppet,
    restart: RestartType,
    backoff: Option<Backoff>,
    stale_after: Option<Duration>,
    grace: Duration,
    depends_on: Option<&'static str>,
}

impl Cast {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            puppet: Puppet::default(),
            restart: RestartType::Permanent,
            backoff: None,
            stale_after: None,
            grace: secs(20),
            depends_on: None,
        }
    }

    fn worker(&self) -> ChildSpec {
        let worker = self.puppet.child("x").backoff(self.backoff);
        let worker = worker.restart(self.restart).grace(self.grace);
        match self.stale_after {
            Some(time) => worker.heartbeat_within(time),
            None => worker,
        }
    }

    fn stack(&self) -> impl TaskFactory + use<> {
        let puppet = self.puppet.clone();
        service_fn(move |ctx| puppet.clone().run(ctx))
    }

    fn supervisor(&self) -> SupervisorSpec {
        let worker = self.puppet.child("w").no_fuse().restart(self.restart);
        SupervisorSpec::one_for_one("x")
            .intensity(0, MINUTE)
            .auto_shutdown(AutoShutdown::AnySignificant)
            .policy(ChildPolicy {
                backoff: self.backoff,
                watchdog: WatchdogLayer::new().stale_after(self.stale_after),
                grace: self.stale_after.map(|_| self.grace),
                ..ChildPolicy::bare(self.restart)
            })
            .child(worker.significant())
    }

    /// A supervisor with the child under it, after those that it has.
    fn under(&self, parent: SupervisorSpec) -> SupervisorSpec {
        let parent = parent.grace(self.grace);
        let on = self.depends_on;
        match self.kind {
            Kind::Worker | Kind::Added => parent.child(self.worker().depends_on(on)),
            Kind::Bare => {
                let bare = ChildSpec::new("x", self.stack());
                parent.child(bare.readiness(ReadinessPolicy::Explicit).depends_on(on))
            }
            Kind::Supervisor => parent.supervisor(self.supervisor().depends_on(on)),
            Kind::Pool => {
                let puppet = self.puppet.clone();
                parent.pool(2, move |_| puppet.child("x").depends_on(on))
            }
        }
    }
}

impl Scene {
    /// Brings a child of this kind into the state that a row is named for; `None` where it cannot be.
    pub async fn set(state: &str, kind: Kind) -> Option<Self> {
        use Kind::{Added, Bare, Pool, Supervisor, Worker};
        let board = Switchboard::new();
        let mut cast = Cast::new(kind);
        let one_for_one = || SupervisorSpec::one_for_one("t").child(board.child("b"));
        let mut path = "x";
        let mut upright: &[&str] = &["b"];
        if kind == Added && state != "starting" {
            return None;
        }
        let handle = match state {
            "waiting for its group" => {
                let far = board.child("far").backoff(Backoff::constant(MINUTE));
                upright = &["far"];
                let tree = SupervisorSpec::one_for_all("t").child(far);
                let handle = start(cast.under(tree)).await;
                board.fail("far");
                handle
            }
            "waiting for its turn" => {
                path = "n/x";
                upright = &["b", "n"];
                let first = Puppet::default();
                first.starts_in(secs(5));
                let n = SupervisorSpec::one_for_one("n").child(first.child("first"));
                let n = cast.under(n);
                let handle = start(one_for_one()).await;
                behind(&handle, move |handle| async move {
                    let _ = handle.add_child("/", n, &by()).await;
                });
                handle
            }
            "waiting for a held sibling" => {
                upright = &["d"];
                cast.depends_on = Some("a");
                let tree = SupervisorSpec::one_for_all("t").child(board.child("a"));
                let handle = start(cast.under(tree).child(board.child("d"))).await;
                within(handle.pause_child("a", &by())).await.unwrap();
                board.fail("d");
                running(&handle, "d", 2).await;
                handle
            }
            "starting" if kind == Added => {
                cast.puppet.starts_in(secs(10));
                let added = cast.worker();
                let handle = start(one_for_one()).await;
                behind(&handle, move |handle| async move {
                    let _ = handle.add_child("/", added, &by()).await;
                });
                handle
            }
            "starting" => {
                let handle = start(cast.under(one_for_one())).await;
                cast.puppet.starts_in(secs(10));
                restart(&handle, "x");
                handle
            }
            "running" => start(cast.under(one_for_one())).await,
            "backing off" => {
                if !matches!(kind, Worker | Supervisor) {
                    return None;
                }
                cast.backoff = Some(Backoff::constant(MINUTE));
                let handle = start(cast.under(one_for_one())).await;
                cast.puppet.order(Order::Fail);
                handle
            }
            "paused" | "quarantined" => {
                let handle = start(cast.under(one_for_one())).await;
                match state {
                    "paused" => within(handle.pause_child("x", &by())).await,
                    _ => within(handle.quarantine_child("x", &by())).await,
                }
                .unwrap();
                handle
            }
            "stopping for restart"
            | "stopping for pause"
            | "stopping for quarantine"
            | "stopping for removal" => {
                let handle = start(cast.under(one_for_one())).await;
                cast.puppet.stops_in(secs(5));
                match state {
                    "stopping for restart" => restart(&handle, "x"),
                    "stopping for pause" => pause(&handle, "x"),
                    "stopping for quarantine" => behind(&handle, |handle| async move {
                        let _ = handle.quarantine_child("x", &by()).await;
                    }),
                    _ => behind(&handle, |handle| async move {
                        let _ = handle.remove_child("x", &by()).await;
                    }),
                }
                handle
            }
            "stopping for sibling" => {
                upright = &["far"];
                let tree = SupervisorSpec::one_for_all("t").child(board.child("far"));
                let handle = start(cast.under(tree)).await;
                cast.puppet.stops_in(secs(5));
                board.fail("far");
                handle
            }
            "stopping for shutdown" | "down with its supervisor" => {
                path = "n/x";
                let n = cast.under(SupervisorSpec::one_for_one("n"));
                let handle = start(one_for_one().supervisor(n)).await;
                cast.puppet.stops_in(secs(5));
                match state {
                    "stopping for shutdown" => pause(&handle, "n"),
                    _ => drop(within(handle.pause_child("n", &by())).await.unwrap()),
                }
                handle
            }
            "stopping for unhealthy" => {
                if !matches!(kind, Worker | Supervisor) {
                    return None;
                }
                cast.stale_after = Some(secs(1));
                let handle = start(cast.under(one_for_one())).await;
                cast.puppet.stops_in(secs(5));
                handle
            }
            "stopping" => {
                if kind != Worker {
                    return None;
                }
                let handle = start(cast.under(one_for_one()).abort_wait(secs(10))).await;
                cast.puppet.order(Order::LeaveHelper);
                until(|| cast.puppet.is_blocked()).await;
                handle
            }
            "finished" => {
                if kind == Pool {
                    return None;
                }
                cast.restart = RestartType::Transient;
                let handle = start(cast.under(one_for_one())).await;
                cast.puppet.order(Order::Complete);
                handle
            }
            "failed" => {
                let order = match kind {
                    Worker => Order::Fatal,
                    Bare => Order::Fail,
                    _ => return None,
                };
                let handle = start(cast.under(one_for_one())).await;
                cast.puppet.order(order);
                handle
            }
            "aborted" => {
                if kind != Bare {
                    return None;
                }
                let stack = ServiceBuilder::new()
                    .timeout(secs(1))
                    .restart(RestartType::Permanent)
                    .service(cast.stack());
                let x = ChildSpec::new("x", stack).readiness(ReadinessPolicy::Explicit);
                start(one_for_one().child(x)).await
            }
            "lingering" | "lingering and held" => {
                if kind != Worker {
                    return None;
                }
                cast.grace = ms(10);
                let handle = start(cast.under(one_for_one()).abort_wait(ms(20))).await;
                cast.puppet.order(Order::Block);
                until(|| cast.puppet.is_blocked()).await;
                let outcome = match state {
                    "lingering" => within(handle.restart_child("x", &by())).await,
                    _ => within(handle.pause_child("x", &by())).await,
                };
                assert_eq!(outcome.unwrap().change, Change::Lingering);
                handle
            }
            "unknown or removed" => {
                let handle = start(cast.under(one_for_one())).await;
                within(handle.remove_child("x", &by())).await.unwrap();
                handle
            }
            "the root" => {
                path = "/";
                if kind != Supervisor {
                    return None;
                }
                start(one_for_one()).await
            }
            "busy" | "tree shutting down" => {
                let slow = Puppet::default();
                let tree = cast.under(one_for_one()).control_channel_capacity(1);
                let handle = start(tree.child(slow.child("slow"))).await;
                slow.stops_in(secs(5));
                match state {
                    "busy" => pause(&handle, "slow"),
                    _ => {
                        upright = &[];
                        behind(&handle, |handle| async move {
                            let _ = handle.shutdown_tree(&by()).await;
                        });
                    }
                }
                comes_to(&handle, "slow", "stopping").await;
                handle
            }
            "control plane stopped" => {
                let handle = start(cast.under(one_for_one())).await;
                within(handle.shutdown(&by())).await.unwrap();
                handle
            }
            "tree ended" => {
                upright = &[];
                let handle = start(cast.under(one_for_one())).await;
                shut_down(&handle).await;
                handle
            }
            other => panic!("no such state: {other:?}"),
        };
        let scene = Self {
            handle,
            path: path.into(),
            puppet: cast.puppet,
            upright,
        };
        scene.arrives(shown(state)).await;
        if let Some(status) = scene.status().filter(|_| state.starts_with("stopping")) {
            assert_eq!(status, state);
        }
        Some(scene)
    }

    /// What the child's status says, in full.
    pub fn status(&self) -> Option<String> {
        let child = self.handle.child_state(self.path.clone()).ok()?;
        Some(child.status.to_string())
    }

    pub fn is(&self, wanted: &str) -> bool {
        match self.handle.child_state(self.path.clone()) {
            Err(_) => wanted == "removed",
            Ok(child) => child.status.as_str().replace('_', " ") == wanted,
        }
    }

    /// Waits until the child is what the word says.
    pub async fn arrives(&self, wanted: &str) {
        let found = async {
            while !self.is(wanted) {
                tokio::time::sleep(ms(20)).await;
            }
        };
        if tokio::time::timeout(2 * MINUTE, found).await.is_err() {
            panic!("not {wanted} but {:?}", self.status());
        }
    }
}

/// What the status of a child shows in the state that a row is named for.
fn shown(state: &str) -> &str {
    match state {
        "unknown or removed" => "removed",
        "down with its supervisor" | "tree ended" => "finished",
        "the root" | "busy" | "tree shutting down" | "control plane stopped" => "running",
        "backing off" => state,
        other => other.split(' ').next().unwrap(),
    }
}

/// Does something while the test goes on, if there is still a tree.
fn behind<F, Fut>(handle: &SupervisorHandle, what: F)
where
    F: FnOnce(SupervisorHandle) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(what(handle.clone()));
}

fn restart(handle: &SupervisorHandle, path: &'static str) {
    behind(handle, move |handle| async move {
        let _ = handle.restart_child(path, &by()).await;
    });
}

fn pause(handle: &SupervisorHandle, path: &'static str) {
    behind(handle, move |handle| async move {
        let _ = handle.pause_child(path, &by()).await;
    });
}
