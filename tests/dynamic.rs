//! Children that come and go while their supervisor runs.

mod support;

use std::sync::{Mutex, mpsc};

use rust_supervisor::{
    AutoShutdown, Change, ChildSpec, DynamicChildren, ReadinessPolicy, StopCause, SupervisorError,
    SupervisorSpec, TaskContext, ms, secs,
};
use support::{Switchboard, by, comes_to, deaf, running, shut_down, start, until, within};

async fn idle(ctx: TaskContext) {
    ctx.cancelled().await;
}

#[tokio::test(start_paused = true)]
async fn an_added_child_starts_last_and_stops_first() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t").child(board.child("a"));
    let handle = start(tree).await;
    for id in ["b", "c"] {
        let added = within(handle.add_child("/", board.child(id), &by()))
            .await
            .unwrap();
        assert_eq!((added.change, added.generation), (Change::Done, 1));
        assert_eq!(added.path.to_string(), format!("/{id}"));
    }
    board.fail("b");
    running(&handle, "b", 2).await;
    assert!(shut_down(&handle).await.clean);
    assert_eq!(board.log()[5..], ["-c1", "-b2", "-a1"]);
}

#[tokio::test(start_paused = true)]
async fn an_added_child_belongs_to_the_group() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::rest_for_one("t")
        .child(board.child("a"))
        .child(board.child("b").backoff(None));
    let handle = start(tree).await;
    within(handle.add_child("/", board.child("c"), &by()))
        .await
        .unwrap();
    board.fail("b");
    running(&handle, "c", 2).await;
    assert_eq!(board.log()[3..], ["!b1", "-c1", "+b2", "+c2"]);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn adding_waits_for_readiness_and_takes_a_child_that_does_not_start_out_again() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let explicit = ReadinessPolicy::Explicit;
    let cases = [
        (
            ChildSpec::worker("x", |_| async { Err::<(), _>("no port") }),
            "no port",
        ),
        (
            ChildSpec::worker("x", |_| async { panic!("unlucky") }),
            "unlucky",
        ),
        (ChildSpec::worker("x", |_| async {}), "completed"),
        (
            ChildSpec::worker("x", idle)
                .readiness(explicit)
                .start_timeout(secs(3)),
            "not ready within",
        ),
        (
            deaf("x").readiness(explicit).start_timeout(secs(3)),
            "not ready within",
        ),
    ];
    for (child, why) in cases {
        match within(handle.add_child("/", child, &by())).await {
            Err(SupervisorError::StartFailed { path, reason }) => {
                assert_eq!(path.as_str(), "/x");
                assert!(reason.contains(why), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        assert!(handle.child_state("x").is_err(), "nothing of it is left");
        assert!(handle.health().is_healthy());
    }
    // The name is free, and the new one has nothing of the old.
    board.ready("x");
    let added = within(handle.add_child("/", board.explicit("x"), &by()))
        .await
        .unwrap();
    assert_eq!((added.generation, &*added.status), (1, "running"));
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_significant_child_that_cannot_be_added_ends_nobody() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(board.child("a"));
    let handle = start(tree).await;
    board.refuse("x", 2);
    for child in [board.child("x"), board.child("x").temporary()] {
        let error = within(handle.add_child("/", child.significant(), &by())).await;
        let error = error.unwrap_err();
        assert!(
            matches!(error, SupervisorError::StartFailed { .. }),
            "{error}"
        );
    }
    tokio::time::sleep(secs(60)).await;
    assert!(handle.is_alive());
    assert_eq!(handle.child_state("a").unwrap().status.as_str(), "running");
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_has_started_is_there_however_soon_it_fails() {
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let child = ChildSpec::worker("x", |ctx: TaskContext| async move {
        if ctx.generation() == 1 {
            ctx.mark_ready();
        }
        Err::<(), _>("again and again")
    });
    let child = child.readiness(ReadinessPolicy::Explicit).fuse(1, secs(60));
    let added = within(handle.add_child("/", child.backoff(None), &by())).await;
    assert_eq!(
        added.unwrap().status,
        "quarantined: fuse blown: more than 1 in 60s"
    );
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn starts_that_fail_at_once_each_name_their_own_child_and_reason() {
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let failing = |id: &'static str| {
        let handle = handle.clone();
        let child = ChildSpec::worker(id, move |_| async move {
            tokio::time::sleep(secs(1)).await;
            Err::<(), _>(format!("because of {id}"))
        });
        let child = child.readiness(ReadinessPolicy::Explicit);
        tokio::spawn(async move { handle.add_child("/", child, &by()).await })
    };
    let adding = ["a", "b", "c"].map(|id| (id, failing(id)));
    for (id, adding) in adding {
        match within(adding).await.unwrap() {
            Err(SupervisorError::StartFailed { path, reason }) => {
                assert_eq!(path.to_string(), format!("/{id}"));
                assert_eq!(reason, format!("failed: because of {id}"));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_added_changes_nothing() {
    use SupervisorError::{DuplicateId, InvalidDependency, InvalidId, NotDynamic};
    let board = Switchboard::new();
    let dynamic = |enabled, child_limit| DynamicChildren {
        enabled,
        child_limit,
    };
    let closed = SupervisorSpec::one_for_one("closed").dynamic(dynamic(false, None));
    let full = SupervisorSpec::one_for_one("full")
        .dynamic(dynamic(true, Some(2)))
        .child(board.child("one"));
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("a"))
        .supervisor(closed)
        .supervisor(full);
    let handle = start(tree).await;
    let add = async |parent: &str, child| {
        within(handle.add_child(parent, child, &by()))
            .await
            .map(|added| added.instance)
    };
    let error = add("/", board.child("a")).await.unwrap_err();
    assert!(matches!(error, DuplicateId { .. }), "{error}");
    for id in ["", "x/y"] {
        let error = add("/", board.child(id)).await.unwrap_err();
        assert!(matches!(error, InvalidId { .. }), "{error}");
    }
    for on in ["nobody", "x"] {
        let child = board.child("x").depends_on([on]);
        let error = add("/", child).await.unwrap_err();
        assert!(matches!(error, InvalidDependency { .. }), "{error}");
    }
    let error = add("closed", board.child("x")).await.unwrap_err();
    assert!(matches!(error, NotDynamic { .. }), "{error}");
    add("full", board.child("two")).await.unwrap();
    let error = add("full", board.child("three")).await.unwrap_err();
    assert!(error.to_string().contains("limit of 2"), "{error}");
    within(handle.remove_child("full/one", &by()))
        .await
        .unwrap();
    add("full", board.child("three")).await.unwrap();
    let log = board.log();
    assert!(!log.iter().any(|entry| entry.contains('x')), "{log:?}");
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_removed_child_is_stopped_and_its_name_is_free_at_once() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("a"))
        .child(board.child("b"));
    let handle = start(tree).await;
    board.fail("a");
    running(&handle, "a", 2).await;
    let old = handle.child_state("a").unwrap().instance;
    within(handle.pause_child("a", &by())).await.unwrap();
    within(handle.remove_child("a", &by())).await.unwrap();
    assert!(handle.child_state("a").is_err());
    let added = within(handle.add_child("/", board.child("a"), &by()))
        .await
        .unwrap();
    let new = handle.child_state("a").unwrap();
    assert!(new.instance > old);
    assert_eq!((added.instance, new.generation), (new.instance, 1));
    assert_eq!((new.status.as_str(), new.restarts), ("running", 0));
    assert!(new.last_exit.is_none(), "nothing of the old one is kept");
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_removed_run_is_told_why() {
    let told = std::sync::Arc::new(Mutex::new(None));
    let tell = told.clone();
    let child = ChildSpec::worker("a", move |ctx: TaskContext| {
        let tell = tell.clone();
        async move {
            ctx.cancelled().await;
            *tell.lock().unwrap() = ctx.stop_cause();
        }
    });
    let handle = start(SupervisorSpec::one_for_one("t").child(child)).await;
    within(handle.remove_child("a", &by())).await.unwrap();
    assert_eq!(*told.lock().unwrap(), Some(StopCause::Removal));
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn what_others_depend_on_is_not_removed() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("db"))
        .child(board.child("api").depends_on(["db"]));
    let handle = start(tree).await;
    within(handle.add_child("/", board.child("web").depends_on(["db"]), &by()))
        .await
        .unwrap();
    let error = within(handle.remove_child("db", &by())).await.unwrap_err();
    assert_eq!(
        error,
        SupervisorError::HasDependants {
            path: "/db".into(),
            dependants: "/api, /web".to_owned(),
        }
    );
    assert_eq!(handle.child_state("db").unwrap().status.as_str(), "running");
    for path in ["web", "api", "db"] {
        within(handle.remove_child(path, &by())).await.unwrap();
    }
    assert!(shut_down(&handle).await.clean);
    assert_eq!(board.log()[3..], ["-web1", "-api1", "-db1"]);
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_is_removed_with_all_below_it() {
    let board = Switchboard::new();
    let deep = SupervisorSpec::one_for_one("deep").child(board.child("c"));
    let inner = SupervisorSpec::one_for_one("n")
        .child(board.child("a"))
        .supervisor(deep)
        .child(board.child("b"));
    let tree = SupervisorSpec::one_for_one("t")
        .supervisor(inner)
        .child(board.child("z"));
    let handle = start(tree).await;
    within(handle.remove_child("n", &by())).await.unwrap();
    assert_eq!(board.log()[4..], ["-b1", "-c1", "-a1"]);
    assert!(handle.child_state("n/deep/c").is_err());
    assert_eq!(handle.current_state().iter().count(), 2, "the root and z");
    // A child may have the name now.
    within(handle.add_child("/", board.child("n"), &by()))
        .await
        .unwrap();
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_child_may_remove_itself() {
    use rust_supervisor::SupervisedTask;
    let child = ChildSpec::worker("a", |ctx: TaskContext| async move {
        tokio::task::yield_now().await;
        let handle = ctx.supervisor().unwrap().upgrade().unwrap();
        tokio::spawn(async move { handle.remove_child("a", &by()).await });
        ctx.cancelled().await;
    });
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    within(handle.add_child("/", child, &by())).await.unwrap();
    until(|| handle.child_state("a").is_err()).await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_removed_while_it_is_added_has_not_started() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let adding = {
        let (handle, child) = (handle.clone(), board.explicit("a"));
        tokio::spawn(async move { handle.add_child("/", child, &by()).await })
    };
    comes_to(&handle, "a", "starting").await;
    within(handle.remove_child("a", &by())).await.unwrap();
    let error = within(adding).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("removal"), "{error}");
    assert!(handle.child_state("a").is_err());
    assert_eq!(board.log(), ["+a1", "-a1"]);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_paused_or_restarted_while_it_is_added_is_there() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let add = |id: &str| {
        let (handle, child) = (handle.clone(), board.explicit(id).backoff(None));
        tokio::spawn(async move { handle.add_child("/", child, &by()).await })
    };
    let paused = add("a");
    comes_to(&handle, "a", "starting").await;
    within(handle.pause_child("a", &by())).await.unwrap();
    assert_eq!(within(paused).await.unwrap().unwrap().status, "paused");

    let restarted = add("b");
    comes_to(&handle, "b", "starting").await;
    within(handle.restart_child("b", &by())).await.unwrap();
    board.ready("b");
    assert_eq!(within(restarted).await.unwrap().unwrap().generation, 2);

    // Whether it starts, the run after the restart shows, and that one alone.
    let fails = add("c");
    comes_to(&handle, "c", "starting").await;
    board.refuse("c", 1);
    within(handle.restart_child("c", &by())).await.unwrap();
    board.ready("c");
    let error = within(fails).await.unwrap().unwrap_err();
    assert!(
        matches!(error, SupervisorError::StartFailed { .. }),
        "{error}"
    );
    assert!(handle.child_state("c").is_err());
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn removals_and_other_commands_at_once_leave_nothing_behind() {
    for order in 0..2 {
        let board = Switchboard::new();
        let tree = SupervisorSpec::one_for_one("t")
            .child(board.child("p"))
            .child(board.child("r"));
        let handle = start(tree).await;
        within(handle.pause_child("p", &by())).await.unwrap();
        let by = by();
        let (remove_p, remove_r) = (handle.remove_child("p", &by), handle.remove_child("r", &by));
        let others = async {
            let _ = tokio::join!(
                handle.resume_child("p", &by),
                handle.restart_child("r", &by)
            );
        };
        let removals = async {
            let (p, r) = tokio::join!(remove_p, remove_r);
            p.unwrap();
            r.unwrap();
        };
        within(async {
            match order {
                0 => tokio::join!(removals, others),
                _ => {
                    let (others, removals) = tokio::join!(others, removals);
                    (removals, others)
                }
            }
        })
        .await;
        tokio::time::sleep(secs(60)).await;
        assert!(handle.current_state().root.children.is_empty());
        let log = board.log();
        let begun = log.iter().filter(|entry| entry.starts_with('+')).count();
        assert_eq!(log.len(), 2 * begun, "all that began has ended: {log:?}");
        assert!(shut_down(&handle).await.clean);
    }
}

// Threads that block keep paused time from passing: in real time.
#[tokio::test]
async fn a_removed_run_that_cannot_be_ended_stays_accounted_for() {
    let (release, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(Some(wait));
    let stuck = ChildSpec::blocking("a", move |_: TaskContext| {
        if let Some(wait) = wait.lock().unwrap().take() {
            let _ = wait.recv();
        }
    });
    let inner = SupervisorSpec::one_for_one("n")
        .abort_wait(ms(10))
        .child(stuck.grace(ms(10)));
    let tree = SupervisorSpec::one_for_one("t")
        .abort_wait(ms(10))
        .supervisor(inner);
    let handle = start(tree).await;
    let board = Switchboard::new();
    within(handle.remove_child("n", &by())).await.unwrap();
    assert!(handle.child_state("n").is_err());
    let degraded = handle.health().degraded;
    assert_eq!(degraded.len(), 1, "{degraded:?}");
    assert_eq!(degraded[0].0.as_str(), "/n/a");
    within(handle.add_child("/", board.child("n"), &by()))
        .await
        .unwrap();
    release.send(()).unwrap();
    until(|| handle.health().is_healthy()).await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_pool_is_a_supervisor_whose_replicas_are_named_by_index() {
    let board = Switchboard::new();
    let replica = {
        let board = board.clone();
        move |_| board.child("settle").backoff(None).significant()
    };
    let storage = SupervisorSpec::rest_for_one("storage")
        .child(board.child("db"))
        .pool(3, replica);
    let handle = start(SupervisorSpec::one_for_one("t").supervisor(storage)).await;
    let paths: Vec<_> = handle
        .current_state()
        .iter()
        .map(|node| node.path.to_string())
        .collect();
    assert_eq!(
        paths[2..],
        [
            "/storage/db",
            "/storage/settle",
            "/storage/settle/0",
            "/storage/settle/1",
            "/storage/settle/2"
        ]
    );
    let of = |path: &str| handle.child_state(path).unwrap();
    assert!(of("storage/settle").significant, "that is the pool's");
    assert!(!of("storage/settle/1").significant);
    board.fail("1");
    running(&handle, "storage/settle/1", 2).await;
    assert_eq!(of("storage/settle/0").generation, 1);
    assert_eq!(of("storage/settle/2").generation, 1);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_pools_replicas_stop_side_by_side() {
    let replica = |_| {
        ChildSpec::worker("slow", |ctx: TaskContext| async move {
            ctx.cancelled().await;
            tokio::time::sleep(secs(3)).await;
        })
    };
    let handle = start(SupervisorSpec::one_for_one("t").pool(5, replica)).await;
    let result = shut_down(&handle).await;
    assert!(result.clean);
    assert_eq!(result.report.took, secs(3));
}

#[tokio::test(start_paused = true)]
async fn who_removes_a_child_that_is_being_removed_learns_that_it_was_so_already() {
    let slow = ChildSpec::worker("a", |ctx: TaskContext| async move {
        ctx.cancelled().await;
        tokio::time::sleep(secs(1)).await;
    });
    let handle = start(SupervisorSpec::one_for_one("t").child(slow)).await;
    let by = by();
    let (first, second) = within(async {
        tokio::join!(handle.remove_child("a", &by), handle.remove_child("a", &by))
    })
    .await;
    assert_eq!(first.unwrap().change, Change::Done);
    assert_eq!(second.unwrap().change, Change::AlreadySo);
}

#[tokio::test(start_paused = true)]
async fn nobody_comes_to_depend_on_a_child_that_is_being_removed_or_held() {
    let slow = ChildSpec::worker("a", |ctx: TaskContext| async move {
        ctx.cancelled().await;
        tokio::time::sleep(secs(1)).await;
    });
    let tree = SupervisorSpec::one_for_one("t")
        .child(slow)
        .child(ChildSpec::worker("held", idle));
    let handle = start(tree).await;
    within(handle.pause_child("held", &by())).await.unwrap();
    let (meta, other) = (by(), handle.clone());
    let removal = tokio::spawn(async move { other.remove_child("a", &meta).await });
    comes_to(&handle, "a", "stopping").await;
    for on in ["a", "held"] {
        let dependant = ChildSpec::worker("b", idle).depends_on([on]);
        let error = within(handle.add_child("/", dependant, &by())).await;
        let Err(SupervisorError::InvalidDependency { on: named, .. }) = error else {
            panic!("{error:?}")
        };
        assert_eq!(named, on);
    }
    within(removal).await.unwrap().unwrap();
}
