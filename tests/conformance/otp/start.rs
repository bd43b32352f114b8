//! How supervisors and children start.

use std::{
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rust_supervisor::{
    ChildSpec, ExitOutcome, RestartType, Supervisor, SupervisorError, SupervisorSpec, TaskContext,
    TaskResult, secs,
};

use crate::{
    case::{Case, case},
    given::{add, children, idle, message, restart, state, status_of, stays, steady},
    support::{Switchboard, comes_to, running, shut_down, start, within},
};

pub(super) const CASES: &[Case] = &[
    case!(
        sup_start_normal,
        "A supervisor without children starts and can be stopped in good order."
    ),
    Case::explained(
        "sup_start_ignore_init",
        "A supervisor's callback may decline to start; the caller learns it, and nothing is left.",
        "a supervisor is declared as data, there is no callback that could decline; what is not wanted is not declared",
    ),
    case!(
        sup_start_ignore_child,
        "A child that declines to start is no failure: it stays listed without a run, and the next one starts. \
         (Here: a job that is done at once.)"
    ),
    case!(
        sup_start_ignore_temporary_child,
        "A declared temporary child that declines to start is not kept."
    ),
    case!(
        sup_start_ignore_temporary_child_start_child,
        "The same for one that is added to a running supervisor."
    ),
    case!(
        "sup_start_ignore_temporary_child_start_child_simple",
        sup_start_ignore_temporary_child_start_child,
        "The same under `simple_one_for_one`."
    ),
    case!(
        sup_start_ignore_permanent_child_start_child_simple,
        "A permanent dynamic child that does not come to run is not kept, and the supervisor stops in good order \
         afterwards. (Here it is a start that failed.)"
    ),
    Case::explained(
        "sup_start_error_return",
        "A callback that returns something invalid makes the start fail with that value.",
        "the compiler checks the type of a declaration; what it cannot check is `sup_start_map_faulty_specs`",
    ),
    case!(
        sup_start_fail,
        "User code that crashes during the start makes it fail with the reason, and nothing is left behind."
    ),
    case!(
        sup_start_child_returns_error,
        "An added child that fails to start is answered with its reason and not kept."
    ),
    case!(
        sup_start_restart_child_returns_error,
        "A child whose restart by hand fails stays known, with the reason. (Unlike OTP it is tried again, as any \
         later start is.)"
    ),
    case!(
        "sup_start_child_returns_error_simple",
        sup_start_child_returns_error,
        "The same as `sup_start_child_returns_error` under `simple_one_for_one`."
    ),
    case!(
        sup_start_map,
        "What a declaration leaves out has its default; all of it can be read back; an unknown child cannot."
    ),
    case!(
        sup_start_map_simple,
        "The settings of dynamic children can be read back, those of a stranger cannot."
    ),
    case!(
        sup_start_map_faulty_specs,
        "A faulty declaration is refused with what is wrong with it before anything starts."
    ),
    case!(
        faulty_application_shutdown,
        "A start that fails deep in the tree is told at the top with the innermost child and its reason."
    ),
    case!(
        already_started_outside_supervisor,
        "A child that cannot start because somebody outside has what it needs fails with that reason, is not \
         kept, and the other one is not touched."
    ),
];

/// Done as soon as it starts: it declines.
fn declines(_: TaskContext) -> Ready<()> {
    ready(())
}

#[tokio::test(start_paused = true)]
async fn sup_start_normal() {
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    assert!(handle.is_alive());
    assert!(shut_down(&handle).await.clean);
    let report = within(handle.join()).await;
    assert_eq!(report.outcome, ExitOutcome::ShutDown);
}

#[tokio::test(start_paused = true)]
async fn sup_start_ignore_child() {
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    add(&handle, "/", ChildSpec::job("child1", declines))
        .await
        .unwrap();
    add(&handle, "/", ChildSpec::worker("child2", idle))
        .await
        .unwrap();
    comes_to(&handle, "child1", "finished").await;
    let listed = ["child1 finished", "child2 running"];
    assert_eq!(children(&handle, "/"), listed);
    assert!(handle.health().is_healthy());
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn sup_start_ignore_temporary_child() {
    let tree = SupervisorSpec::one_for_one("t")
        .child(ChildSpec::worker("child1", declines).temporary())
        .child(ChildSpec::worker("child2", idle).temporary());
    let handle = start(tree).await;
    assert_eq!(children(&handle, "/"), ["child2 running"]);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn sup_start_ignore_temporary_child_start_child() {
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let declining = ChildSpec::worker("child1", declines).temporary();
    add(&handle, "/", declining.clone()).await.unwrap();
    let willing = ChildSpec::worker("child2", idle).temporary();
    add(&handle, "/", willing).await.unwrap();
    assert_eq!(children(&handle, "/"), ["child2 running"]);
    // Nothing of it is left that a second one could run into.
    add(&handle, "/", declining).await.unwrap();
    assert_eq!(children(&handle, "/"), ["child2 running"]);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn sup_start_ignore_permanent_child_start_child_simple() {
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let error = add(&handle, "/", ChildSpec::worker("child1", declines))
        .await
        .unwrap_err();
    assert!(
        matches!(error, SupervisorError::StartFailed { .. }),
        "{error}"
    );
    add(&handle, "/", ChildSpec::worker("child2", idle))
        .await
        .unwrap();
    assert_eq!(children(&handle, "/"), ["child2 running"]);
    assert!(shut_down(&handle).await.clean);
    let report = within(handle.join()).await;
    assert_eq!(report.outcome, ExitOutcome::ShutDown);
}

#[tokio::test(start_paused = true)]
async fn sup_start_fail() {
    let board = Switchboard::new();
    let crashing = ChildSpec::worker("x", |_| -> Ready<()> { panic!("no such module") });
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("a"))
        .child(crashing);
    match within(Supervisor::start(tree)).await {
        Err(SupervisorError::StartFailed { path, reason }) => {
            assert_eq!(path.as_str(), "/x");
            assert!(reason.contains("no such module"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(board.log(), ["+a1", "-a1"]);
}

#[tokio::test(start_paused = true)]
async fn sup_start_child_returns_error() {
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let failing = ChildSpec::worker("child1", |_| async { Err::<(), _>("no disk") });
    let crashing = ChildSpec::worker("child2", |_| async { panic!("no luck") });
    for (child, why) in [(failing, "no disk"), (crashing, "no luck")] {
        let error = add(&handle, "/", child).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(children(&handle, "/").is_empty());
    }
    assert!(handle.is_alive() && handle.health().is_healthy());
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn sup_start_restart_child_returns_error() {
    let board = Switchboard::new();
    let child = board.child("child1").backoff(steady(secs(5)));
    let handle = start(SupervisorSpec::one_for_one("t").child(child.transient())).await;
    board.complete("child1");
    comes_to(&handle, "child1", "finished").await;
    board.refuse("child1", 1);
    restart(&handle, "child1").await;
    comes_to(&handle, "child1", "backing_off").await;
    assert_eq!(message(&handle, "child1"), "refused");
    running(&handle, "child1", 3).await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn sup_start_map() {
    let tree = SupervisorSpec::one_for_one("t")
        .child(ChildSpec::worker("child1", idle))
        .child(ChildSpec::worker("child2", idle).grace(secs(0)))
        .supervisor(SupervisorSpec::one_for_all("child3"));
    let handle = start(tree).await;
    let settings = |path| state(&handle, path).settings;
    let first = settings("child1");
    assert_eq!(first.restart, Some(RestartType::Permanent));
    assert_eq!(first.grace, Some(secs(5)));
    assert!(first.fuse.is_some() && first.backoff.is_some());
    assert_eq!(settings("child2").grace, Some(secs(0)));
    let third = settings("child3");
    assert_eq!(third.restart, Some(RestartType::Permanent));
    assert_eq!((third.grace, third.fuse), (None, None));
    assert!(state(&handle, "child3").supervisor.is_some());
    assert!(handle.child_state("child4").is_err());
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn sup_start_map_simple() {
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    for id in ["x", "y", "z"] {
        let child = ChildSpec::worker(id, idle).temporary().grace(secs(7));
        add(&handle, "/", child).await.unwrap();
    }
    for id in ["x", "y", "z"] {
        let settings = state(&handle, id).settings;
        assert_eq!(settings.restart, Some(RestartType::Temporary));
        assert_eq!(settings.grace, Some(secs(7)));
        assert!(!state(&handle, id).significant);
    }
    assert!(handle.child_state("stranger").is_err());
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn sup_start_map_faulty_specs() {
    use SupervisorError::{DuplicateId, InvalidDependency, InvalidId};
    let board = Switchboard::new();
    let refusal = async |second: ChildSpec| {
        let tree = SupervisorSpec::one_for_one("t")
            .child(board.child("first"))
            .child(second);
        within(Supervisor::start(tree)).await.unwrap_err()
    };
    assert!(matches!(refusal(board.child("")).await, InvalidId { .. }));
    assert!(matches!(
        refusal(board.child("a/b")).await,
        InvalidId { .. }
    ));
    let twice = refusal(board.child("first")).await;
    assert!(matches!(twice, DuplicateId { ref path } if path.as_str() == "/first"));
    let unknown = refusal(board.child("x").depends_on(["nobody"])).await;
    assert!(matches!(unknown, InvalidDependency { ref on, .. } if on == "nobody"));
    assert!(board.log().is_empty(), "nothing was started");
}

#[tokio::test(start_paused = true)]
async fn faulty_application_shutdown() {
    let board = Switchboard::new();
    let faulty = ChildSpec::worker("server", |_| async { Err::<(), _>("undefined function") });
    let app = SupervisorSpec::one_for_one("app").child(faulty);
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("kernel"))
        .supervisor(SupervisorSpec::rest_for_one("outer").supervisor(app));
    match within(Supervisor::start(tree)).await {
        Err(SupervisorError::StartFailed { path, reason }) => {
            assert_eq!(path.as_str(), "/outer/app/server");
            assert!(reason.contains("undefined function"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(board.log(), ["+kernel1", "-kernel1"]);
}

#[tokio::test(start_paused = true)]
async fn already_started_outside_supervisor() {
    let taken = Arc::new(AtomicBool::new(false));
    let registered = |id: &str| {
        let taken = taken.clone();
        ChildSpec::job(id, move |ctx: TaskContext| {
            let taken = taken.clone();
            async move {
                if taken.swap(true, Ordering::SeqCst) {
                    return TaskResult::Err("the name is taken".into());
                }
                ctx.cancelled().await;
                taken.store(false, Ordering::SeqCst);
                Ok(())
            }
        })
    };
    let elsewhere = start(SupervisorSpec::one_for_one("other").child(registered("owner"))).await;
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let error = add(&handle, "/", registered("x")).await.unwrap_err();
    assert!(error.to_string().contains("the name is taken"), "{error}");
    assert_eq!(status_of(&handle, "x"), "gone");
    stays(&elsewhere, "owner", "running").await;
    assert!(shut_down(&elsewhere).await.clean);
    add(&handle, "/", registered("x")).await.unwrap();
    stays(&handle, "x", "running").await;
    assert!(shut_down(&handle).await.clean);
}
