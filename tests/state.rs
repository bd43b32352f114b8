//! What a tree says it is: through a child's life, in words and in JSON.

mod support;

use rust_supervisor::{
    Backoff, BoxError, ChildSpec, ChildStatus, CommandMeta, Jitter, NodeState, ReadinessPolicy,
    RestartAction, RestartType, SupervisorError, SupervisorHandle, SupervisorSpec, TaskContext,
    TaskExit, ms, secs,
    test_util::{Script, TestTree, by},
};
use serde_json::json;
use support::{Switchboard, within};

fn steady(ms_: u64) -> Backoff {
    Backoff::constant(ms(ms_)).jitter(Jitter::None)
}

fn state(tree: &SupervisorHandle, path: &str) -> NodeState {
    tree.child_state(path).unwrap()
}

fn status(tree: &SupervisorHandle, path: &str) -> String {
    state(tree, path).status.as_str().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_status_for_every_turn_of_a_life() {
    let slow = Script::new()
        .fails(1, "too early")
        .after(secs(1))
        .never_ready();
    let slow = ChildSpec::worker("a", slow.task()).readiness(ReadinessPolicy::Explicit);
    let spec = SupervisorSpec::one_for_one("t");
    let tree = TestTree::start(spec).await;
    let adding = tokio::spawn({
        let tree = tree.clone();
        let first = Script::new().then_runs().stops_after(secs(2));
        let first = ChildSpec::worker("first", first.task());
        async move { within(tree.add_child("/", first, &by())).await }
    });
    adding.await.unwrap().unwrap();
    // Failing its first start, the child is taken out again.
    let adding = tokio::spawn({
        let (tree, slow) = (tree.clone(), slow.clone());
        async move { within(tree.add_child("/", slow, &by())).await }
    });
    tree.until(|| tree.child_state("a").is_ok_and(|a| a.generation == 1))
        .await;
    assert_eq!(status(&tree, "a"), "starting");
    assert!(!state(&tree, "a").ready);
    adding.await.unwrap().unwrap_err();
    assert!(tree.child_state("a").is_err());

    assert_eq!(status(&tree, "first"), "running");
    let pausing = tokio::spawn({
        let tree = tree.clone();
        async move { within(tree.pause_child("first", &by())).await }
    });
    tree.until_status("first", "stopping").await;
    assert_eq!(state(&tree, "first").reason.as_deref(), Some("pause"));
    pausing.await.unwrap().unwrap();
    let paused = state(&tree, "first");
    assert_eq!(paused.status, ChildStatus::Paused);
    assert_eq!((paused.ready, paused.generation), (false, 1));
    assert_eq!(paused.last_exit.unwrap().exit, TaskExit::Cancelled);
    tokio::time::sleep(secs(7)).await;
    assert!(state(&tree, "first").since >= secs(7));
    within(tree.resume_child("first", &by())).await.unwrap();
    tree.until_running("first", 2).await;
    tree.shutdown_clean().await;
    assert_eq!(status(&tree, "first"), "finished");
    assert_eq!(status(&tree, "/"), "finished");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_with_its_decision_and_what_is_left_of_the_wait() {
    let board = Switchboard::new();
    let child = board.child("a").backoff(steady(5000)).fuse(3, secs(60));
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(child)).await;
    board.fail("a");
    tree.until_status("a", "backing_off").await;
    let began = state(&tree, "a").remaining.unwrap();
    tokio::time::sleep(secs(2)).await;
    let waiting = state(&tree, "a");
    assert_eq!(waiting.remaining, Some(began - secs(2)));
    assert_eq!(waiting.exits, [(TaskExit::Failed, 1)].into());
    let last = waiting.last_exit.unwrap();
    assert_eq!((last.generation, last.exit), (1, TaskExit::Failed));
    assert_eq!(last.message.as_deref(), Some("as ordered"));
    assert_eq!(last.ago, secs(5) - began + secs(2));
    let decision = last.decision.unwrap();
    assert_eq!(decision.action, RestartAction::Restart { delay: secs(5) });
    let fuse = waiting.fuse.unwrap();
    assert_eq!((fuse.used, fuse.limit.failures, fuse.blown), (1, 3, false));

    tree.until_running("a", 2).await;
    let again = state(&tree, "a");
    assert_eq!((again.restarts, again.attempt, again.ready), (1, 2, true));
    assert_eq!(again.remaining, None);
    board.panic("a");
    tree.until_running("a", 3).await;
    board.complete("a");
    tree.until_running("a", 4).await;
    let counted = state(&tree, "a").exits;
    let once = [TaskExit::Completed, TaskExit::Failed, TaskExit::Panicked];
    assert_eq!(counted, once.map(|exit| (exit, 1)).into());
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_says_why_and_for_how_long() {
    let board = Switchboard::new();
    let child = board
        .child("a")
        .backoff(None)
        .fuse(0, secs(60))
        .quarantine_for(secs(30));
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(child)).await;
    board.fail("a");
    tree.until_status("a", "quarantined").await;
    let held = state(&tree, "a");
    let reason = held.reason.unwrap();
    assert_eq!(&*reason, "fuse blown: more than 0 in 60s");
    assert!(held.fuse.unwrap().blown);
    assert!(held.remaining.unwrap() > secs(29));
    tree.until_running("a", 2).await;
    assert_eq!(state(&tree, "a").fuse, None, "a release makes all as new");

    within(tree.quarantine_child("a", &by())).await.unwrap();
    let held = state(&tree, "a");
    assert_eq!(held.reason.as_deref(), Some("by test: to see what happens"));
    assert_eq!(held.remaining, None);
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_a_run_and_of_its_settings() {
    let child = ChildSpec::worker("a", |ctx: TaskContext| async move {
        ctx.spawn(std::future::pending::<()>());
        ctx.heartbeat();
        while ctx
            .run_until_cancelled(tokio::time::sleep(secs(2)))
            .await
            .is_some()
        {
            ctx.heartbeat();
        }
    })
    .heartbeat_within(secs(5))
    .fuse(4, secs(40))
    .backoff(steady(700))
    .grace(secs(9))
    .significant()
    .tags(["payments", "eu"]);
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(child)).await;
    tokio::time::sleep(ms(5500)).await;
    let known = state(&tree, "a");
    assert_eq!(known.heartbeat_age, Some(ms(1500)));
    assert!(known.polls.polls >= 3, "{:?}", known.polls);
    assert!(known.polls.longest <= known.polls.busy);
    assert_eq!(known.helpers.len(), 1);
    assert!(known.helpers[0].name.starts_with("tests/state.rs:"));
    assert!(known.significant);
    assert_eq!(known.tags, ["payments", "eu"]);
    let settings = known.settings;
    assert_eq!(settings.restart, Some(RestartType::Permanent));
    assert_eq!(settings.fuse.unwrap().failures, 4);
    assert_eq!(settings.backoff, Some(steady(700)));
    assert_eq!(settings.quarantine, Some(None));
    assert_eq!(settings.grace, Some(secs(9)));
    assert_eq!(settings.stale_after, Some(secs(5)));
    assert_eq!(settings.start_timeout, Some(secs(30)));
}

#[tokio::test(start_paused = true)]
async fn supervisors_show_strategy_group_restarts_and_intensity() {
    let board = Switchboard::new();
    let spec = SupervisorSpec::one_for_one("t").supervisor(
        SupervisorSpec::rest_for_one("n")
            .intensity(5, secs(60))
            .child(board.child("x").backoff(None))
            .child(board.child("y")),
    );
    let tree = TestTree::start(spec).await;
    board.fail("x");
    tree.until_running("n/y", 2).await;
    let supervisor = state(&tree, "n").supervisor.unwrap();
    assert_eq!(supervisor.group_restarts, 1);
    assert_eq!(
        (supervisor.intensity.used, supervisor.intensity.blown),
        (1, false)
    );
    let paths: Vec<_> = tree
        .current_state()
        .iter()
        .map(|node| node.path.to_string())
        .collect();
    assert_eq!(paths, ["/", "/n", "/n/x", "/n/y"]);
    assert!(state(&tree, "n/x").supervisor.is_none());
    assert_eq!(state(&tree, "/").children.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_path_is_answered_with_the_nearest_one() {
    let board = Switchboard::new();
    let spec = SupervisorSpec::one_for_one("t")
        .child(board.child("gateway"))
        .supervisor(SupervisorSpec::one_for_one("storage").child(board.child("database")));
    let tree = TestTree::start(spec).await;
    let nearest = |path: &str| match tree.child_state(path) {
        Err(SupervisorError::UnknownPath { nearest, .. }) => nearest.map(|path| path.to_string()),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        nearest("storage/databse").as_deref(),
        Some("/storage/database")
    );
    assert_eq!(nearest("/gatway").as_deref(), Some("/gateway"));
    assert_eq!(nearest("gateway/deeper").as_deref(), Some("/gateway"));
    assert_eq!(nearest("zzzz"), None);
    let error = tree.child_state("gatway").unwrap_err();
    assert_eq!(
        error.to_string(),
        "no child at /gatway; did you mean /gateway?"
    );
}

/// A tree with something to say.
async fn telling() -> (TestTree, Switchboard) {
    let board = Switchboard::new();
    let crashing = board
        .child("crashing")
        .backoff(steady(8000))
        .fuse(5, secs(60));
    let spec = SupervisorSpec::one_for_one("payments")
        .child(board.child("gateway"))
        .child(crashing)
        .supervisor(
            SupervisorSpec::one_for_all("storage")
                .child(board.child("database"))
                .child(board.child("cache")),
        )
        .child(ChildSpec::job("migrate", |_: TaskContext| async {
            Ok::<(), BoxError>(())
        }));
    let tree = TestTree::start(spec).await;
    tokio::time::sleep(secs(3600)).await;
    board.fail("crashing");
    tree.until_running("crashing", 2).await;
    board.fail("crashing");
    within(tree.quarantine_child("storage/cache", &by()))
        .await
        .unwrap();
    tokio::time::sleep(secs(5)).await;
    (tree, board)
}

#[tokio::test(start_paused = true)]
async fn a_tree_is_readable_for_people() {
    let (tree, _board) = telling().await;
    assert_eq!(
        tree.current_state().to_string(),
        "\
payments up 1:00:13, OneForOne
├─ gateway        running
├─ crashing       backing off for another 3.0s  run 2 (2 failed)  fuse 2 of 5  last: as ordered (5s ago)
├─ storage        running  OneForAll
│  ├─ database       running
│  └─ cache          quarantined: by test: to see what happens
└─ migrate        finished"
    );
    assert_eq!(
        state(&tree, "gateway").to_string(),
        "gateway        running"
    );
}

#[tokio::test(start_paused = true)]
async fn a_state_in_json() {
    let (tree, _board) = telling().await;
    let state = serde_json::to_value(tree.current_state()).unwrap();
    assert_eq!(state["name"], "payments");
    assert_eq!(state["as_of"], tree.current_state().as_of);
    assert!(state["epoch"].is_string());
    assert_eq!(state["root"]["path"], "/");
    assert_eq!(state["root"]["supervisor"]["strategy"], "OneForOne");
    let mut child = state["root"]["children"][1].clone();
    for varying in ["sequence", "polls", "fuse", "since_ms"] {
        assert!(!child[varying].take().is_null(), "{varying}");
    }
    assert!(!child["last_exit"]["decision"].take().is_null());
    assert_eq!(
        child,
        json!({
            "path": "/crashing", "id": "crashing", "instance": 2,
            "status": "backing_off", "reason": null, "remaining_ms": 3000, "ready": false,
            "generation": 2, "attempt": 1, "restarts": 1, "since_ms": null,
            "exits": {"failed": 2},
            "last_exit": {
                "generation": 2, "exit": "failed", "message": "as ordered", "decision": null,
                "ago_ms": 5000,
            },
            "fuse": null, "heartbeat_age_ms": null, "polls": null, "stuck_ms": null, "helpers": [],
            "significant": false, "tags": [], "sequence": null, "supervisor": null,
            "children": [],
        })
    );
    let held = &state["root"]["children"][2]["children"][1];
    assert_eq!(held["status"], "quarantined");
    assert_eq!(held["reason"], "by test: to see what happens");
}

#[tokio::test(start_paused = true)]
async fn statuses_are_those_of_the_whole_state() {
    let (tree, _board) = telling().await;
    let state = tree.current_state();
    let mut told: Vec<_> = tree
        .statuses()
        .into_iter()
        .map(|node| (node.path, node.status))
        .collect();
    for (path, status) in &told {
        assert_eq!(tree.child_status(path).as_ref(), Ok(status));
        assert_eq!(
            tree.child_status(path.as_str().trim_start_matches('/'))
                .as_ref(),
            Ok(status)
        );
    }
    let mut all: Vec<_> = state
        .iter()
        .filter(|node| !node.path.is_root())
        .map(|node| (node.path.clone(), node.status.clone()))
        .collect();
    told.sort_by(|a, b| a.0.cmp(&b.0));
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(told, all);
    assert_eq!(tree.child_status("/"), Ok(state.root.status));
    for unknown in ["/storage/cash", "/migrate/below", "nobody"] {
        let error = tree.child_status(unknown).unwrap_err();
        assert!(
            matches!(error, SupervisorError::UnknownPath { .. }),
            "{error}"
        );
    }
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn reports_and_health_in_json() {
    let (tree, _board) = telling().await;
    let health = serde_json::to_value(tree.health()).unwrap();
    assert_eq!(
        health,
        json!({
            "control_plane": "running",
            "children": {"running": 3, "backing_off": 1, "quarantined": 1, "finished": 1},
            "degraded": [["/storage/cache", "quarantined: by test: to see what happens"]],
        })
    );
    let result = serde_json::to_value(tree.shutdown_clean().await).unwrap();
    assert_eq!(
        result["report"]["requested"],
        json!({"requested_by": "test", "reason": "to see what happens"})
    );
    let children = result["report"]["children"].as_array().unwrap();
    let migrate = children.iter().find(|child| child["path"] == "/migrate");
    let migrate = migrate.unwrap();
    assert_eq!(
        *migrate,
        json!({
            "path": "/migrate", "generation": 1, "status": "already_exited", "took_ms": 0,
            "sequence": migrate["sequence"].as_u64().unwrap(),
        })
    );
    assert_eq!(
        result["report"]["reconcile"],
        json!({
            "children": 6, "tasks_alive": 0, "helpers_alive": 0, "stragglers": [],
            "socket": "not_owned",
        })
    );
    let joined = serde_json::to_value(within(tree.join()).await).unwrap();
    assert_eq!(joined["outcome"], json!({"outcome": "shut_down"}));
    assert_eq!(joined["shutdown"], result);
}

#[test]
fn nobody_commands_without_a_name_and_a_reason() {
    for (who, why) in [("", "x"), ("x", ""), (" \t\n", "x"), ("x", "\u{3000} ")] {
        assert!(CommandMeta::new(who, why).is_err(), "{who:?} {why:?}");
        let json = json!({"requested_by": who, "reason": why});
        assert!(serde_json::from_value::<CommandMeta>(json).is_err());
    }
    for json in [
        json!({"requested_by": "x"}),
        json!({"reason": "x"}),
        json!({"requested_by": "x", "reason": null}),
        json!({"requested_by": "x", "reason": "y", "more": 1}),
    ] {
        assert!(serde_json::from_value::<CommandMeta>(json).is_err());
    }
    let meta = CommandMeta::new(" alice ", " because ").unwrap();
    assert_eq!((meta.requested_by(), meta.reason()), ("alice", "because"));
    let json = serde_json::to_value(&meta).unwrap();
    assert_eq!(json, json!({"requested_by": "alice", "reason": "because"}));
    assert_eq!(serde_json::from_value::<CommandMeta>(json).unwrap(), meta);
}
