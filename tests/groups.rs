//! Siblings that restart together.

mod support;

use std::sync::{Arc, Mutex, mpsc};

use rust_supervisor::{
    Backoff, ChildSpec, EventKind, ExitOutcome, Jitter, StopCause, SupervisorHandle,
    SupervisorSpec, TaskContext, TaskResult, TreeEvent, ms, secs, service_fn,
    test_util::{Script, TestTree, by},
};
use support::{Switchboard, deaf, running, shut_down, start, within};

fn intensity_used(tree: &SupervisorHandle) -> u32 {
    let root = tree.current_state().root;
    root.supervisor.unwrap().intensity.used
}

fn generation(tree: &SupervisorHandle, path: &str) -> u64 {
    tree.child_state(path).unwrap().generation
}

fn at_once(child: ChildSpec) -> ChildSpec {
    child.backoff(None)
}

/// Waits until the supervisor has ended so many group restarts.
async fn group_restarts(tree: &TestTree, wanted: usize) {
    let mut seen = 0;
    tree.until_event(|event| {
        let ended = matches!(
            event.kind,
            EventKind::Tree(TreeEvent::GroupRestartEnded { .. })
        );
        seen += usize::from(ended);
        seen == wanted
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn each_start_is_waited_for_before_the_next() {
    let board = Switchboard::new();
    board.ready("b");
    let spec = SupervisorSpec::one_for_all("t")
        .child(at_once(board.child("a")))
        .child(board.explicit("b"))
        .child(board.child("c"));
    let tree = TestTree::start(spec).await;
    board.fail("a");
    tree.until(|| board.log().contains(&"+b2".to_owned())).await;
    tokio::time::sleep(secs(5)).await;
    assert!(!board.log().contains(&"+c2".to_owned()));
    board.ready("b");
    group_restarts(&tree, 1).await;
    assert_eq!(
        board.log()[4..],
        ["!a1", "-c1", "-b1", "+a2", "+b2", "^b2", "+c2"]
    );
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn rest_for_one_resumes_at_the_start_that_failed() {
    let board = Switchboard::new();
    let spec = SupervisorSpec::rest_for_one("t")
        .child(at_once(board.child("a")))
        .child(at_once(board.child("b")))
        .child(at_once(board.child("c")));
    let tree = TestTree::start(spec).await;
    board.fail("a");
    board.refuse("b", 2);
    group_restarts(&tree, 1).await;
    assert_eq!(
        board.log()[3..],
        [
            "!a1", "-c1", "-b1", "+a2", "+b2", "!b2", "+b3", "!b3", "+b4", "+c2"
        ]
    );
    assert_eq!(intensity_used(&tree), 3, "the group and each retry");
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn one_for_all_begins_anew_when_a_start_fails() {
    let board = Switchboard::new();
    let spec = SupervisorSpec::one_for_all("t")
        .child(at_once(board.child("a")))
        .child(at_once(board.child("b")))
        .child(at_once(board.child("c")));
    let tree = TestTree::start(spec).await;
    board.fail("c");
    board.refuse("b", 1);
    group_restarts(&tree, 1).await;
    assert_eq!(
        board.log()[3..],
        [
            "!c1", "-b1", "-a1", "+a2", "+b2", "!b2", "-a2", "+a3", "+b3", "+c2"
        ]
    );
    assert_eq!(intensity_used(&tree), 2);
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn the_retry_of_a_start_waits_for_the_backoff_of_the_child_that_failed() {
    let board = Switchboard::new();
    let slow = Backoff::constant(secs(2)).jitter(Jitter::None);
    let spec = SupervisorSpec::rest_for_one("t")
        .child(at_once(board.child("a")))
        .child(board.child("b").backoff(slow));
    let tree = TestTree::start(spec).await;
    let began = tokio::time::Instant::now();
    board.fail("a");
    board.refuse("b", 1);
    tree.until_running("b", 3).await;
    assert_eq!(began.elapsed(), secs(2));
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_person_or_its_own_end_keeps_down_stays_down() {
    let board = Switchboard::new();
    let spec = SupervisorSpec::one_for_all("t")
        .child(board.child("paused"))
        .child(board.child("quarantined"))
        .child(board.child("finished").transient())
        .child(board.child("fatal"))
        .child(board.child("temporary").temporary())
        .child(at_once(board.child("a")));
    let tree = TestTree::start(spec).await;
    within(tree.pause_child("paused", &by())).await.unwrap();
    within(tree.quarantine_child("quarantined", &by()))
        .await
        .unwrap();
    board.complete("finished");
    board.fatal("fatal");
    tree.until_status("finished", "finished").await;
    tree.until_status("fatal", "failed").await;
    let before = board.log().len();
    board.fail("a");
    tree.until_running("a", 2).await;
    assert_eq!(board.log()[before..], ["!a1", "-temporary1", "+a2"]);
    for (path, status) in [
        ("paused", "paused"),
        ("quarantined", "quarantined"),
        ("finished", "finished"),
        ("fatal", "failed"),
    ] {
        let child = tree.child_state(path).unwrap();
        assert_eq!((child.status.as_str(), child.generation), (status, 1));
    }
    assert!(tree.child_state("temporary").is_err(), "it is dropped");

    // Released, they run again without anybody else being touched.
    for path in ["paused", "quarantined"] {
        within(tree.resume_child(path, &by())).await.unwrap();
        tree.until_running(path, 2).await;
    }
    assert_eq!(generation(&tree, "a"), 2);
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn siblings_see_why_they_are_stopped() {
    let (witness, a) = (Script::new(), Script::new());
    let spec = SupervisorSpec::one_for_all("t")
        .child(ChildSpec::worker("w", witness.task()))
        .child(ChildSpec::worker("a", a.task()));
    let tree = TestTree::start(spec).await;
    a.fail("as ordered");
    tree.until_running("a", 2).await;
    tree.shutdown_clean().await;
    let causes = [StopCause::Sibling, StopCause::Shutdown].map(Some);
    assert_eq!(witness.stop_causes(), causes);
    assert_eq!(a.stop_causes(), [None, Some(StopCause::Shutdown)]);
}

#[tokio::test(start_paused = true)]
async fn members_that_fail_at_once_restart_the_group_without_overlap() {
    let board = Switchboard::new();
    let spec = SupervisorSpec::one_for_all("t")
        .child(at_once(board.child("a")))
        .child(at_once(board.child("b")))
        .child(at_once(board.child("c")));
    let tree = TestTree::start(spec).await;
    board.fail("a");
    board.fail("b");
    board.panic("c");
    for id in ["a", "b", "c"] {
        tree.until_running(id, 2).await;
    }
    tokio::time::sleep(secs(10)).await;
    let root = tree.current_state().root.supervisor.unwrap();
    assert_eq!(root.group_restarts, 1);
    assert_eq!(board.log()[6..], ["+a2", "+b2", "+c2"]);
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn the_longest_backoff_of_those_that_failed_counts() {
    let board = Switchboard::new();
    let wait = |time| Backoff::constant(time).jitter(Jitter::None);
    let spec = SupervisorSpec::one_for_all("t")
        .child(board.child("a").backoff(wait(ms(100))))
        .child(board.child("b").backoff(wait(ms(900))));
    let tree = TestTree::start(spec).await;
    let began = tokio::time::Instant::now();
    board.fail("a");
    board.fail("b");
    tree.until_running("b", 2).await;
    assert_eq!(began.elapsed(), ms(900));
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_ignores_its_stop_is_dropped_at_its_grace() {
    let board = Switchboard::new();
    let bare = service_fn(Script::new().deaf().task());
    let spec = SupervisorSpec::one_for_all("t")
        .grace(secs(2))
        .child(at_once(board.child("a")))
        .child(deaf("deaf").grace(secs(3)))
        .child(ChildSpec::new("bare", bare));
    let tree = TestTree::start(spec).await;
    let began = tokio::time::Instant::now();
    board.fail("a");
    tree.until_running("bare", 2).await;
    assert_eq!(began.elapsed(), secs(5), "its own grace, and the group's");
    let deaf = tree.child_state("deaf").unwrap();
    assert_eq!((deaf.status.as_str(), deaf.generation), ("running", 2));
    assert!(tree.health().is_healthy());
    tree.shutdown_clean().await;
}

/// A child whose first run blocks its thread, whatever it is told, until the sender is used.
fn stuck(id: &str) -> (ChildSpec, mpsc::Sender<()>) {
    let (release, wait) = mpsc::channel();
    let wait = Mutex::new(Some(wait));
    let child = ChildSpec::blocking(id, move |ctx: TaskContext| {
        if let Some(wait) = wait.lock().unwrap().take() {
            let _ = wait.recv();
            return;
        }
        while !ctx.is_cancelled() {
            std::thread::yield_now();
        }
    });
    (child.grace(ms(20)).backoff(None), release)
}

/// A thread that blocks keeps paused time from passing: these run in real time, and not for ten minutes.
async fn soon(test: impl Future<Output = ()>) {
    tokio::time::timeout(secs(20), test)
        .await
        .expect("within twenty seconds");
}

#[tokio::test]
async fn a_member_that_cannot_be_ended_does_not_hold_up_the_group() {
    soon(async {
        let board = Switchboard::new();
        let (stuck, release) = stuck("stuck");
        let tree = SupervisorSpec::one_for_all("t")
            .abort_wait(ms(20))
            .child(at_once(board.child("a")))
            .child(stuck)
            .child(at_once(board.child("b")));
        let handle = start(tree).await;
        board.fail("a");
        running(&handle, "b", 2).await;
        let state = handle.child_state("stuck").unwrap();
        assert_eq!((state.status.as_str(), state.generation), ("lingering", 1));
        assert!(!handle.health().is_healthy());

        // Another group restart goes on without it as well.
        board.fail("b");
        running(&handle, "b", 3).await;
        assert_eq!(generation(&handle, "stuck"), 1);

        release.send(()).unwrap();
        running(&handle, "stuck", 2).await;
        assert_eq!(generation(&handle, "b"), 3, "its late end is nobody else's");
        assert!(handle.health().is_healthy());
        assert!(shut_down(&handle).await.clean);
    })
    .await;
}

#[tokio::test]
async fn a_bare_stacks_thread_does_not_hold_up_the_group_either() {
    soon(async {
        let board = Switchboard::new();
        let (release, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(Some(wait)));
        let run = move |ctx: TaskContext| {
            let first = wait.lock().unwrap().take();
            let blocked = ctx.spawn_blocking(move || first.map(|wait| wait.recv()));
            async move {
                let _ = blocked.await;
                ctx.cancelled().await;
            }
        };
        let tree = SupervisorSpec::one_for_all("t")
            .grace(ms(20))
            .abort_wait(ms(20))
            .child(ChildSpec::new("bare", service_fn(run)))
            .child(at_once(board.child("b")));
        let handle = start(tree).await;
        board.fail("b");
        running(&handle, "b", 2).await;
        assert_eq!(generation(&handle, "bare"), 1);
        assert!(!handle.health().is_healthy());
        release.send(()).unwrap();
        running(&handle, "bare", 2).await;
        assert!(shut_down(&handle).await.clean);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_gets_through_while_a_group_stops_waits_or_starts() {
    async fn slow_to_stop(ctx: TaskContext) -> TaskResult {
        ctx.cancelled().await;
        tokio::time::sleep(secs(3)).await;
        Ok(())
    }
    for after in [secs(1), secs(4), secs(9)] {
        let board = Switchboard::new();
        board.ready("c");
        let wait = Backoff::constant(secs(5)).jitter(Jitter::None);
        let spec = SupervisorSpec::one_for_all("t")
            .child(board.child("a").backoff(wait))
            .child(ChildSpec::worker("b", slow_to_stop))
            .child(board.explicit("c"));
        let tree = TestTree::start(spec).await;
        board.fail("a");
        tokio::time::sleep(after).await;
        let result = within(tree.shutdown_tree(&by())).await.unwrap();
        assert!(result.clean);
        assert!(result.report.took <= secs(3), "{after:?}");
        assert_eq!(within(tree.join()).await.outcome, ExitOutcome::ShutDown);
    }
}

#[tokio::test(start_paused = true)]
async fn commands_get_through_while_a_group_waits() {
    let board = Switchboard::new();
    let wait = Backoff::constant(secs(60)).jitter(Jitter::None);
    let spec = SupervisorSpec::one_for_all("t")
        .child(board.child("a").backoff(wait))
        .child(board.child("b"))
        .child(board.child("c"))
        .child(board.child("d"));
    let tree = TestTree::start(spec).await;
    let began = tokio::time::Instant::now();
    board.fail("a");
    tree.until_status("b", "waiting").await;
    within(tree.pause_child("b", &by())).await.unwrap();
    within(tree.remove_child("c", &by())).await.unwrap();
    assert!(began.elapsed() < secs(1), "neither waited for the group");
    let restarted = {
        let tree = tree.clone();
        tokio::spawn(async move { tree.restart_child("d", &by()).await })
    };
    tree.until_running("d", 2).await;
    assert_eq!(began.elapsed(), secs(60), "it starts with its group");
    assert_eq!(restarted.await.unwrap().unwrap().generation, 2);
    assert_eq!(
        tree.child_state("b").unwrap().status.as_str(),
        "paused",
        "the hold outlives the group restart"
    );
    assert!(tree.child_state("c").is_err(), "it stays removed");
    assert!(!board.log().contains(&"+c2".to_owned()));
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_while_its_group_restarts_does_not_come_back() {
    let board = Switchboard::new();
    board.ready("b");
    let spec = SupervisorSpec::one_for_all("t")
        .child(at_once(board.child("a")))
        .child(board.explicit("b"))
        .child(board.child("c"));
    let tree = TestTree::start(spec).await;
    board.fail("a");
    tree.until(|| board.log().contains(&"+b2".to_owned())).await;
    within(tree.remove_child("c", &by())).await.unwrap();
    within(tree.remove_child("b", &by())).await.unwrap();
    group_restarts(&tree, 1).await;
    tokio::time::sleep(secs(5)).await;
    let ids: Vec<_> = tree.current_state().root.children;
    assert_eq!(ids.len(), 1);
    assert!(!board.log().contains(&"+c2".to_owned()));
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn the_child_whose_failure_it_was_may_be_removed_before_its_group_restarts() {
    let board = Switchboard::new();
    let spec = SupervisorSpec::one_for_all("t")
        .child(board.child("a"))
        .child(board.child("b"));
    let tree = TestTree::start(spec).await;
    board.fail("a");
    tree.until_status("b", "waiting").await;
    within(tree.remove_child("a", &by())).await.unwrap();
    tree.until_running("b", 2).await;
    assert!(!board.log().contains(&"+a2".to_owned()));
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_child_added_while_its_group_restarts_runs_once_and_stays() {
    let board = Switchboard::new();
    let wait = Backoff::constant(secs(5)).jitter(Jitter::None);
    let spec = SupervisorSpec::one_for_all("t")
        .child(board.child("a").backoff(wait))
        .child(board.child("b"));
    let tree = TestTree::start(spec).await;
    let adding = {
        let (tree, child) = (tree.clone(), board.explicit("new"));
        tokio::spawn(async move { tree.add_child("/", child, &by()).await })
    };
    tree.until_status("new", "starting").await;
    // Its start is stopped with its group and begins anew with it.
    board.fail("a");
    tree.until(|| board.log().contains(&"+new2".to_owned()))
        .await;
    board.ready("new");
    assert_eq!(within(adding).await.unwrap().unwrap().generation, 2);
    assert_eq!(tree.child_state("new").unwrap().status.as_str(), "running");
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_may_contain_supervisors() {
    let board = Switchboard::new();
    let inner = SupervisorSpec::one_for_one("n")
        .child(board.child("x"))
        .child(board.child("y"));
    let spec = SupervisorSpec::one_for_all("t")
        .child(board.child("a"))
        .supervisor(inner)
        .child(at_once(board.child("b")));
    let tree = TestTree::start(spec).await;
    board.fail("b");
    tree.until_running("b", 2).await;
    assert_eq!(
        board.log()[4..],
        ["!b1", "-y1", "-x1", "-a1", "+a2", "+x2", "+y2", "+b2"]
    );
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_comes_and_fails_while_its_siblings_restart_takes_none_of_them_with_it() {
    let board = Switchboard::new();
    let slow = Backoff::constant(secs(5)).jitter(Jitter::None);
    let spec = SupervisorSpec::rest_for_one("t")
        .child(board.child("a").backoff(slow))
        .child(at_once(board.child("b")));
    let tree = TestTree::start(spec).await;
    board.fail("a");
    tree.until_status("b", "waiting").await;
    within(tree.add_child("/", at_once(board.child("c")), &by()))
        .await
        .unwrap();
    board.fail("c");
    tree.until_running("c", 2).await;
    tree.until_running("a", 2).await;
    tree.until_running("b", 2).await;
    assert_eq!(intensity_used(&tree), 2);
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_comes_and_fails_while_its_group_stops_starts_with_it() {
    let board = Switchboard::new();
    let slow = ChildSpec::worker("slow", |ctx: TaskContext| async move {
        ctx.cancelled().await;
        tokio::time::sleep(secs(3)).await;
    });
    let spec = SupervisorSpec::one_for_all("t")
        .child(at_once(board.child("a")))
        .child(slow);
    let tree = TestTree::start(spec).await;
    board.fail("a");
    tree.until_status("slow", "stopping").await;
    within(tree.add_child("/", at_once(board.child("c")), &by()))
        .await
        .unwrap();
    board.fail("c");
    tree.until_running("c", 2).await;
    assert_eq!(intensity_used(&tree), 1, "it is one group restart");
    tree.shutdown_clean().await;
}
