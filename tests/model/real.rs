//! The same history on the library, under paused time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use rust_supervisor::{
    AddedChild, Backoff, Change, ChildPolicy, ChildSpec, ChildStatus, Children, CommandMeta,
    EventItem, EventKind, ExitOutcome, Jitter, LifecycleEvent, NodeState, OnFuseBlown,
    ReadinessPolicy, Supervisor, SupervisorError, SupervisorEvent, SupervisorHandle,
    SupervisorPath, SupervisorSpec, TaskContext, TaskFailure, TaskResult, TreeEvent,
    layers::context::HoldReason, ms,
};
use tokio::time::{Instant, sleep_until};

use super::{
    command::LAST,
    plan::{Blown, Curve, Delays, End, Member, Order, Plan, Run, Scope, Stop, Worker, added},
    trace::{Answer, Entry, Look, Outcome, Started, Step, Trace},
};

/// What the runs themselves saw, in order.
#[derive(Default)]
pub struct Witness {
    pub seen: Mutex<Vec<Seen>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub at: u64,
    pub path: String,
    pub instance: u64,
    pub generation: u64,
    pub what: What,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum What {
    Begins,
    IsStopped,
    Ends,
}

/// What is left when the tree has ended and all handles are gone.
#[derive(Debug, PartialEq)]
pub struct Left {
    pub tasks: usize,
    pub references: usize,
}

pub struct Real {
    pub trace: Trace,
    pub seen: Vec<Seen>,
    pub events: Vec<SupervisorEvent>,
    pub left: Left,
}

/// More than any history lasts.
const FOREVER: Duration = Duration::from_secs(10_000_000);

/// One history on a runtime of its own.
pub fn run(plan: &Plan) -> Real {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(history(plan))
}

async fn history(plan: &Plan) -> Real {
    let witness = Arc::new(Witness::default());
    let began = Instant::now();
    let spec = scope("t", &plan.root, &witness, began)
        .total_timeout(FOREVER)
        .journal_capacity(1 << 14);
    let mut trace = Trace {
        answers: vec![None; plan.script.len() + 1],
        ..Trace::default()
    };
    let mut events = Vec::new();
    let started = tokio::time::timeout(FOREVER, Supervisor::start(spec)).await;
    match started.expect("the start comes to an end") {
        Ok(handle) => {
            trace.start = Some(Started::Yes);
            script(plan, &handle, &witness, began, &mut trace).await;
            events = journal(&handle).await;
            trace.steps = events.iter().filter_map(entry).collect();
        }
        Err(SupervisorError::StartFailed { path, .. }) => {
            trace.start = Some(Started::Not(path.to_string()));
        }
        Err(SupervisorError::StartStopped) => trace.start = Some(Started::Stopped),
        Err(error) => panic!("no such plan: {error}"),
    }
    let metrics = tokio::runtime::Handle::current().metrics();
    for _ in 0..64 {
        if metrics.num_alive_tasks() == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    let left = Left {
        tasks: metrics.num_alive_tasks(),
        references: Arc::strong_count(&witness) - 1,
    };
    let seen = std::mem::take(&mut *witness.seen.lock().unwrap());
    Real {
        trace,
        seen,
        events,
        left,
    }
}

async fn script(
    plan: &Plan,
    handle: &SupervisorHandle,
    witness: &Arc<Witness>,
    began: Instant,
    trace: &mut Trace,
) {
    let mut due = Instant::now();
    let program = Program::of(plan);
    let last = (LAST, &Order::Shutdown);
    let lines = plan.script.iter().map(|line| (line.after, &line.order));
    let mut answers = Vec::new();
    for (after, order) in lines.chain([last]) {
        due += ms(after);
        sleep_until(due).await;
        if let Order::Look = order {
            trace.looks.push((millis(began.elapsed()), look(handle)));
            answers.push(None);
            continue;
        }
        let command = carry_out(plan, order, handle, &program, witness, began);
        answers.push(Some(tokio::spawn(async move {
            let answer = tokio::time::timeout(FOREVER, command).await;
            (
                millis(began.elapsed()),
                answer.expect("every command is answered"),
            )
        })));
    }
    for (line, answer) in answers.into_iter().enumerate() {
        if let Some(answer) = answer {
            trace.answers[line] = Some(answer.await.expect("it is answered"));
        }
    }
    let report = handle.join().await;
    trace.outcome = Some(match report.outcome {
        ExitOutcome::ShutDown => Outcome::ShutDown,
        ExitOutcome::Finished => Outcome::Finished,
        ExitOutcome::GaveUp { .. } => Outcome::GaveUp,
        other => panic!("{other:?}"),
    });
    let shutdown = report.shutdown.expect("the tree has ended");
    assert!(shutdown.clean, "{shutdown}");
    trace.shutdowns = shutdown
        .report
        .children
        .iter()
        .map(|child| (child.path.to_string(), child.generation, child.status))
        .collect();
    trace.looks.push((millis(began.elapsed()), look(handle)));
}

fn carry_out(
    plan: &Plan,
    order: &Order,
    handle: &SupervisorHandle,
    program: &Program,
    witness: &Arc<Witness>,
    began: Instant,
) -> impl Future<Output = Answer> + Send + 'static {
    let program = program.clone();
    let by = CommandMeta::new("model", "as planned").unwrap();
    let (handle, order) = (handle.clone(), order.clone());
    let target = |number| SupervisorPath::from(plan.target(number).as_str());
    let (path, child) = match &order {
        Order::Look | Order::Shutdown => (SupervisorPath::root(), None),
        Order::Pause(number)
        | Order::Resume(number)
        | Order::Restart(number)
        | Order::Quarantine(number)
        | Order::Remove(number) => (target(*number), None),
        Order::Add { under, name, child } => {
            let child = worker(&added(*name), child, witness, began);
            (
                SupervisorPath::from(plan.scope(*under).as_str()),
                Some(child),
            )
        }
    };
    async move {
        let answer = match order {
            Order::Look => panic!("no command"),
            Order::Shutdown => {
                let result = handle.shutdown_tree(&by).await;
                return result.map_or(Answer::Other, |_| Answer::Done);
            }
            Order::Pause(_) => handle.pause_child(path, &by).await,
            Order::Resume(_) => handle.resume_child(path, &by).await,
            Order::Restart(_) => handle.restart_child(path, &by).await,
            Order::Quarantine(_) => handle.quarantine_child(path, &by).await,
            Order::Remove(_) => match program.added(&handle, &path) {
                Some(added) => return answered(&added.remove().await),
                None => handle.remove_child(path, &by).await,
            },
            Order::Add { .. } => match program.children(&handle, &path) {
                Some(children) => {
                    let added = children.add(child.unwrap()).await;
                    return answered(&added.map(|added| program.note(added)));
                }
                None => handle.add_child(path, child.unwrap(), &by).await,
            },
        };
        answered(&answer.map(|outcome| outcome.change))
    }
}

/// Every other plan's children are added and removed by the program itself, not by commands.
#[derive(Clone)]
struct Program {
    acts: bool,
    added: Arc<Mutex<BTreeMap<SupervisorPath, AddedChild>>>,
}

impl Program {
    fn of(plan: &Plan) -> Self {
        Self {
            acts: plan.script.len() % 2 == 1,
            added: Arc::default(),
        }
    }

    fn children(&self, handle: &SupervisorHandle, path: &SupervisorPath) -> Option<Children> {
        let children = handle.children(path.clone()).ok();
        children.filter(|_| self.acts)
    }

    /// The child that stands there, if it was added so.
    fn added(&self, handle: &SupervisorHandle, path: &SupervisorPath) -> Option<AddedChild> {
        let stands = handle.child_state(path.clone()).ok()?.instance;
        let added = self.added.lock().unwrap().get(path).cloned();
        added.filter(|added| added.instance() == stands)
    }

    fn note(&self, added: AddedChild) -> Change {
        self.added.lock().unwrap().insert(added.path(), added);
        Change::Done
    }
}

fn answered(answer: &Result<Change, SupervisorError>) -> Answer {
    match answer {
        Ok(change) => match change {
            Change::Done => Answer::Done,
            Change::AlreadySo => Answer::AlreadySo,
            Change::Lingering => Answer::Lingering,
        },
        Err(SupervisorError::NotApplicable { .. }) => Answer::NotApplicable,
        Err(SupervisorError::UnknownPath { .. }) => Answer::Unknown,
        Err(SupervisorError::DuplicateId { .. }) => Answer::Duplicate,
        Err(SupervisorError::StartFailed { .. }) => Answer::NotStarted,
        Err(SupervisorError::ShuttingDown) => Answer::ShuttingDown,
        Err(_) => Answer::Other,
    }
}

// The tree.

fn scope(id: &str, plan: &Scope, witness: &Arc<Witness>, began: Instant) -> SupervisorSpec {
    let mut spec = SupervisorSpec::new(id, plan.strategy)
        .intensity(plan.intensity.count, ms(plan.intensity.window))
        .escalation(plan.escalation)
        .auto_shutdown(plan.auto_shutdown)
        .shutdown_order(plan.order)
        .policy(ChildPolicy::bare(plan.restart));
    if plan.significant {
        spec = spec.significant();
    }
    for (place, member) in plan.members.iter().enumerate() {
        let name = member.name(place);
        spec = match member {
            Member::Worker(child) => spec.child(worker(&name, child, witness, began)),
            Member::Scope(nested) => spec.supervisor(scope(&name, nested, witness, began)),
        };
    }
    spec
}

fn worker(id: &str, plan: &Worker, witness: &Arc<Witness>, began: Instant) -> ChildSpec {
    let (witness, runs, explicit) = (witness.clone(), Arc::new(plan.runs.clone()), plan.explicit);
    let mut child = ChildSpec::worker(id, move |ctx| {
        let at = usize::try_from(ctx.generation() - 1).unwrap();
        let run = runs.get(at).copied().unwrap_or(Run::STEADY);
        live(ctx, run, explicit, witness.clone(), began)
    })
    .restart(plan.restart)
    .backoff(plan.backoff.map(backoff))
    .grace(ms(plan.grace))
    .start_timeout(ms(plan.start_timeout));
    child = match plan.fuse {
        None => child.no_fuse(),
        Some(fuse) => {
            let child = child.fuse(fuse.limit.count, ms(fuse.limit.window));
            match fuse.blown {
                Blown::Quarantine(None) => child,
                Blown::Quarantine(Some(time)) => child.quarantine_for(ms(time)),
                Blown::Escalate => child.on_fuse_blown(OnFuseBlown::Escalate),
                Blown::Stop => child.on_fuse_blown(OnFuseBlown::Stop),
            }
        }
    };
    if plan.significant {
        child = child.significant();
    }
    if plan.explicit {
        child = child.readiness(ReadinessPolicy::Explicit);
    }
    child
}

fn backoff(plan: Delays) -> Backoff {
    let (initial, max) = (ms(plan.initial), ms(plan.max));
    let curve = match plan.curve {
        Curve::Constant => Backoff::constant(initial),
        Curve::Linear => Backoff::linear(initial, max),
        Curve::Exponential => Backoff::exponential(initial, max),
    };
    curve.jitter(Jitter::None).reset_after(ms(plan.reset_after))
}

/// A run that is alive.
struct Alive {
    witness: Arc<Witness>,
    ctx: TaskContext,
    began: Instant,
}

impl Alive {
    fn new(witness: Arc<Witness>, ctx: TaskContext, began: Instant) -> Self {
        let alive = Self {
            witness,
            ctx,
            began,
        };
        alive.saw(What::Begins);
        alive
    }

    fn saw(&self, what: What) {
        self.witness.seen.lock().unwrap().push(Seen {
            at: millis(self.began.elapsed()),
            path: self.ctx.path().to_owned(),
            instance: self.ctx.instance(),
            generation: self.ctx.generation(),
            what,
        });
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.saw(What::Ends);
    }
}

async fn live(
    ctx: TaskContext,
    run: Run,
    explicit: bool,
    witness: Arc<Witness>,
    tree_began: Instant,
) -> TaskResult {
    let alive = Alive::new(witness, ctx.clone(), tree_began);
    let began = Instant::now();
    let pass = async |time| {
        if time > 0 {
            sleep_until(began + ms(time)).await;
        }
    };
    let becomes_ready = async {
        if explicit {
            pass(run.ready).await;
            ctx.mark_ready();
        }
        std::future::pending::<()>().await;
    };
    let ends = async {
        match run.end {
            None => std::future::pending().await,
            Some((time, how)) => {
                pass(time).await;
                how
            }
        }
    };
    let course = async {
        tokio::select! {
            biased;
            () = becomes_ready => unreachable!("it waits for ever"),
            how = ends => how,
        }
    };
    let how = match run.stop {
        Stop::Deaf => Some(course.await),
        _ => ctx.run_until_cancelled(course).await,
    };
    let Some(how) = how else {
        alive.saw(What::IsStopped);
        if let Stop::Takes(time) | Stop::Fails(time) = run.stop
            && time > 0
        {
            tokio::time::sleep(ms(time)).await;
        }
        return match run.stop {
            Stop::Fails(_) => Err("as planned".into()),
            _ => Ok(()),
        };
    };
    match how {
        End::Completes => Ok(()),
        End::Fails => Err("as planned".into()),
        End::IsFatal => Err(TaskFailure::fatal("as planned").into()),
        // Without a word from the panic hook.
        End::Panics => std::panic::resume_unwind(Box::new("as planned")),
    }
}

// What can be seen.

fn look(handle: &SupervisorHandle) -> BTreeMap<String, Look> {
    let state = handle.current_state();
    let nodes = state.iter();
    nodes
        .map(|node| (node.path.to_string(), look_at(node)))
        .collect()
}

fn look_at(node: &NodeState) -> Look {
    let supervisor = node.supervisor.as_ref();
    Look {
        status: node.status.as_str(),
        stop: match node.status {
            ChildStatus::Stopping { cause } => cause,
            _ => None,
        },
        ready: node.ready,
        generation: node.generation,
        attempt: node.attempt,
        restarts: node.restarts,
        exits: node.exits.clone(),
        remaining: node.remaining.map(millis),
        fuse: node.fuse.map(|fuse| (fuse.used, fuse.blown)),
        intensity: supervisor.map(|supervisor| supervisor.intensity.used),
        group_restarts: supervisor.map(|supervisor| supervisor.group_restarts),
    }
}

async fn journal(handle: &SupervisorHandle) -> Vec<SupervisorEvent> {
    let mut stream = handle.subscribe_events_from(1);
    let mut events = Vec::new();
    while let Some(item) = stream.next().await {
        match item {
            EventItem::Event(event) => events.push(event),
            EventItem::Gap { missed } => panic!("missed {missed} events"),
        }
    }
    events
}

fn entry(event: &SupervisorEvent) -> Option<Entry> {
    let step = match &event.kind {
        EventKind::Lifecycle(event) => match event {
            LifecycleEvent::Starting => Step::Starting,
            LifecycleEvent::Ready => Step::Ready,
            LifecycleEvent::Exited { exit, .. } => Step::Exited(*exit),
            LifecycleEvent::RestartDecided { decision } => Step::Decided {
                action: decision.action,
                fuse: decision.fuse.map(|fuse| (fuse.used, fuse.blown)),
                delay: decision.backoff.map(|delay| millis(delay.after_jitter)),
            },
            LifecycleEvent::BackingOff { delay } => Step::BackingOff(millis(*delay)),
            LifecycleEvent::Quarantined { release_after, .. } => {
                Step::Quarantined(release_after.map(millis))
            }
            LifecycleEvent::Released { from } => Step::Released(*from),
            LifecycleEvent::Paused => Step::Paused,
            LifecycleEvent::Resumed => Step::Released(HoldReason::Paused),
            LifecycleEvent::Unhealthy { .. } => Step::Unhealthy,
            // Told by the decision.
            _ => return None,
        },
        EventKind::Tree(event) => match event {
            TreeEvent::ChildAdded => Step::Added,
            TreeEvent::Removed => Step::Removed,
            TreeEvent::GroupRestartBegun {
                failed,
                members,
                delay,
                ..
            } => Step::GroupBegun {
                failed: failed.to_string(),
                members: *members,
                delay: millis(*delay),
            },
            TreeEvent::GroupRestartEnded { started } => Step::GroupEnded(*started),
            TreeEvent::IntensityExceeded { .. } => Step::Exceeded,
            TreeEvent::Escalated { policy, .. } => Step::Escalated(*policy),
            // Told by the answers and the report.
            _ => return None,
        },
    };
    Some(Entry {
        at: millis(event.uptime),
        path: event.path.to_string(),
        generation: event.generation,
        attempt: event.attempt,
        step,
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}
