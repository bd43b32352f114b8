//! Children that do what a test tells them, and what several tests need.
#![allow(dead_code, unreachable_pub)]

use std::{
    collections::HashMap,
    ffi::OsStr,
    future::Future,
    io::Write as _,
    pin::Pin,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_core::Stream;

pub use rust_supervisor::test_util::by;
use rust_supervisor::{
    ChildShutdownStatus, ChildSpec, EventItem, EventKind, EventStream, LifecycleEvent,
    ReadinessPolicy, ShutdownResult, Supervisor, SupervisorEvent, SupervisorHandle, SupervisorPath,
    SupervisorSpec, TaskContext, TaskResult, test_util::TestTree,
};
use tokio::sync::Notify;

/// Waits for `future`, but not for ever: under paused time a hang is a failure at once.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(600), future)
        .await
        .expect("within ten minutes")
}

pub async fn start(spec: SupervisorSpec) -> SupervisorHandle {
    within(Supervisor::start(spec))
        .await
        .expect("the tree starts")
}

/// Waits for the first event, from the beginning of the tree, that `wanted` accepts.
pub async fn event(
    handle: &SupervisorHandle,
    mut wanted: impl FnMut(&SupervisorEvent) -> bool,
) -> SupervisorEvent {
    let mut events = handle.subscribe_events_from(1);
    within(async {
        loop {
            match events.next().await {
                Some(EventItem::Event(event)) if wanted(&event) => return event,
                Some(EventItem::Event(_)) => {}
                Some(EventItem::Gap { missed }) => panic!("missed {missed} events"),
                None => panic!("the tree ended first"),
            }
        }
    })
    .await
}

pub async fn shut_down(handle: &SupervisorHandle) -> ShutdownResult {
    within(handle.shutdown_tree(&by())).await.unwrap()
}

/// How a child took the shutdown, as the report says, once.
pub fn status(result: &ShutdownResult, path: &str) -> ChildShutdownStatus {
    let path = SupervisorPath::from(path);
    let mut found = result.report.children.iter().filter(|c| c.path == path);
    let status = found.next().unwrap_or_else(|| panic!("no {path}")).status;
    assert!(found.next().is_none(), "{path} is accounted for twice");
    status
}

/// Lets the others go on until `condition` holds. Time passes only where nobody else has anything to do.
pub async fn until(mut condition: impl FnMut() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// A worker that does not listen when it is asked to stop.
pub fn deaf(id: &str) -> ChildSpec {
    ChildSpec::worker(id, |_: TaskContext| std::future::pending::<()>())
}

/// Waits until the child has a ready run of at least this generation.
pub async fn running(handle: &SupervisorHandle, path: &str, generation: u64) {
    let path = rust_supervisor::SupervisorPath::from(path);
    event(handle, |event| {
        event.path == path
            && event.generation >= generation
            && event.kind == EventKind::Lifecycle(LifecycleEvent::Ready)
    })
    .await;
}

/// Waits until the child is in the status of this name.
pub async fn comes_to(handle: &SupervisorHandle, path: &str, wanted: &str) {
    until(|| {
        handle
            .child_state(path)
            .is_ok_and(|child| child.status.as_str() == wanted)
    })
    .await;
}

/// Children whose runs end when a test says so, and a log of all their beginnings (`+a1`), ends on request
/// (`-a1`) and failures (`!a1`).
#[derive(Clone, Default)]
pub struct Switchboard {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    log: Mutex<Vec<String>>,
    orders: Mutex<HashMap<String, Order>>,
    refusals: Mutex<HashMap<String, u32>>,
    changed: Notify,
}

/// How a child's run is to end.
#[derive(Clone, Debug)]
enum Order {
    Ready,
    Fail(&'static str),
    Panic,
    Complete,
    Fatal,
}

impl Switchboard {
    pub fn new() -> Self {
        Self::default()
    }

    /// A permanent worker under this board.
    pub fn child(&self, id: &str) -> ChildSpec {
        let board = self.clone();
        ChildSpec::worker(id, move |ctx| board.clone().run(ctx))
    }

    /// The same with explicit readiness: its runs are ready (`^a1`) when told so.
    pub fn explicit(&self, id: &str) -> ChildSpec {
        self.child(id).readiness(ReadinessPolicy::Explicit)
    }

    async fn run(self, ctx: TaskContext) -> TaskResult {
        let name = format!("{}{}", ctx.id(), ctx.generation());
        self.note(format!("+{name}"));
        if self.refuses(ctx.id()) {
            self.note(format!("!{name}"));
            return Err("refused".into());
        }
        loop {
            let changed = self.inner.changed.notified();
            let order = self.inner.orders.lock().unwrap().remove(ctx.id());
            match order {
                Some(Order::Ready) => {
                    self.note(format!("^{name}"));
                    ctx.mark_ready();
                    continue;
                }
                Some(Order::Fail(message)) => {
                    self.note(format!("!{name}"));
                    return Err(message.into());
                }
                Some(Order::Fatal) => {
                    self.note(format!("!{name}"));
                    return Err(rust_supervisor::TaskFailure::fatal("no use").into());
                }
                Some(Order::Panic) => {
                    self.note(format!("!{name}"));
                    panic!("as ordered");
                }
                Some(Order::Complete) => {
                    self.note(format!(".{name}"));
                    return Ok(());
                }
                None => {}
            }
            if ctx.run_until_cancelled(changed).await.is_none() {
                self.note(format!("-{name}"));
                return Ok(());
            }
        }
    }

    fn refuses(&self, id: &str) -> bool {
        let mut refusals = self.inner.refusals.lock().unwrap();
        match refusals.get_mut(id) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    /// Its next so many runs fail at once.
    pub fn refuse(&self, id: &str, runs: u32) {
        self.inner
            .refusals
            .lock()
            .unwrap()
            .insert(id.to_owned(), runs);
    }

    pub fn ready(&self, id: &str) {
        self.order(id, Order::Ready);
    }

    fn note(&self, entry: String) {
        self.inner.log.lock().unwrap().push(entry);
    }

    pub fn log(&self) -> Vec<String> {
        self.inner.log.lock().unwrap().clone()
    }

    fn order(&self, id: &str, order: Order) {
        self.inner
            .orders
            .lock()
            .unwrap()
            .insert(id.to_owned(), order);
        self.inner.changed.notify_waiters();
    }

    pub fn fail(&self, id: &str) {
        self.order(id, Order::Fail("as ordered"));
    }

    pub fn fatal(&self, id: &str) {
        self.order(id, Order::Fatal);
    }

    pub fn panic(&self, id: &str) {
        self.order(id, Order::Panic);
    }

    pub fn complete(&self, id: &str) {
        self.order(id, Order::Complete);
    }
}

/// All that can be read without waiting.
pub fn at_hand(events: &mut EventStream) -> Vec<EventItem> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut read = Vec::new();
    // A stream gives way to other tasks after so many items; here there is no other.
    let mut reading = std::pin::pin!(tokio::task::unconstrained(std::future::poll_fn(|cx| {
        while let Poll::Ready(Some(item)) = Pin::new(&mut *events).poll_next(cx) {
            read.push(item);
        }
        Poll::Ready(())
    })));
    assert!(reading.as_mut().poll(&mut cx).is_ready());
    read
}

/// Restarts `a` so often, and waits each time until it is ready again.
pub async fn restarts(tree: &TestTree, times: usize) {
    for _ in 0..times {
        let generation = tree.child_state("a").unwrap().generation;
        within(tree.restart_child("a", &by())).await.unwrap();
        tree.until(|| {
            let state = tree.child_state("a").unwrap();
            state.generation > generation && state.ready
        })
        .await;
    }
}

/// This test run again as a program of its own: only its test `program`, which finds `part` in the
/// environment and plays it. What it says is on its standard output, with [`said`] to be told from what
/// the test harness writes there.
pub fn again(variable: &str, part: impl AsRef<OsStr>) -> Command {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program
        .args(["--exact", "program", "--nocapture", "--test-threads=1"])
        .env(variable, part)
        .stdout(Stdio::piped());
    program
}

/// What such a program says.
pub fn say(what: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "> {what}").unwrap();
    out.flush().unwrap();
}

/// What it said in a line, if anything: the harness writes lines of its own, and the beginning of ours.
pub fn said(line: &str) -> Option<&str> {
    Some(line.split_once("> ")?.1)
}
