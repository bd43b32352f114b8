//! Pools: many children of one kind, and how many may change.

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rust_supervisor::{
    Change, ChildSpec, Factories, ReadinessPolicy, Supervisor, SupervisorConfig, SupervisorError,
    SupervisorHandle, SupervisorSpec, TaskContext, TaskResult, ms, secs,
};
use support::{Switchboard, by, comes_to, running, shut_down, start, until, within};

fn pool(board: &Switchboard, replicas: usize) -> SupervisorSpec {
    let board = board.clone();
    SupervisorSpec::one_for_one("t").pool(replicas, move |_| board.child("p").backoff(None))
}

fn replicas(handle: &SupervisorHandle) -> Vec<String> {
    let pool = handle.child_state("p").unwrap();
    assert_eq!(
        pool.supervisor.unwrap().replicas,
        Some(pool.children.len()),
        "the state counts them"
    );
    pool.children.iter().map(|child| child.id.clone()).collect()
}

async fn scale(handle: &SupervisorHandle, count: usize) -> Change {
    let outcome = within(handle.scale_child("p", count, &by())).await;
    outcome.unwrap().change
}

#[tokio::test(start_paused = true)]
async fn a_pool_grows_by_the_lowest_free_indices_and_shrinks_by_the_highest() {
    let board = Switchboard::new();
    let handle = start(pool(&board, 2)).await;
    assert_eq!(scale(&handle, 4).await, Change::Done);
    assert_eq!(replicas(&handle), ["0", "1", "2", "3"]);
    assert_eq!(board.log(), ["+01", "+11", "+21", "+31"]);
    within(handle.remove_child("p/1", &by())).await.unwrap();
    assert_eq!(scale(&handle, 2).await, Change::Done);
    assert_eq!(replicas(&handle), ["0", "2"]);
    assert_eq!(scale(&handle, 3).await, Change::Done);
    assert_eq!(replicas(&handle), ["0", "2", "1"], "as they started");
    assert_eq!(scale(&handle, 3).await, Change::AlreadySo);
    assert_eq!(scale(&handle, 0).await, Change::Done);
    assert!(replicas(&handle).is_empty());
    assert_eq!(scale(&handle, 1).await, Change::Done);
    running(&handle, "p/0", 1).await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn replicas_that_are_too_many_stop_side_by_side() {
    let tree = SupervisorSpec::one_for_one("t").pool(5, |_| {
        ChildSpec::worker("p", |ctx: TaskContext| async move {
            ctx.cancelled().await;
            tokio::time::sleep(secs(3)).await;
        })
    });
    let handle = start(tree).await;
    let began = tokio::time::Instant::now();
    assert_eq!(scale(&handle, 1).await, Change::Done);
    assert_eq!(began.elapsed(), secs(3));
    assert_eq!(replicas(&handle), ["0"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_life_of_the_pool_has_the_count_that_was_set() {
    let board = Switchboard::new();
    let handle = start(pool(&board, 1)).await;
    scale(&handle, 3).await;
    within(handle.add_child("p", board.child("guest"), &by()))
        .await
        .unwrap();
    within(handle.restart_child("p", &by())).await.unwrap();
    running(&handle, "p/2", 2).await;
    assert_eq!(replicas(&handle), ["0", "1", "2"], "the guest is gone");
    scale(&handle, 2).await;
    within(handle.restart_child("p", &by())).await.unwrap();
    running(&handle, "p/1", 3).await;
    assert_eq!(replicas(&handle), ["0", "1"]);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_does_not_start_takes_those_added_with_it_out_again() {
    let board = Switchboard::new();
    let handle = start(pool(&board, 1)).await;
    board.refuse("3", 1);
    let error = within(handle.scale_child("p", 5, &by())).await.unwrap_err();
    let SupervisorError::StartFailed { path, reason } = error else {
        panic!("{error:?}")
    };
    assert_eq!(path.as_str(), "/p/3");
    assert!(reason.contains("refused"), "{reason}");
    assert_eq!(replicas(&handle), ["0"]);
    assert_eq!(
        board.log(),
        ["+01", "+11", "+21", "+31", "!31", "-21", "-11"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_where_replicas_are_made_is_the_commands_answer() {
    let armed = Arc::new(AtomicBool::new(false));
    let when = armed.clone();
    let tree = SupervisorSpec::one_for_one("t").pool(1, move |_| {
        assert!(!when.load(Ordering::SeqCst), "no more of these");
        ChildSpec::worker("p", |ctx: TaskContext| async move { ctx.cancelled().await })
    });
    let handle = start(tree).await;
    armed.store(true, Ordering::SeqCst);
    let error = within(handle.scale_child("p", 2, &by())).await.unwrap_err();
    assert!(error.to_string().contains("no more of these"), "{error}");
    assert_eq!(replicas(&handle), ["0"]);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn temporary_replicas_that_ended_are_not_refilled_until_the_count_is_set() {
    let board = Switchboard::new();
    let kind = board.clone();
    let tree = SupervisorSpec::one_for_one("t").pool(3, move |_| kind.child("p").temporary());
    let handle = start(tree).await;
    board.complete("1");
    until(|| replicas(&handle) == ["0", "2"]).await;
    tokio::time::sleep(secs(60)).await;
    assert_eq!(replicas(&handle), ["0", "2"]);
    assert_eq!(scale(&handle, 3).await, Change::Done);
    assert_eq!(replicas(&handle), ["0", "2", "1"]);
}

#[tokio::test(start_paused = true)]
async fn who_is_no_pool_or_down_has_no_count() {
    let board = Switchboard::new();
    let tree = pool(&board, 1)
        .child(board.child("a"))
        .supervisor(SupervisorSpec::one_for_one("n"));
    let handle = start(tree).await;
    for path in ["a", "n"] {
        let error = within(handle.scale_child(path, 2, &by()))
            .await
            .unwrap_err();
        assert_eq!(error, SupervisorError::NotAPool { path: path.into() });
    }
    within(handle.pause_child("p", &by())).await.unwrap();
    let error = within(handle.scale_child("p", 2, &by())).await.unwrap_err();
    assert!(
        matches!(error, SupervisorError::NotApplicable { .. }),
        "{error}"
    );
    within(handle.resume_child("p", &by())).await.unwrap();
    within(handle.wait_ready("p")).await.unwrap();
    assert_eq!(scale(&handle, 2).await, Change::Done);
}

#[tokio::test(start_paused = true)]
async fn counts_that_are_set_at_once_are_set_one_after_the_other() {
    let board = Switchboard::new();
    let handle = start(pool(&board, 1)).await;
    let by = by();
    let answers = within(async {
        tokio::join!(
            handle.scale_child("p", 4, &by),
            handle.scale_child("p", 2, &by),
            handle.scale_child("p", 3, &by),
        )
    })
    .await;
    assert!(answers.0.is_ok() && answers.1.is_ok() && answers.2.is_ok());
    assert_eq!(replicas(&handle), ["0", "1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_gets_through_while_a_pool_grows() {
    let tree = SupervisorSpec::one_for_one("t").pool(1, |index| {
        ChildSpec::worker("p", move |ctx: TaskContext| async move {
            if index == 0 {
                ctx.mark_ready();
            }
            ctx.cancelled().await;
            TaskResult::Ok(())
        })
        .readiness(ReadinessPolicy::Explicit)
    });
    let handle = start(tree).await;
    let (other, meta) = (handle.clone(), by());
    let growing = tokio::spawn(async move { other.scale_child("p", 3, &meta).await });
    comes_to(&handle, "p/1", "starting").await;
    assert!(shut_down(&handle).await.clean);
    assert!(within(growing).await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_declared_pool_grows_by_its_factory() {
    #[derive(Clone, serde::Deserialize)]
    struct Settings {
        pace_ms: u64,
    }
    let config = SupervisorConfig::from_yaml(
        "children: [{name: p, factory: work, replicas: 2, settings: {pace_ms: 7}}]",
    )
    .unwrap();
    let factories = Factories::new().worker("work", |settings: Settings| {
        move |ctx: TaskContext| async move {
            assert_eq!(ms(settings.pace_ms), ms(7));
            ctx.cancelled().await;
        }
    });
    let handle = within(Supervisor::start(config.into_spec(&factories).unwrap()))
        .await
        .unwrap();
    assert_eq!(scale(&handle, 4).await, Change::Done);
    assert_eq!(replicas(&handle), ["0", "1", "2", "3"]);
    assert!(shut_down(&handle).await.clean);
}
