//! How supervisors and children stop.

use std::time::Duration;

use rust_supervisor::{
    ChildShutdownStatus::{Aborted, Graceful},
    ChildSpec, RestartType, ShutdownResult, SupervisorSpec, TaskContext, TaskFailure, TaskResult,
    ms, secs,
};

use crate::{
    case::{Case, case},
    given::{add, crash, idle, remove, state, status_of},
    support::{Switchboard, by, comes_to, deaf, shut_down, start, status, within},
};

pub(super) const CASES: &[Case] = &[
    case!(
        sup_stop_infinity,
        "A child may have all the time it wants to stop, be it a worker or a supervisor."
    ),
    case!(
        sup_stop_timeout,
        "A child that does not stop in its time is killed, the others stop in good order."
    ),
    case!(sup_stop_timeout_dynamic, "The same for dynamic children."),
    case!(
        sup_stop_brutal_kill,
        "A child without grace is killed at once, the others stop in good order."
    ),
    case!(
        sup_stop_brutal_kill_dynamic,
        "The same for ten dynamic children."
    ),
    case!(
        sup_stop_race,
        "Children of every restart type that end by themselves, in whatever way, while the supervisor waits for \
         another's stop do not disturb the shutdown, and none runs again."
    ),
    case!(
        sup_stop_non_shutdown_exit_dynamic,
        "Dynamic children of every restart type that answer the stop with a failure do not disturb the shutdown."
    ),
    case!(
        simple_one_for_one_shutdown,
        "Dynamic children that stop at once each have their grace: the whole takes as long as the longest, \
         and who exceeds it is killed."
    ),
    case!(
        child_unlink,
        "A child that hides from its supervisor's stop does not hang the supervisor, which goes on serving others \
         meanwhile."
    ),
];

fn took(result: &ShutdownResult, path: &str) -> Duration {
    let mut children = result.report.children.iter();
    let child = children.find(|child| child.path.as_str() == path);
    child.expect("it is reported").took
}

/// Needs so long to stop.
fn slow(id: &str, time: Duration) -> ChildSpec {
    ChildSpec::worker(id, move |ctx: TaskContext| async move {
        ctx.cancelled().await;
        tokio::time::sleep(time).await;
    })
}

#[tokio::test(start_paused = true)]
async fn sup_stop_infinity() {
    let five = secs(300);
    let inner = SupervisorSpec::one_for_one("n").child(slow("a", five).grace(Duration::MAX));
    let tree = SupervisorSpec::one_for_one("t")
        .total_timeout(Duration::MAX)
        .supervisor(inner)
        .child(slow("b", five / 2).grace(Duration::MAX));
    let handle = start(tree).await;
    let result = shut_down(&handle).await;
    assert!(result.clean && !result.report.timed_out);
    for path in ["/b", "/n", "/n/a"] {
        assert_eq!(status(&result, path), Graceful, "{path}");
    }
    assert_eq!(took(&result, "/b"), five / 2);
    assert_eq!(took(&result, "/n/a"), five);
}

#[tokio::test(start_paused = true)]
async fn sup_stop_timeout() {
    let tree = SupervisorSpec::one_for_one("t")
        .child(ChildSpec::worker("child1", idle).grace(secs(1)))
        .child(deaf("child2").grace(secs(1)));
    let handle = start(tree).await;
    let result = shut_down(&handle).await;
    assert!(result.clean);
    assert_eq!(status(&result, "/child1"), Graceful);
    assert_eq!(status(&result, "/child2"), Aborted);
    assert_eq!(took(&result, "/child2"), secs(1));
}

#[tokio::test(start_paused = true)]
async fn sup_stop_timeout_dynamic() {
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let polite = ChildSpec::worker("child1", idle).temporary();
    add(&handle, "/", polite.grace(secs(1))).await.unwrap();
    let deaf = deaf("child2").temporary().grace(secs(1));
    add(&handle, "/", deaf).await.unwrap();
    let result = shut_down(&handle).await;
    assert!(result.clean);
    assert_eq!(status(&result, "/child1"), Graceful);
    assert_eq!(status(&result, "/child2"), Aborted);
    assert_eq!(took(&result, "/child2"), secs(1));
}

#[tokio::test(start_paused = true)]
async fn sup_stop_brutal_kill() {
    let tree = SupervisorSpec::one_for_one("t")
        .child(ChildSpec::worker("child1", idle))
        .child(slow("child2", secs(1)).grace(secs(0)));
    let handle = start(tree).await;
    let result = shut_down(&handle).await;
    assert!(result.clean);
    assert_eq!(status(&result, "/child1"), Graceful);
    assert_eq!(status(&result, "/child2"), Aborted);
    assert_eq!(took(&result, "/child2"), ms(0));
}

#[tokio::test(start_paused = true)]
async fn sup_stop_brutal_kill_dynamic() {
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    for at in 0..10 {
        let child = slow(&at.to_string(), secs(1)).temporary().grace(secs(0));
        add(&handle, "/", child).await.unwrap();
    }
    let result = shut_down(&handle).await;
    assert!(result.clean);
    for at in 0..10 {
        assert_eq!(status(&result, &format!("/{at}")), Aborted);
    }
    assert_eq!(result.report.took, ms(0));
}

#[tokio::test(start_paused = true)]
async fn sup_stop_race() {
    type End = fn(&Switchboard, &str);
    let ends: [(&str, End); 4] = [
        ("completes", |board, id| board.complete(id)),
        ("fails", |board, id| board.fail(id)),
        ("panics", |board, id| board.panic(id)),
        ("fatal", |board, id| board.fatal(id)),
    ];
    let types = [
        RestartType::Temporary,
        RestartType::Transient,
        RestartType::Permanent,
    ];
    let board = Switchboard::new();
    let mut tree = SupervisorSpec::one_for_one("t").child(board.child("first"));
    let mut racing = Vec::new();
    for restart in types {
        for (how, end) in ends {
            let id = format!("{restart:?}-{how}").to_lowercase();
            tree = tree.child(board.child(&id).restart(restart).backoff(None));
            racing.push((id, end));
        }
    }
    let handle = start(tree.child(slow("last", secs(1)).grace(secs(2)))).await;
    let ending = {
        let handle = handle.clone();
        tokio::spawn(async move { handle.shutdown_tree(&by()).await })
    };
    comes_to(&handle, "last", "stopping").await;
    for (id, end) in &racing {
        end(&board, id);
    }
    let result = within(ending).await.unwrap().unwrap();
    assert!(result.clean);
    assert_eq!(status(&result, "/last"), Graceful);
    assert_eq!(status(&result, "/first"), Graceful);
    let log = board.log();
    let again = log
        .iter()
        .filter(|entry| entry.starts_with('+') && entry.ends_with('2'));
    assert_eq!(again.count(), 0, "{log:?}");
    let ended = log.iter().filter(|entry| entry.starts_with(['!', '.']));
    assert_eq!(ended.count(), 12, "each in its own way: {log:?}");
}

#[tokio::test(start_paused = true)]
async fn sup_stop_non_shutdown_exit_dynamic() {
    async fn ends(ctx: TaskContext) -> TaskResult {
        ctx.cancelled().await;
        match ctx.id() {
            "completes" => Ok(()),
            "fails" => Err("not now".into()),
            "fatal" => Err(TaskFailure::fatal("not ever").into()),
            _ => panic!("at the worst time"),
        }
    }
    for restart in [
        RestartType::Temporary,
        RestartType::Transient,
        RestartType::Permanent,
    ] {
        let handle = start(SupervisorSpec::one_for_one("t")).await;
        for id in ["completes", "fails", "fatal", "panics"] {
            let child = ChildSpec::worker(id, ends).restart(restart);
            add(&handle, "/", child).await.unwrap();
        }
        let result = shut_down(&handle).await;
        assert!(result.clean);
        assert_eq!(result.report.took, ms(0));
        assert_eq!(result.report.counts().get(&Graceful), Some(&4));
    }
}

#[tokio::test(start_paused = true)]
async fn simple_one_for_one_shutdown() {
    use rust_supervisor::ShutdownOrder;
    let tree = SupervisorSpec::one_for_one("t").shutdown_order(ShutdownOrder::Parallel);
    let handle = start(tree).await;
    for (id, time) in [("a", secs(1)), ("b", secs(1)), ("c", secs(5))] {
        add(&handle, "/", slow(id, time).grace(secs(2)))
            .await
            .unwrap();
    }
    let result = shut_down(&handle).await;
    assert!(result.clean);
    assert_eq!(result.report.took, secs(2));
    for (path, wanted, time) in [("/a", Graceful, 1), ("/b", Graceful, 1), ("/c", Aborted, 2)] {
        assert_eq!(status(&result, path), wanted, "{path}");
        assert_eq!(took(&result, path), secs(time), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn child_unlink() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("other").backoff(None))
        .child(deaf("naughty").grace(secs(5)));
    let handle = start(tree).await;
    let removing = {
        let handle = handle.clone();
        tokio::spawn(async move { handle.remove_child("naughty", &by()).await })
    };
    comes_to(&handle, "naughty", "stopping").await;
    // Others are served all the while.
    crash(&board, &handle, "other").await;
    add(&handle, "/", board.child("new")).await.unwrap();
    remove(&handle, "other").await;
    assert_eq!(state(&handle, "new").generation, 1);
    assert!(!removing.is_finished());
    within(removing).await.unwrap().unwrap();
    assert_eq!(status_of(&handle, "naughty"), "gone");
    assert!(shut_down(&handle).await.clean);
}
