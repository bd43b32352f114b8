//! The first start of a tree.

mod support;

use rust_supervisor::{
    ChildSpec, ReadinessPolicy, Supervisor, SupervisorError, SupervisorSpec, TaskContext,
    TaskResult, ms, secs, service_fn,
};
use support::{Switchboard, by, comes_to, running, start, until, within};
use tower::{ServiceBuilder, limit::GlobalConcurrencyLimitLayer};

async fn idle(ctx: TaskContext) {
    ctx.cancelled().await;
}

/// The child and the reason that a start fails with.
async fn failure(tree: SupervisorSpec) -> (String, String) {
    match within(Supervisor::start(tree)).await.unwrap_err() {
        SupervisorError::StartFailed { path, reason } => (path.to_string(), reason),
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn explicit_readiness_is_waited_for_before_the_next_child() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.explicit("a"))
        .child(board.child("b"));
    let starting = tokio::spawn(Supervisor::start(tree));
    until(|| board.log() == ["+a1"]).await;
    tokio::time::sleep(secs(20)).await;
    assert_eq!(board.log(), ["+a1"]);
    assert!(!starting.is_finished());
    board.ready("a");
    within(starting).await.unwrap().unwrap();
    assert_eq!(board.log()[..3], ["+a1", "^a1", "+b1"]);
}

#[tokio::test(start_paused = true)]
async fn start_returns_when_everything_runs() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("a"))
        .supervisor(SupervisorSpec::one_for_one("n").child(board.child("b")))
        .child(board.child("c"));
    let handle = start(tree).await;
    assert_eq!(board.log(), ["+a1", "+b1", "+c1"]);
    for path in ["a", "n", "n/b", "c"] {
        let child = handle.child_state(path).unwrap();
        assert_eq!((child.status.as_str(), child.ready), ("running", true));
    }
    assert!(handle.shutdown_tree(&by()).await.unwrap().clean);
}

#[tokio::test(start_paused = true)]
async fn first_polls_are_looked_at_before_the_next_explicit_child() {
    let board = Switchboard::new();
    board.refuse("a", 1);
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("a"))
        .child(board.explicit("b"));
    assert_eq!(failure(tree).await.0, "/a");
    assert_eq!(board.log(), ["+a1", "!a1"]);
}

#[tokio::test(start_paused = true)]
async fn first_polls_are_looked_at_before_start_returns() {
    let board = Switchboard::new();
    board.refuse("b", 1);
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("a"))
        .child(board.child("b"))
        .child(board.child("c"));
    let (path, reason) = failure(tree).await;
    assert_eq!((path.as_str(), reason.as_str()), ("/b", "failed: refused"));
    assert_eq!(board.log()[4..], ["-c1", "-a1"]);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_stops_what_had_started_in_reverse_and_names_the_innermost_child() {
    let board = Switchboard::new();
    board.refuse("c", 1);
    let inner = SupervisorSpec::one_for_all("inner")
        .child(board.child("b"))
        .child(board.explicit("c"));
    let tree = SupervisorSpec::rest_for_one("t")
        .child(board.child("a"))
        .supervisor(SupervisorSpec::one_for_one("outer").supervisor(inner))
        .child(board.child("d"));
    let (path, reason) = failure(tree).await;
    assert_eq!(path, "/outer/inner/c");
    assert_eq!(reason, "failed: refused");
    assert_eq!(board.log(), ["+a1", "+b1", "+c1", "!c1", "-b1", "-a1"]);
}

#[tokio::test(start_paused = true)]
async fn every_way_of_not_starting_is_named() {
    let explicit = ReadinessPolicy::Explicit;
    let cases = [
        (
            ChildSpec::worker("x", |_| async { Err::<(), _>("no port") }),
            "failed: no port",
        ),
        (
            ChildSpec::worker("x", |_| async { panic!("unlucky") }),
            "unlucky",
        ),
        (
            ChildSpec::worker("x", |_| -> std::future::Ready<()> { panic!("at the call") }),
            "at the call",
        ),
        (ChildSpec::worker("x", |_| async {}), "completed"),
        (
            ChildSpec::worker("x", |_| async {}).readiness(explicit),
            "completed before it had started",
        ),
        (
            ChildSpec::worker("x", idle)
                .readiness(explicit)
                .start_timeout(secs(7)),
            "not ready within its start timeout of 7s",
        ),
        (
            ChildSpec::new("x", service_fn(idle))
                .readiness(explicit)
                .start_timeout(secs(7)),
            "not ready within 7s",
        ),
        (
            ChildSpec::new("x", Broken { panics: false }),
            "no service today",
        ),
        (
            ChildSpec::new("x", Broken { panics: true }),
            "panic when asked",
        ),
        (
            ChildSpec::service("x", Broken { panics: false }),
            "no service today",
        ),
        (
            ChildSpec::service("x", Broken { panics: true }),
            "panic when asked",
        ),
    ];
    for (child, why) in cases {
        let board = Switchboard::new();
        let tree = SupervisorSpec::one_for_one("t")
            .child(board.child("a"))
            .child(child);
        let (path, reason) = failure(tree).await;
        assert_eq!(path, "/x");
        assert!(reason.contains(why), "{reason:?} is to say {why:?}");
        assert_eq!(board.log(), ["+a1", "-a1"]);
    }
}

/// A service that is never ready.
#[derive(Clone)]
struct Broken {
    panics: bool,
}

impl tower::Service<TaskContext> for Broken {
    type Response = ();
    type Error = &'static str;
    type Future = std::future::Ready<Result<(), &'static str>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), &'static str>> {
        assert!(!self.panics, "panic when asked");
        std::task::Poll::Ready(Err("no service today"))
    }

    fn call(&mut self, _: TaskContext) -> Self::Future {
        unreachable!("it was not ready")
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_may_be_done_before_it_was_ready() {
    for explicit in [ReadinessPolicy::Immediate, ReadinessPolicy::Explicit] {
        let tree = SupervisorSpec::one_for_one("t")
            .child(ChildSpec::job("migrate", |_| async {}).readiness(explicit))
            .child(
                ChildSpec::job("greet", |_| async {})
                    .temporary()
                    .readiness(explicit),
            )
            .child(ChildSpec::worker("a", idle));
        let handle = start(tree).await;
        let migrate = handle.child_state("migrate").unwrap();
        assert_eq!(migrate.status.as_str(), "finished");
        assert!(
            handle.child_state("greet").is_err(),
            "a temporary child is forgotten"
        );
        assert!(handle.health().is_healthy());
    }
}

#[tokio::test(start_paused = true)]
async fn a_tree_that_is_done_at_once_has_started() {
    use rust_supervisor::{AutoShutdown, ExitOutcome};
    let tree = SupervisorSpec::one_for_one("t")
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(
            ChildSpec::job("once", |_| async {})
                .temporary()
                .significant(),
        );
    let handle = start(tree).await;
    assert_eq!(within(handle.join()).await.outcome, ExitOutcome::Finished);
}

#[tokio::test(start_paused = true)]
async fn a_first_start_is_not_retried_but_a_run_that_had_started_is() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("a"))
        .child(board.explicit("b"));
    let starting = tokio::spawn(Supervisor::start(tree));
    until(|| board.log() == ["+a1", "+b1"]).await;
    board.fail("a");
    until(|| board.log().contains(&"+a2".to_owned())).await;
    board.fail("b");
    assert!(within(starting).await.unwrap().is_err());
    assert_eq!(board.log()[2..], ["!a1", "+a2", "!b1", "-a2"]);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_dropped_stops_what_had_started() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("a"))
        .child(board.explicit("b"));
    let starting = tokio::spawn(Supervisor::start(tree));
    until(|| board.log() == ["+a1", "+b1"]).await;
    starting.abort();
    until(|| board.log().len() == 4).await;
    assert_eq!(board.log()[2..], ["-b1", "-a1"]);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_asks_for_more_time_to_start_gets_it() {
    async fn slow(ctx: TaskContext) -> TaskResult {
        for _ in 0..10 {
            ctx.extend_start(secs(10));
            tokio::time::sleep(secs(5)).await;
        }
        ctx.mark_ready();
        ctx.cancelled().await;
        Ok(())
    }
    let explicit = ReadinessPolicy::Explicit;
    let tree = SupervisorSpec::one_for_one("t")
        .child(
            ChildSpec::worker("a", slow)
                .readiness(explicit)
                .start_timeout(secs(8)),
        )
        .child(
            ChildSpec::new("b", service_fn(slow))
                .readiness(explicit)
                .start_timeout(secs(8)),
        );
    start(tree).await;
}

#[tokio::test(start_paused = true)]
async fn children_that_wait_for_a_permit_do_not_hold_up_the_start() {
    let board = Switchboard::new();
    let permits = GlobalConcurrencyLimitLayer::new(1);
    let bare = |id: &str| {
        let run = |ctx: TaskContext| async move { ctx.cancelled().await };
        let stack = ServiceBuilder::new()
            .layer(permits.clone())
            .service(service_fn(run));
        ChildSpec::new(id, stack)
    };
    let supervised = |id: &str| {
        let run = |ctx: TaskContext| async move { ctx.cancelled().await };
        let stack = ServiceBuilder::new()
            .layer(permits.clone())
            .service(service_fn(run));
        ChildSpec::service(id, stack)
    };
    let tree = SupervisorSpec::one_for_one("t")
        .child(bare("a"))
        .child(bare("b"))
        .child(supervised("c"))
        .child(board.child("d"));
    let handle = start(tree).await;
    let of = |id| handle.child_state(id).unwrap().status.as_str();
    assert_eq!(
        [of("a"), of("b"), of("c")],
        ["running", "starting", "starting"]
    );
    within(handle.remove_child("a", &by())).await.unwrap();
    comes_to(&handle, "b", "running").await;
    within(handle.remove_child("b", &by())).await.unwrap();
    comes_to(&handle, "c", "running").await;
    assert!(handle.shutdown_tree(&by()).await.unwrap().clean);
}

#[tokio::test(start_paused = true)]
async fn declarations_that_cannot_be_are_refused_before_anything_starts() {
    use SupervisorError::{DuplicateId, InvalidDependency, InvalidId};
    let board = Switchboard::new();
    let tree = || SupervisorSpec::one_for_one("t").child(board.child("first"));
    let refused = async |tree| within(Supervisor::start(tree)).await.unwrap_err();

    for id in ["", "a/b"] {
        let error = refused(tree().child(board.child(id))).await;
        assert!(matches!(error, InvalidId { .. }), "{error}");
        let error = refused(SupervisorSpec::one_for_one(id)).await;
        assert!(matches!(error, InvalidId { .. }), "{error}");
    }
    let error = refused(tree().child(board.child("first"))).await;
    assert!(matches!(error, DuplicateId { .. }), "{error}");
    let nested = SupervisorSpec::one_for_one("n")
        .child(board.child("x"))
        .child(board.child("x"));
    let error = refused(tree().supervisor(nested)).await;
    assert_eq!(
        error,
        DuplicateId {
            path: "/n/x".into()
        }
    );
    for (on, reason) in [("nobody", "no such sibling"), ("b", "itself")] {
        let error = refused(tree().child(board.child("b").depends_on([on]))).await;
        assert!(matches!(error, InvalidDependency { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    let circle = SupervisorSpec::one_for_one("t")
        .child(board.child("a").depends_on(["b"]))
        .child(board.child("b").depends_on(["a"]));
    assert!(refused(circle).await.to_string().contains("circle"));
    let later = SupervisorSpec::rest_for_one("t")
        .child(board.child("a").depends_on(["b"]))
        .child(board.child("b"));
    let error = refused(later).await.to_string();
    assert!(error.contains("declared before"), "{error}");
    assert!(board.log().is_empty(), "nothing has started");
}

#[tokio::test(start_paused = true)]
async fn what_is_depended_on_has_started_before_and_stops_after() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("api").depends_on(["cache", "db"]))
        .child(board.child("cache").depends_on(["db"]))
        .child(board.explicit("db"));
    let starting = tokio::spawn(Supervisor::start(tree));
    until(|| board.log() == ["+db1"]).await;
    tokio::time::sleep(secs(5)).await;
    board.ready("db");
    let handle = within(starting).await.unwrap().unwrap();
    assert_eq!(board.log(), ["+db1", "^db1", "+cache1", "+api1"]);
    assert!(handle.shutdown_tree(&by()).await.unwrap().clean);
    assert_eq!(board.log()[4..], ["-api1", "-cache1", "-db1"]);
}

#[tokio::test(start_paused = true)]
async fn children_of_one_level_start_side_by_side() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.explicit("a"))
        .child(board.explicit("b"))
        .child(board.child("c").depends_on(["a"]))
        .child(board.explicit("d"));
    let starting = tokio::spawn(Supervisor::start(tree));
    until(|| board.log() == ["+a1", "+b1", "+d1"]).await;
    for id in ["d", "b"] {
        board.ready(id);
        tokio::time::sleep(ms(10)).await;
    }
    assert!(!board.log().contains(&"+c1".to_owned()));
    board.ready("a");
    let handle = within(starting).await.unwrap().unwrap();
    assert_eq!(board.log()[3..], ["^d1", "^b1", "^a1", "+c1"]);
    assert!(handle.shutdown_tree(&by()).await.unwrap().clean);
    assert_eq!(board.log()[7..], ["-c1", "-d1", "-b1", "-a1"]);
}

#[tokio::test(start_paused = true)]
async fn what_waited_for_a_permit_is_retried_when_it_fails_at_last() {
    let permits = GlobalConcurrencyLimitLayer::new(1);
    let limited = |id: &str, fails_first: bool| {
        let run = move |ctx: TaskContext| async move {
            if fails_first && ctx.generation() == 1 {
                return Err("not yet");
            }
            ctx.cancelled().await;
            Ok(())
        };
        let stack = ServiceBuilder::new()
            .layer(permits.clone())
            .service(service_fn(run));
        ChildSpec::service(id, stack)
    };
    let tree = SupervisorSpec::one_for_one("t")
        .child(limited("a", false))
        .child(limited("b", true));
    let handle = start(tree).await;
    within(handle.pause_child("a", &by())).await.unwrap();
    running(&handle, "b", 2).await;
    assert!(handle.shutdown_tree(&by()).await.unwrap().clean);
}
