//! Children that the program itself adds and removes, without a command.

mod support;

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::Poll,
};

use rust_supervisor::{
    AddedChild, Audit, Change, ChildSpec, ChildStatus, DynamicChildren, EventItem, ReadinessPolicy,
    RestartType, ShutdownOrder, SupervisedTask, SupervisorError, SupervisorHandle, SupervisorSpec,
    TaskContext, ms, secs, service_fn,
};
use support::{Switchboard, at_hand, by, comes_to, deaf, running, shut_down, start, until, within};

async fn idle(ctx: TaskContext) {
    ctx.cancelled().await;
}

/// What happened at a path, by name.
fn told(handle: &SupervisorHandle, path: &str) -> Vec<&'static str> {
    let items = at_hand(&mut handle.subscribe_events_from(1));
    let events = items.iter().filter_map(|item| match item {
        EventItem::Event(event) => Some(event),
        EventItem::Gap { .. } => None,
    });
    events
        .filter(|event| event.path.as_str() == path)
        .map(|event| event.kind.name())
        .collect()
}

async fn add(handle: &SupervisorHandle, child: ChildSpec) -> AddedChild {
    let children = handle.children("/").unwrap();
    within(children.add(child)).await.unwrap()
}

/// Begins, and goes away.
async fn begin<F: Future>(future: F) {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_child_comes_and_goes_as_events_and_by_no_command() {
    let handle = start(SupervisorSpec::one_for_one("t").audit(Audit::memory())).await;
    let added = add(&handle, ChildSpec::worker("a", idle)).await;
    assert_eq!(added.path().as_str(), "/a");
    assert_eq!(added.status(), ChildStatus::Running);
    let state = handle.child_state("a").unwrap();
    assert_eq!((state.instance, state.generation), (added.instance(), 1));
    assert_eq!(within(added.remove()).await, Ok(Change::Done));
    assert!(handle.child_state("a").is_err());
    let whole_life = [
        "child_added",
        "starting",
        "ready",
        "exited",
        "restart_decided",
        "removed",
    ];
    assert_eq!(told(&handle, "/a"), whole_life);
    assert_eq!(handle.audit_records(), []);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_start_is_taken_out_again_and_its_name_is_free() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    board.refuse("a", 1);
    let children = handle.children("/").unwrap();
    let error = within(children.add(board.child("a"))).await.unwrap_err();
    assert!(matches!(error, SupervisorError::StartFailed { .. }));
    assert!(handle.child_state("a").is_err());
    within(children.add(board.child("a"))).await.unwrap();
    let taken = within(children.add(board.child("a"))).await.unwrap_err();
    assert!(matches!(taken, SupervisorError::DuplicateId { .. }));
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_child_whose_adder_went_away_stays_if_it_starts() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let children = handle.children("/").unwrap();
    begin(children.add(board.explicit("a"))).await;
    comes_to(&handle, "a", "starting").await;
    board.ready("a");
    running(&handle, "a", 1).await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_child_whose_adder_went_away_is_taken_out_if_it_does_not_start() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let children = handle.children("/").unwrap();
    begin(children.add(board.explicit("a"))).await;
    comes_to(&handle, "a", "starting").await;
    board.fail("a");
    until(|| handle.child_state("a").is_err()).await;
    assert_eq!(told(&handle, "/a").last(), Some(&"removed"));
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_child_whose_adder_went_away_as_it_was_taken_out_is_taken_out() {
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let children = handle.children("/").unwrap();
    // Without a watchdog it is ended by whoever adds it. Only then it says that it is ready, and has to be aborted.
    let late = service_fn(|ctx: TaskContext| async move {
        ctx.cancelled().await;
        ctx.mark_ready();
        std::future::pending::<()>().await;
    });
    let late = ChildSpec::new("a", late)
        .readiness(ReadinessPolicy::Explicit)
        .start_timeout(secs(1));
    let added = tokio::time::timeout(ms(1050), children.add(late)).await;
    assert!(added.is_err(), "it is being taken out");
    assert!(handle.child_state("a").is_ok());
    until(|| handle.child_state("a").is_err()).await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_child_whose_remover_went_away_is_removed() {
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let added = add(&handle, deaf("a").grace(secs(1))).await;
    begin(added.remove()).await;
    comes_to(&handle, "a", "stopping").await;
    // Who comes later waits for the same.
    assert_eq!(within(added.remove()).await, Ok(Change::AlreadySo));
    until(|| handle.child_state("a").is_err()).await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn an_added_child_is_not_the_next_one_of_its_name() {
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let first = add(&handle, ChildSpec::worker("a", idle)).await;
    within(handle.remove_child("a", &by())).await.unwrap();
    let second = add(&handle, ChildSpec::worker("a", idle)).await;
    assert_eq!(within(first.remove()).await, Ok(Change::AlreadySo));
    assert!(second.instance() > first.instance());
    assert_eq!(second.status(), ChildStatus::Running);
    assert_eq!(handle.child_state("a").unwrap().instance, second.instance());
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_temporary_child_that_ended_has_gone_by_itself() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let added = add(&handle, board.child("a").restart(RestartType::Temporary)).await;
    board.complete("a");
    until(|| handle.child_state("a").is_err()).await;
    assert_eq!(within(added.remove()).await, Ok(Change::AlreadySo));
    assert_eq!(told(&handle, "/a").last(), Some(&"removed"));
    assert!(shut_down(&handle).await.clean);
}

// Threads that block keep paused time from passing: in real time.
#[tokio::test]
async fn a_run_that_cannot_be_ended_lingers_and_holds_nobody_up() {
    let (release, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let stuck = ChildSpec::blocking("a", move |_: TaskContext| {
        let _ = wait.lock().unwrap().recv();
    });
    let handle = start(SupervisorSpec::one_for_one("t").abort_wait(ms(10))).await;
    let added = add(&handle, stuck.grace(ms(10))).await;
    assert_eq!(within(added.remove()).await, Ok(Change::Lingering));
    assert!(handle.child_state("a").is_err());
    assert_eq!(handle.health().degraded.len(), 1);
    release.send(()).unwrap();
    until(|| handle.health().is_healthy()).await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn what_refuses_commands_does_not_hinder_the_program() {
    let tree = SupervisorSpec::one_for_one("t").control_channel_capacity(1);
    let handle = start(tree).await;
    let children = handle.children("/").unwrap();
    let busy = add(&handle, deaf("busy").grace(secs(1))).await;
    let by = by();
    let removal = handle.remove_child("busy", &by);
    let mut removal = std::pin::pin!(removal);
    begin(removal.as_mut()).await;
    let refused = within(handle.pause_child("busy", &by)).await.unwrap_err();
    assert!(matches!(refused, SupervisorError::Busy { .. }));
    let added = within(children.add(ChildSpec::worker("a", idle))).await;
    assert_eq!(within(added.unwrap().remove()).await, Ok(Change::Done));
    within(removal).await.unwrap();
    assert_eq!(within(busy.remove()).await, Ok(Change::AlreadySo));

    within(handle.shutdown(&by)).await.unwrap();
    let added = within(children.add(ChildSpec::worker("a", idle))).await;
    assert_eq!(within(added.unwrap().remove()).await, Ok(Change::Done));
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_takes_no_children_takes_none() {
    let full = DynamicChildren {
        enabled: true,
        child_limit: Some(1),
    };
    let closed = DynamicChildren {
        enabled: false,
        child_limit: None,
    };
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .supervisor(SupervisorSpec::one_for_one("full").dynamic(full))
        .supervisor(SupervisorSpec::one_for_one("closed").dynamic(closed))
        .supervisor(SupervisorSpec::one_for_one("held"))
        .child(board.child("worker"));
    let handle = start(tree).await;
    let full = handle.children("full").unwrap();
    within(full.add(ChildSpec::worker("a", idle)))
        .await
        .unwrap();
    for path in ["full", "closed"] {
        let children = handle.children(path).unwrap();
        assert_eq!(children.supervisor().as_str(), format!("/{path}"));
        let refused = within(children.add(ChildSpec::worker("b", idle))).await;
        let error = refused.unwrap_err();
        assert!(
            matches!(error, SupervisorError::NotDynamic { .. }),
            "{error}"
        );
    }
    within(handle.pause_child("held", &by())).await.unwrap();
    let held = handle.children("held").unwrap();
    let error = within(held.add(ChildSpec::worker("b", idle)))
        .await
        .unwrap_err();
    assert!(
        matches!(error, SupervisorError::NotApplicable { .. }),
        "{error}"
    );
    let error = handle.children("worker").unwrap_err();
    assert!(
        matches!(error, SupervisorError::NotASupervisor { .. }),
        "{error}"
    );
    let error = handle.children("nobody").unwrap_err();
    assert!(
        matches!(error, SupervisorError::UnknownPath { .. }),
        "{error}"
    );
    assert!(shut_down(&handle).await.clean);
    let error = within(held.add(ChildSpec::worker("b", idle)))
        .await
        .unwrap_err();
    assert_eq!(error, SupervisorError::ShuttingDown);
}

#[tokio::test(start_paused = true)]
async fn siblings_that_depend_on_a_child_keep_it() {
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let needed = add(&handle, ChildSpec::worker("a", idle)).await;
    let needs = add(&handle, ChildSpec::worker("b", idle).depends_on(["a"])).await;
    let error = within(needed.remove()).await.unwrap_err();
    assert!(
        matches!(error, SupervisorError::HasDependants { .. }),
        "{error}"
    );
    assert_eq!(needed.status(), ChildStatus::Running);
    within(needs.remove()).await.unwrap();
    assert_eq!(within(needed.remove()).await, Ok(Change::Done));
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn children_are_of_use_in_each_life_of_their_supervisor() {
    let board = Switchboard::new();
    let inner = SupervisorSpec::one_for_one("inner")
        .intensity(0, secs(1))
        .child(board.child("a").no_fuse());
    let handle = start(SupervisorSpec::one_for_one("t").supervisor(inner)).await;
    let children = handle.children("inner").unwrap();
    let added = within(children.add(board.child("b"))).await.unwrap();
    board.fail("a");
    running(&handle, "inner/a", 2).await;
    assert_eq!(within(added.remove()).await, Ok(Change::AlreadySo));
    within(children.add(board.child("b"))).await.unwrap();
    assert_eq!(board.log(), ["+a1", "+b1", "!a1", "-b1", "+a2", "+b1"]);
    assert!(shut_down(&handle).await.clean);
}

/// An acceptor, as servers have it: what it adds ends by itself, or with the tree.
#[tokio::test(start_paused = true)]
async fn a_child_adds_others_and_keeps_nobody_alive() {
    let kept = Arc::new(());
    let witness = kept.clone();
    let acceptor = ChildSpec::worker("acceptor", move |ctx: TaskContext| {
        let witness = witness.clone();
        async move {
            let tree = ctx.supervisor().unwrap().upgrade().unwrap();
            let sessions = tree.children("/sessions").unwrap();
            drop(tree);
            for number in 0.. {
                let (mine, all) = (witness.clone(), sessions.clone());
                let session = ChildSpec::job(number.to_string(), move |ctx: TaskContext| {
                    let hold = (mine.clone(), all.clone());
                    async move {
                        ctx.run_until_cancelled(tokio::time::sleep(ms(5))).await;
                        drop(hold);
                    }
                });
                let Ok(_session) = sessions.add(session.restart(RestartType::Temporary)).await
                else {
                    break;
                };
                if ctx
                    .run_until_cancelled(tokio::time::sleep(ms(1)))
                    .await
                    .is_none()
                {
                    break;
                }
            }
        }
    });
    let tree = SupervisorSpec::one_for_one("t")
        .supervisor(SupervisorSpec::one_for_one("sessions"))
        .child(acceptor);
    let handle = start(tree).await;
    running(&handle, "sessions/20", 1).await;
    let sessions = handle.child_state("sessions").unwrap().children.len();
    assert!((4..=6).contains(&sessions), "{sessions}");
    assert!(shut_down(&handle).await.clean);
    drop(handle);
    until(|| Arc::strong_count(&kept) == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_the_children_and_nobody_else_does() {
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let (children, by) = (handle.children("/").unwrap(), by());
    let added = add(&handle, deaf("a").grace(secs(1))).await;
    let mut shutdown = std::pin::pin!(handle.shutdown_tree(&by));
    begin(shutdown.as_mut()).await;
    for over in [false, true] {
        assert_eq!(added.status() == ChildStatus::Aborted, over);
        let removed = within(added.remove()).await;
        assert_eq!(removed, Err(SupervisorError::ShuttingDown));
        let refused = within(children.add(ChildSpec::worker("b", idle))).await;
        assert_eq!(refused.unwrap_err(), SupervisorError::ShuttingDown);
        if !over {
            let result = within(shutdown.as_mut()).await.unwrap();
            assert!(result.clean, "{result}");
            assert_eq!(result.report.children.len(), 1);
        }
    }
    assert!(!told(&handle, "/a").contains(&"removed"));
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_is_gone_has_no_children() {
    let inner = SupervisorSpec::one_for_one("inner");
    let handle = start(SupervisorSpec::one_for_one("t").supervisor(inner)).await;
    let children = handle.children("inner").unwrap();
    let added = within(children.add(ChildSpec::worker("a", idle)))
        .await
        .unwrap();
    within(handle.remove_child("inner", &by())).await.unwrap();
    assert_eq!(within(added.remove()).await, Ok(Change::AlreadySo));
    let refused = within(children.add(ChildSpec::worker("b", idle))).await;
    assert!(matches!(
        refused.unwrap_err(),
        SupervisorError::UnknownPath { .. } | SupervisorError::NotApplicable { .. }
    ));
    assert!(shut_down(&handle).await.clean);
}

// On real threads: what is added while a life begins is of that life, or refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_added_as_its_supervisor_begins_again_is_of_one_life() {
    const LIVES: u64 = 40;
    let inner = SupervisorSpec::one_for_one("inner").shutdown_order(ShutdownOrder::Parallel);
    let handle = start(SupervisorSpec::one_for_one("t").supervisor(inner)).await;
    let children = handle.children("inner").unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let adders: Vec<_> = (0..2)
        .map(|adder| {
            let (children, over) = (children.clone(), over.clone());
            tokio::spawn(async move {
                let mut added = 0;
                for number in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let child = ChildSpec::worker(format!("{adder}-{number}"), idle);
                    match in_real_time(children.add(child)).await {
                        Ok(_) => added += 1,
                        Err(_) => tokio::task::yield_now().await,
                    }
                }
                added
            })
        })
        .collect();
    let by = by();
    for life in 2..=LIVES {
        // As many as take a while to be taken out.
        while handle.child_state("inner").unwrap().children.len() < 200 {
            tokio::task::yield_now().await;
        }
        let restarted = in_real_time(handle.restart_child("inner", &by)).await;
        assert_eq!(restarted.unwrap().generation, life);
    }
    over.store(true, Ordering::Relaxed);
    for adder in adders {
        assert!(adder.await.unwrap() > 0);
    }
    let result = in_real_time(handle.shutdown_tree(&by)).await.unwrap();
    assert!(result.clean, "{result}");
}

async fn in_real_time<F: Future>(future: F) -> F::Output {
    let answer = tokio::time::timeout(secs(20), future).await;
    answer.expect("it comes to an end")
}
