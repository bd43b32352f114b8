//! A child that blocks its thread, as a tree shows it. In real time: a virtual clock stands still during a
//! poll.

mod support;

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, Sender},
    },
};

use rust_supervisor::{
    ChildSpec, EventKind, Factories, LifecycleEvent, SupervisorConfig, SupervisorEvent,
    SupervisorHandle, SupervisorSpec, TaskContext, ms,
};
use serde_json::{Value, json};
use support::{event, shut_down, start, until, within};
use tokio::sync::Semaphore;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Children that block their threads when told to, until they are told to go on.
struct Blocking {
    go: Arc<Semaphore>,
    release: Mutex<Option<Sender<()>>>,
    blocked: Arc<Mutex<Receiver<()>>>,
}

impl Blocking {
    fn new() -> Self {
        let (release, blocked) = mpsc::channel();
        Self {
            go: Arc::new(Semaphore::new(0)),
            release: Mutex::new(Some(release)),
            blocked: Arc::new(Mutex::new(blocked)),
        }
    }

    fn child(&self, id: &str) -> ChildSpec {
        ChildSpec::worker(id, self.work())
    }

    fn work(&self) -> impl Fn(TaskContext) -> Work + Clone + Send + Sync + use<> {
        let (go, blocked) = (self.go.clone(), self.blocked.clone());
        move |ctx| {
            let (go, blocked) = (go.clone(), blocked.clone());
            Box::pin(async move {
                ctx.run_until_cancelled(go.acquire()).await;
                let _ = blocked.lock().unwrap().recv();
                ctx.cancelled().await;
            })
        }
    }

    fn block(&self) {
        self.go.close();
    }

    fn go_on(&self) {
        *self.release.lock().unwrap() = None;
    }
}

fn is_stuck(event: &SupervisorEvent) -> bool {
    matches!(
        event.kind,
        EventKind::Lifecycle(LifecycleEvent::Stuck { .. })
    )
}

async fn told(handle: &SupervisorHandle) -> SupervisorEvent {
    event(handle, is_stuck).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_thread_shows_in_events_state_and_health_while_it_is() {
    let blocking = Blocking::new();
    let child = blocking.child("a").stuck_after(ms(50));
    let nested = SupervisorSpec::one_for_one("s").child(child);
    let handle = start(SupervisorSpec::one_for_one("t").supervisor(nested)).await;
    assert!(handle.health().is_healthy());
    blocking.block();
    let event = told(&handle).await;
    assert_eq!((event.path.as_str(), event.generation), ("/s/a", 1));
    let json = serde_json::to_value(&event).unwrap();
    assert_eq!(json["kind"]["type"], "stuck");
    assert!(json["kind"]["lasts_ms"].as_u64().unwrap() >= 50);
    assert_eq!(json["correlation_id"], Value::Null);
    let back: SupervisorEvent = serde_json::from_value(json).unwrap();
    assert!(is_stuck(&back));

    let state = handle.child_state("s/a").unwrap();
    assert!(state.stuck.unwrap() >= ms(50));
    assert!(serde_json::to_value(&state).unwrap()["stuck_ms"].as_u64() >= Some(50));
    let shown = handle.current_state().to_string();
    assert!(
        shown.contains("a              running, stuck for "),
        "{shown}"
    );
    let degraded = handle.health().degraded;
    assert_eq!(degraded.len(), 1, "{degraded:?}");
    assert_eq!(degraded[0].0.as_str(), "/s/a");
    let why = "stuck: a poll has blocked its thread for ";
    assert!(degraded[0].1.starts_with(why), "{degraded:?}");

    blocking.go_on();
    until(|| handle.child_state("s/a").unwrap().stuck.is_none()).await;
    assert!(handle.health().is_healthy());
    assert!(!handle.current_state().to_string().contains("stuck"));
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 5)]
async fn the_threshold_of_a_file_is_that_of_its_children() {
    let blocking = Arc::new(Blocking::new());
    let factories = Factories::new().worker("blocks", {
        let blocking = blocking.clone();
        move |(): ()| blocking.work()
    });
    let configured = |threshold: u64| {
        let config = json!({
            "observability": {"stuck_poll_threshold_ms": threshold},
            "children": [{"name": "pool", "factory": "blocks", "replicas": 1}],
        });
        let config = SupervisorConfig::from_yaml(&config.to_string()).unwrap();
        config.into_spec(&factories).unwrap()
    };
    // Of a tree without a threshold, and of one with a long one, nothing is told.
    let (off, long) = (start(configured(0)).await, start(configured(60_000)).await);
    let handle = start(configured(30)).await;
    blocking.block();
    let event = told(&handle).await;
    assert_eq!(event.path.as_str(), "/pool/0");
    let pool = |handle: &SupervisorHandle| handle.child_state("pool/0").unwrap().stuck;
    assert!(pool(&handle).is_some());
    assert_eq!((pool(&off), pool(&long)), (None, None));
    blocking.go_on();
    for handle in [off, long, handle] {
        assert!(shut_down(&handle).await.clean);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_that_has_ended_is_told_of_no_more() {
    let blocking = Blocking::new();
    let spec = SupervisorSpec::one_for_one("t")
        .total_timeout(ms(100))
        .abort_wait(ms(10))
        .child(blocking.child("a").stuck_after(ms(30)));
    let handle = start(spec).await;
    blocking.block();
    told(&handle).await;
    let result = shut_down(&handle).await;
    assert!(!result.clean, "its thread is blocked");
    assert!(handle.child_state("a").unwrap().stuck.is_some());
    let ended = handle.current_state().as_of;
    blocking.go_on();
    until(|| handle.child_state("a").unwrap().stuck.is_none()).await;
    // Another tree's child is found: everybody has been looked at.
    let blocking = Blocking::new();
    let child = blocking.child("b").stuck_after(ms(30));
    let other = start(SupervisorSpec::one_for_one("o").child(child)).await;
    blocking.block();
    told(&other).await;
    blocking.go_on();
    let mut events = handle.subscribe_events_from(ended + 1);
    while let Some(item) = within(events.next()).await {
        assert!(!is_stuck(&item.event().unwrap()));
    }
    assert!(within(shut_down(&other)).await.clean);
}
