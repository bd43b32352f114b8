//! Supervisors as children.

mod support;

use std::sync::{Arc, Mutex, mpsc};

use rust_supervisor::{
    Backoff, ChildPolicy, ChildSpec, EventKind, ExitOutcome, FuseLimit, Jitter, RestartType,
    SupervisorError, SupervisorHandle, SupervisorSpec, TaskContext, TreeEvent, ms, secs,
    test_util::{TestTree, by},
};
use support::{Switchboard, comes_to, deaf, running, shut_down, start, until, within};

fn generation(tree: &SupervisorHandle, path: &str) -> u64 {
    tree.child_state(path).unwrap().generation
}

fn plain(child: ChildSpec) -> ChildSpec {
    child.no_fuse().backoff(None)
}

#[tokio::test(start_paused = true)]
async fn trees_may_be_deep() {
    let board = Switchboard::new();
    let mut spec = SupervisorSpec::one_for_one("s20").child(board.child("leaf"));
    for level in (0..20).rev() {
        spec = SupervisorSpec::one_for_all(format!("s{level}"))
            .supervisor(spec)
            .child(board.child(&format!("c{level}")));
    }
    let tree = TestTree::start(spec).await;
    let path = (1..=20)
        .map(|level| format!("s{level}/"))
        .collect::<String>()
        + "leaf";
    board.fail("leaf");
    tree.until_running(&path, 2).await;
    within(tree.restart_child("s1", &by())).await.unwrap();
    tree.until_running("s1", 2).await;
    assert_eq!(generation(&tree, &path), 3);
    tree.shutdown_clean().await;
    // The leaf and one child per level start and stop; the leaf's failure; all below s1 once more.
    assert_eq!(board.log().len(), 2 * 21 + 2 + 2 * 20);
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_generations_and_holds_and_drops_what_was_added() {
    let board = Switchboard::new();
    let inner = SupervisorSpec::one_for_one("n")
        .child(board.child("a"))
        .child(board.child("b"))
        .child(board.child("c").transient())
        .supervisor(SupervisorSpec::one_for_one("m").child(board.child("d")));
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").supervisor(inner)).await;
    within(tree.add_child("n", board.child("x"), &by()))
        .await
        .unwrap();
    within(tree.add_child("n/m", board.child("y"), &by()))
        .await
        .unwrap();
    board.fail("a");
    tree.until_running("n/a", 2).await;
    within(tree.pause_child("n/b", &by())).await.unwrap();
    board.complete("c");
    tree.until_status("n/c", "finished").await;
    let instance = tree.child_state("n/a").unwrap().instance;

    within(tree.restart_child("n", &by())).await.unwrap();
    tree.until_running("n", 2).await;
    assert_eq!(generation(&tree, "n/a"), 3);
    assert_eq!(generation(&tree, "n/m/d"), 2);
    assert_eq!(generation(&tree, "n/c"), 2, "it is begun anew");
    assert_eq!(tree.child_state("n/a").unwrap().instance, instance);
    let held = tree.child_state("n/b").unwrap();
    assert_eq!((held.status.as_str(), held.generation), ("paused", 1));
    assert!(tree.child_state("n/x").is_err(), "it ended with the life");
    assert!(tree.child_state("n/m/y").is_err());

    within(tree.resume_child("n/b", &by())).await.unwrap();
    tree.until_running("n/b", 2).await;
    within(tree.add_child("n", board.child("x"), &by()))
        .await
        .unwrap();
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn pausing_a_supervisor_stops_all_below_it_until_it_is_resumed() {
    let board = Switchboard::new();
    let inner = SupervisorSpec::one_for_one("n")
        .child(board.child("a"))
        .supervisor(SupervisorSpec::one_for_one("m").child(board.child("b")));
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").supervisor(inner)).await;
    within(tree.pause_child("n", &by())).await.unwrap();
    assert_eq!(board.log()[2..], ["-b1", "-a1"]);
    let error = within(tree.restart_child("n/a", &by())).await.unwrap_err();
    assert!(matches!(error, SupervisorError::NotApplicable { .. }));
    let error = within(tree.add_child("n", board.child("x"), &by()))
        .await
        .unwrap_err();
    assert!(matches!(error, SupervisorError::NotApplicable { .. }));
    within(tree.resume_child("n", &by())).await.unwrap();
    tree.until_running("n", 2).await;
    assert_eq!(board.log()[4..], ["+a2", "+b2"]);
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_between_two_lives_does_not_come_back() {
    let board = Switchboard::new();
    let inner = SupervisorSpec::one_for_one("n")
        .child(board.child("a"))
        .child(board.child("b"));
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").supervisor(inner)).await;
    within(tree.pause_child("n", &by())).await.unwrap();
    within(tree.remove_child("n/a", &by())).await.unwrap();
    within(tree.resume_child("n", &by())).await.unwrap();
    tree.until_running("n", 2).await;
    assert!(tree.child_state("n/a").is_err());
    assert_eq!(board.log(), ["+a1", "+b1", "-b1", "-a1", "+b2"]);
    tree.shutdown_clean().await;
}

/// A child whose first run blocks its worker thread, in one poll, until the sender is used.
fn stuck(id: &str) -> (ChildSpec, mpsc::Sender<()>) {
    let (release, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(Some(wait)));
    let child = ChildSpec::worker(id, move |ctx: TaskContext| {
        let wait = wait.lock().unwrap().take();
        async move {
            ctx.cancelled().await;
            if let Some(wait) = wait {
                let _ = wait.recv();
            }
        }
    });
    (child.grace(ms(20)), release)
}

// Real time, as threads are blocked; so a hang is not to take ten minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_life_waits_for_the_runs_of_the_old_and_revives_nothing_removed_meanwhile() {
    let test = async {
        let board = Switchboard::new();
        let (stuck, release) = stuck("stuck");
        let inner = SupervisorSpec::one_for_one("n")
            .abort_wait(ms(20))
            .child(stuck)
            .child(board.child("a"))
            .child(board.child("b"));
        let handle = start(SupervisorSpec::one_for_one("t").supervisor(inner)).await;
        within(handle.restart_child("n", &by())).await.unwrap();
        assert_eq!(generation(&handle, "n"), 2);
        // It waits for the thread; a command gets through.
        within(handle.remove_child("n/a", &by())).await.unwrap();
        assert_eq!(generation(&handle, "n/stuck"), 1);
        assert_eq!(generation(&handle, "n/b"), 1);
        release.send(()).unwrap();
        running(&handle, "n/b", 2).await;
        running(&handle, "n/stuck", 2).await;
        assert!(handle.child_state("n/a").is_err());
        assert!(!board.log().contains(&"+a2".to_owned()));
        assert!(shut_down(&handle).await.clean);
    };
    tokio::time::timeout(secs(20), test).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_life_that_is_dropped_aborts_its_children_and_the_next_waits_for_their_end() {
    let board = Switchboard::new();
    let policy = ChildPolicy {
        grace: Some(secs(2)),
        ..ChildPolicy::bare(RestartType::Permanent)
    };
    let deep = SupervisorSpec::one_for_one("m").child(deaf("e").grace(secs(60)));
    let inner = SupervisorSpec::one_for_one("n")
        .policy(policy)
        .child(board.child("a"))
        .supervisor(deep)
        .child(deaf("d").grace(secs(60)));
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").supervisor(inner)).await;
    within(tree.add_child("n", deaf("x").grace(secs(60)), &by()))
        .await
        .unwrap();
    let began = tokio::time::Instant::now();
    within(tree.restart_child("n", &by())).await.unwrap();
    tree.until_running("n", 2).await;
    assert_eq!(
        began.elapsed(),
        secs(2),
        "its own grace, not its children's"
    );
    for path in ["n/a", "n/m", "n/m/e", "n/d"] {
        let child = tree.child_state(path).unwrap();
        assert_eq!((child.status.as_str(), child.generation), ("running", 2));
    }
    assert!(tree.child_state("n/x").is_err());
    assert!(tree.health().is_healthy());
    let result = tree.shutdown_clean().await;
    assert_eq!(result.report.reconcile.tasks_alive, 0, "{result}");
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_without_a_grace_has_what_its_children_take() {
    let board = Switchboard::new();
    let inner = SupervisorSpec::one_for_one("n")
        .child(board.child("a"))
        .child(deaf("d").grace(secs(20)))
        .child(deaf("e").grace(secs(20)));
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").supervisor(inner)).await;
    let began = tokio::time::Instant::now();
    within(tree.restart_child("n", &by())).await.unwrap();
    assert_eq!(began.elapsed(), secs(40));
    tree.until_running("n/e", 2).await;
    assert_eq!(board.log(), ["+a1", "-a1", "+a2"], "nobody aborted it");
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn failures_travel_up_level_by_level() {
    let board = Switchboard::new();
    let minute = secs(60);
    let level = |id: &str| SupervisorSpec::one_for_one(id).intensity(1, minute);
    let spec = level("t").supervisor(
        level("n")
            .supervisor(level("m").child(plain(board.child("a"))))
            .child(board.child("b")),
    );
    let tree = TestTree::start(spec).await;
    // Each level lets one restart pass, and each restart is a new life below: 2 × 2 × 2 runs in all.
    for run in 2..=8 {
        board.fail("a");
        tree.until_running("n/m/a", run).await;
    }
    assert_eq!(generation(&tree, "n/m"), 4);
    assert_eq!(generation(&tree, "n"), 2);
    assert_eq!(generation(&tree, "n/b"), 2);
    board.fail("a");
    let outcome = within(tree.join()).await.outcome;
    assert!(matches!(outcome, ExitOutcome::GaveUp { .. }), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_gets_through_while_a_supervisor_starts_again() {
    let board = Switchboard::new();
    board.ready("a");
    let inner = SupervisorSpec::one_for_one("n")
        .child(board.explicit("a"))
        .child(board.child("b"));
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").supervisor(inner)).await;
    within(tree.restart_child("n", &by())).await.unwrap();
    tree.until(|| board.log().contains(&"+a2".to_owned())).await;
    tokio::time::sleep(secs(1)).await;
    assert!(!board.log().contains(&"+b2".to_owned()), "a is not ready");
    let result = tree.shutdown_clean().await;
    assert!(result.clean);
    assert_eq!(result.report.took, ms(0));
    assert_eq!(board.log().last().unwrap(), "-a2");
}

#[tokio::test(start_paused = true)]
async fn later_starts_that_fail_are_retried_with_commands_getting_through() {
    let board = Switchboard::new();
    let inner = SupervisorSpec::rest_for_one("n")
        .child(board.child("a"))
        .child(
            board
                .child("b")
                .backoff(rust_supervisor::Backoff::constant(secs(10))),
        );
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").supervisor(inner)).await;
    board.refuse("b", 5);
    within(tree.restart_child("n", &by())).await.unwrap();
    tree.until(|| board.log().contains(&"!b3".to_owned())).await;
    within(tree.pause_child("n/a", &by())).await.unwrap();
    tree.until_running("n/b", 7).await;
    assert_eq!(generation(&tree, "n"), 2);
    assert_eq!(tree.child_state("n/a").unwrap().status.as_str(), "paused");
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_runs_again_ends_no_group_restart_that_had_not_begun() {
    let board = Switchboard::new();
    let nested = SupervisorSpec::one_for_one("s").child(board.child("a"));
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").supervisor(nested)).await;
    within(tree.restart_child("s", &by())).await.unwrap();
    tree.until_running("s/a", 2).await;
    tree.until_running("s", 2).await;
    let mut events = tree.subscribe_events_from(1);
    tree.shutdown_clean().await;
    while let Some(item) = events.next().await {
        let kind = item.event().unwrap().kind;
        let ended = matches!(kind, EventKind::Tree(TreeEvent::GroupRestartEnded { .. }));
        assert!(!ended, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_as_a_child_restarts_and_does_nothing_else_unless_given_more() {
    let board = Switchboard::new();
    let minute = secs(60);
    let level = |id: &str| {
        SupervisorSpec::one_for_one(id)
            .intensity(0, minute)
            .child(plain(board.child(&format!("of_{id}"))))
    };
    let given = ChildPolicy {
        fuse: Some(FuseLimit {
            failures: 1,
            window: minute,
        }),
        backoff: Some(Backoff::constant(secs(7)).jitter(Jitter::None)),
        quarantine: Some(None),
        ..ChildPolicy::bare(RestartType::Permanent)
    };
    let tree = SupervisorSpec::one_for_one("t")
        .supervisor(level("plain"))
        .supervisor(level("given").policy(given));
    let handle = start(tree).await;
    let settings = handle.child_state("plain").unwrap().settings;
    assert_eq!(settings.restart, Some(RestartType::Permanent));
    assert_eq!(
        (
            settings.fuse,
            settings.backoff,
            settings.quarantine,
            settings.grace
        ),
        (None, None, None, None)
    );
    let intensity_used = || {
        let root = handle.current_state().root.supervisor;
        root.unwrap().intensity.used
    };
    board.fail("of_plain");
    running(&handle, "plain", 2).await;
    assert_eq!(intensity_used(), 1);

    let began = tokio::time::Instant::now();
    board.fail("of_given");
    running(&handle, "given", 2).await;
    assert_eq!(began.elapsed(), secs(7));
    board.fail("of_given");
    comes_to(&handle, "given", "quarantined").await;
    assert_eq!(intensity_used(), 1, "its fuse is charged instead");
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_new_life_begins_all_declared_children_again_but_temporary_ones_that_ended() {
    let board = Switchboard::new();
    let inner = SupervisorSpec::one_for_one("n")
        .child(board.child("ended").temporary())
        .child(board.child("goes_on").temporary())
        .child(board.child("done").transient())
        .child(board.child("hopeless"));
    let handle = start(SupervisorSpec::one_for_one("t").supervisor(inner)).await;
    board.complete("ended");
    until(|| handle.child_state("n/ended").is_err()).await;
    board.complete("done");
    comes_to(&handle, "n/done", "finished").await;
    board.fatal("hopeless");
    comes_to(&handle, "n/hopeless", "failed").await;
    within(handle.restart_child("n", &by())).await.unwrap();
    running(&handle, "n", 2).await;
    assert!(handle.child_state("n/ended").is_err());
    for path in ["n/goes_on", "n/done", "n/hopeless"] {
        let child = handle.child_state(path).unwrap();
        assert_eq!((child.status.as_str(), child.generation), ("running", 2));
    }
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_new_life_waits_for_no_backoff_of_the_life_before() {
    let slow = ChildSpec::worker("slow", |ctx: TaskContext| async move {
        ctx.cancelled().await;
        tokio::time::sleep(secs(3)).await;
    });
    let board = Switchboard::new();
    let hour = Backoff::constant(secs(3600)).jitter(Jitter::None);
    let inner = SupervisorSpec::one_for_all("n")
        .child(board.explicit("first").backoff(None))
        .child(slow)
        .child(board.child("last").backoff(hour));
    board.ready("first");
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").supervisor(inner)).await;
    board.fail("last");
    tree.until_status("n/slow", "stopping").await;
    within(tree.restart_child("n", &by())).await.unwrap();
    tree.until_status("n/first", "starting").await;
    // A group restart of the new life, before the last child has run in it.
    board.fail("first");
    tree.until(|| generation(&tree, "n/first") == 3).await;
    board.ready("first");
    tree.until_running("n/last", 2).await;
    tree.shutdown_clean().await;
}
