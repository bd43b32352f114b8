//! Its meltdown is our intensity's end; its child-level count and reset are our fuse and backoff.

use std::time::Duration;

use rust_supervisor::{
    Backoff, ChildSpec, DynamicChildren, Jitter, SupervisorError, SupervisorHandle, SupervisorSpec,
    TaskContext, TaskResult, ms, secs,
};
use tokio::time::Instant;

use crate::{
    case::{Case, Source, case},
    given::{
        HOUR, add, children, crash, gave_up, generation, gone, plain, remove, state, status_of,
        steady,
    },
    support::{Switchboard, comes_to, running, shut_down, start, until},
};

pub(crate) const SOURCE: Source = Source {
    title: "ractor-supervisor 0.2",
    about: "All tests of the crate: its static, dynamic and task supervisors. Its meltdown is the end of a \
            supervisor whose intensity is exceeded. A panic is a failure here as there.",
    module: "ractor_supervisor",
    cases: &[CASES],
};

const CASES: &[Case] = &[
    case!(
        "supervisor::test_permanent_delayed_fail",
        permanent_delayed_fail,
        "With one restart allowed a permanent child that keeps failing runs twice; then the supervisor ends."
    ),
    case!(
        "supervisor::test_transient_delayed_normal",
        transient_delayed_normal,
        "A transient child that ends normally is not restarted and nothing is counted."
    ),
    case!(
        "supervisor::test_temporary_delayed_fail",
        temporary_delayed_fail,
        "A temporary child that fails is not restarted and nothing is counted."
    ),
    case!(
        "supervisor::test_one_for_all_stop_all_on_failure",
        one_for_all_stop_all_on_failure,
        "With two restarts allowed all children run three times; the third failure ends the supervisor and all."
    ),
    case!(
        "supervisor::test_rest_for_one_restart_subset",
        rest_for_one_restart_subset,
        "Only the failing child and those after it run again, until the limit ends the supervisor."
    ),
    case!(
        "supervisor::test_max_restarts_in_time_window",
        max_restarts_in_time_window,
        "A child that fails as soon as it runs uses up what the period allows, and no more. (That its very first \
         start fails is an error of `start` here.)"
    ),
    case!(
        "supervisor::test_transient_abnormal_exit",
        transient_abnormal_exit,
        "A transient child that fails is restarted, within the limit."
    ),
    case!(
        "supervisor::test_backoff_fn_delays_restart",
        backoff_delays_restart,
        "A child's backoff delays its restart."
    ),
    case!(
        "supervisor::test_restart_counter_reset_after",
        restart_counter_reset_after,
        "After a quiet time the supervisor's count begins anew. (Here as the window passes; there is no second clock \
         beside it.)"
    ),
    case!(
        "supervisor::test_child_level_restart_counter_reset_after",
        child_level_restart_counter_reset_after,
        "A child's own count begins anew after a run that lasted."
    ),
    case!(
        "supervisor::test_nested_supervisors",
        nested_supervisors,
        "A failure in a nested supervisor is counted there and not above."
    ),
    case!(
        "dynamic::test_transient_child_normal_exit",
        dynamic_transient_child_normal_exit,
        "A dynamic transient child that ends normally leaves nothing running and nothing counted. (Its declaration \
         stays until it is removed.)"
    ),
    case!(
        "dynamic::test_permanent_child_meltdown",
        dynamic_permanent_child_meltdown,
        "A dynamic permanent child that keeps failing ends its supervisor after the allowed restarts."
    ),
    case!(
        "dynamic::test_temporary_child_fail_no_restart",
        dynamic_temporary_child_fail_no_restart,
        "A dynamic temporary child that fails is gone; the supervisor runs on."
    ),
    case!(
        "dynamic::test_max_restarts_in_time_window",
        dynamic_permanent_child_meltdown,
        "The same with two restarts in a second."
    ),
    case!(
        "dynamic::test_supervisor_restart_counter_reset_after",
        restart_counter_reset_after,
        "As for the static supervisor."
    ),
    case!(
        "dynamic::test_child_level_restart_counter_reset_after",
        child_level_restart_counter_reset_after,
        "As for the static supervisor."
    ),
    case!(
        "dynamic::test_child_level_backoff_fn_delays_restart",
        backoff_delays_restart,
        "As for the static supervisor."
    ),
    case!(
        "dynamic::test_exceed_max_children",
        exceed_max_children,
        "One child more than the limit is refused, and the others run on."
    ),
    case!(
        "dynamic::test_terminate_child",
        terminate_child,
        "A child that is terminated is gone, is not restarted, and nothing is counted."
    ),
    case!(
        "task::test_basic_task_execution",
        basic_task_execution,
        "A task runs once to its end and is then no longer there."
    ),
    case!(
        "task::test_task_termination",
        task_termination,
        "A task that is terminated does not come to its end."
    ),
    case!(
        "task::test_restart_policy",
        restart_policy,
        "A transient task that panics runs again as often as allowed; then nothing runs."
    ),
];

/// Fails after this time, every time.
fn failing(id: &str, after: Duration) -> ChildSpec {
    plain(ChildSpec::worker(id, move |_| async move {
        tokio::time::sleep(after).await;
        panic!("delayed")
    }))
}

/// How many runs of it there were when its tree had ended.
fn runs(handle: &SupervisorHandle, path: &str) -> u64 {
    generation(handle, path)
}

fn counted(handle: &SupervisorHandle, path: &str) -> u32 {
    state(handle, path).supervisor.unwrap().intensity.used
}

#[tokio::test(start_paused = true)]
async fn permanent_delayed_fail() {
    let tree = SupervisorSpec::one_for_one("t").intensity(1, secs(2));
    let handle = start(tree.child(failing("x", ms(200)))).await;
    assert_eq!(
        (status_of(&handle, "x"), counted(&handle, "/")),
        ("running", 0)
    );
    gave_up(&handle).await;
    assert_eq!(runs(&handle, "x"), 2);
}

#[tokio::test(start_paused = true)]
async fn transient_delayed_normal() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t").intensity(5, secs(5));
    let handle = start(tree.child(plain(board.child("x").transient()))).await;
    board.complete("x");
    comes_to(&handle, "x", "finished").await;
    assert_eq!((runs(&handle, "x"), counted(&handle, "/")), (1, 0));
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn temporary_delayed_fail() {
    let tree = SupervisorSpec::one_for_one("t").intensity(10, secs(10));
    let handle = start(tree.child(failing("x", ms(200)).temporary())).await;
    gone(&handle, "x").await;
    assert!(handle.is_alive());
    assert_eq!(counted(&handle, "/"), 0);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn one_for_all_stop_all_on_failure() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_all("t")
        .intensity(2, secs(2))
        .child(failing("fails", ms(200)))
        .child(board.child("normal"));
    let handle = start(tree).await;
    gave_up(&handle).await;
    assert_eq!((runs(&handle, "fails"), runs(&handle, "normal")), (3, 3));
    assert_eq!(board.log().last().unwrap(), "-normal3");
}

#[tokio::test(start_paused = true)]
async fn rest_for_one_restart_subset() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::rest_for_one("t")
        .intensity(1, secs(2))
        .child(board.child("A"))
        .child(failing("B", ms(200)))
        .child(board.child("C"));
    let handle = start(tree).await;
    let reason = gave_up(&handle).await;
    assert!(reason.contains("more than 1 restarts in 2s"), "{reason}");
    let all = ["A", "B", "C"].map(|path| runs(&handle, path));
    assert_eq!(all, [1, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn max_restarts_in_time_window() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t").intensity(2, secs(1));
    let handle = start(tree.child(plain(board.child("x")))).await;
    board.refuse("x", u32::MAX);
    board.fail("x");
    gave_up(&handle).await;
    assert_eq!(runs(&handle, "x"), 3);
}

#[tokio::test(start_paused = true)]
async fn transient_abnormal_exit() {
    let tree = SupervisorSpec::one_for_one("t").intensity(1, secs(5));
    let handle = start(tree.child(failing("x", ms(200)).transient())).await;
    gave_up(&handle).await;
    assert_eq!(runs(&handle, "x"), 2);
}

#[tokio::test(start_paused = true)]
async fn backoff_delays_restart() {
    for dynamic in [false, true] {
        let child = failing("x", ms(1)).backoff(steady(secs(2)));
        let tree = SupervisorSpec::one_for_one("t").intensity(1, secs(10));
        let handle = if dynamic {
            let handle = start(tree).await;
            add(&handle, "/", child).await.unwrap();
            handle
        } else {
            start(tree.child(child)).await
        };
        let began = Instant::now();
        gave_up(&handle).await;
        assert_eq!(began.elapsed(), secs(2) + ms(2));
        assert_eq!(runs(&handle, "x"), 2);
    }
}

/// Fails twice at once, works for three seconds, fails again, and works.
fn relapsing(id: &str) -> ChildSpec {
    ChildSpec::worker(id, |ctx: TaskContext| async move {
        match ctx.generation() {
            1 | 2 => tokio::task::yield_now().await,
            3 => tokio::time::sleep(secs(3)).await,
            _ => {
                ctx.cancelled().await;
                return TaskResult::Ok(());
            }
        }
        Err("relapsed".into())
    })
}

#[tokio::test(start_paused = true)]
async fn restart_counter_reset_after() {
    for dynamic in [false, true] {
        let tree = SupervisorSpec::one_for_one("t").intensity(2, secs(2));
        let child = plain(relapsing("x"));
        let handle = if dynamic {
            let handle = start(tree).await;
            add(&handle, "/", child).await.unwrap();
            handle
        } else {
            start(tree.child(child)).await
        };
        running(&handle, "x", 3).await;
        assert_eq!(counted(&handle, "/"), 2);
        running(&handle, "x", 4).await;
        assert_eq!(counted(&handle, "/"), 1, "the other two are long ago");
        assert!(handle.is_alive());
        assert!(shut_down(&handle).await.clean);
    }
}

#[tokio::test(start_paused = true)]
async fn child_level_restart_counter_reset_after() {
    for dynamic in [false, true] {
        let backoff = Backoff::exponential(ms(10), secs(1)).jitter(Jitter::None);
        let child = relapsing("x").fuse(5, secs(30));
        let child = child.backoff(backoff.reset_after(secs(2)));
        let tree = SupervisorSpec::one_for_one("t");
        let handle = if dynamic {
            let handle = start(tree).await;
            add(&handle, "/", child).await.unwrap();
            handle
        } else {
            start(tree.child(child)).await
        };
        running(&handle, "x", 3).await;
        let waited = || {
            let decision = state(&handle, "x").last_exit.unwrap().decision.unwrap();
            decision.backoff.unwrap().after_jitter
        };
        assert_eq!(waited(), ms(20), "twice in a row");
        running(&handle, "x", 4).await;
        assert_eq!(waited(), ms(10), "the first again");
        assert!(shut_down(&handle).await.clean);
    }
}

#[tokio::test(start_paused = true)]
async fn nested_supervisors() {
    let board = Switchboard::new();
    let sub = SupervisorSpec::one_for_one("sub")
        .intensity(1, secs(2))
        .child(plain(board.child("leaf").transient()));
    let tree = SupervisorSpec::one_for_one("t").intensity(1, secs(5));
    let handle = start(tree.supervisor(sub)).await;
    crash(&board, &handle, "sub/leaf").await;
    assert_eq!((counted(&handle, "/"), counted(&handle, "sub")), (0, 1));
    assert_eq!((runs(&handle, "sub"), runs(&handle, "sub/leaf")), (1, 2));
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn dynamic_transient_child_normal_exit() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t").intensity(5, secs(5))).await;
    add(&handle, "/", plain(board.child("x").transient()))
        .await
        .unwrap();
    board.complete("x");
    comes_to(&handle, "x", "finished").await;
    assert_eq!(counted(&handle, "/"), 0);
    assert_eq!(children(&handle, "/"), ["x finished"]);
    remove(&handle, "x").await;
    assert!(children(&handle, "/").is_empty());
    assert!(shut_down(&handle).await.clean);
    assert_eq!(board.log(), ["+x1", ".x1"]);
}

#[tokio::test(start_paused = true)]
async fn dynamic_permanent_child_meltdown() {
    for restarts in [1, 2] {
        let board = Switchboard::new();
        let tree = SupervisorSpec::one_for_one("t").intensity(restarts, secs(1));
        let handle = start(tree).await;
        add(&handle, "/", plain(board.child("x"))).await.unwrap();
        board.refuse("x", u32::MAX);
        board.fail("x");
        gave_up(&handle).await;
        let begun = board.log();
        let begun = begun.iter().filter(|entry| entry.starts_with('+')).count();
        assert_eq!(begun, restarts as usize + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn dynamic_temporary_child_fail_no_restart() {
    let handle = start(SupervisorSpec::one_for_one("t").intensity(0, HOUR)).await;
    let child = failing("x", ms(200)).temporary();
    add(&handle, "/", child).await.unwrap();
    gone(&handle, "x").await;
    assert!(handle.is_alive());
    assert_eq!(counted(&handle, "/"), 0);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn exceed_max_children() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t").dynamic(DynamicChildren {
        enabled: true,
        child_limit: Some(1),
    });
    let handle = start(tree).await;
    add(&handle, "/", board.child("allowed")).await.unwrap();
    let error = add(&handle, "/", board.child("unallowed"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, SupervisorError::NotDynamic { .. }),
        "{error}"
    );
    assert_eq!(children(&handle, "/"), ["allowed running"]);
    assert_eq!(board.log(), ["+allowed1"]);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn terminate_child() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t").intensity(0, HOUR)).await;
    add(&handle, "/", plain(board.child("x"))).await.unwrap();
    remove(&handle, "x").await;
    assert_eq!(status_of(&handle, "x"), "gone");
    tokio::time::sleep(secs(60)).await;
    assert_eq!(board.log(), ["+x1", "-x1"]);
    assert_eq!(counted(&handle, "/"), 0);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn basic_task_execution() {
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let task = ChildSpec::job("background", move |_| {
        let tell = tell.clone();
        async move { tell.send(()).await }
    });
    add(&handle, "/", task.temporary()).await.unwrap();
    told.recv().await.expect("it was executed");
    gone(&handle, "background").await;
    assert!(told.recv().await.is_none(), "once, and let go of");
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn task_termination() {
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let task = ChildSpec::worker("task", move |_| {
        let tell = tell.clone();
        async move {
            tokio::time::sleep(secs(10)).await;
            tell.send(()).await
        }
    });
    add(&handle, "/", task.grace(secs(1))).await.unwrap();
    remove(&handle, "task").await;
    assert!(told.recv().await.is_none(), "it never came so far");
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn restart_policy() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let task = board.child("x").transient().fuse(3, secs(1)).backoff(None);
    add(&handle, "/", task).await.unwrap();
    for run in 2..=4 {
        board.panic("x");
        running(&handle, "x", run).await;
    }
    board.panic("x");
    comes_to(&handle, "x", "quarantined").await;
    until(|| board.log().len() == 8).await;
    assert_eq!(board.log().last().unwrap(), "!x4");
    assert!(shut_down(&handle).await.clean);
}
