//! What a tree tells of itself: one sequence, in order, each event tied to what caused it.

mod support;

use rust_supervisor::{
    Backoff, ChildSpec, EventItem, EventKind, Jitter, SupervisorEvent, SupervisorSpec, ms, secs,
    test_util::{Script, TestTree, by},
};
use serde_json::{Value, json};
use support::{Switchboard, at_hand, restarts, start, within};

/// The tree's history; nothing of it may be missing.
fn history(tree: &TestTree) -> Vec<SupervisorEvent> {
    tree.events()
}

fn name(event: &SupervisorEvent) -> String {
    let kind = serde_json::to_value(&event.kind).unwrap();
    kind["type"].as_str().unwrap().to_owned()
}

fn steady(ms_: u64) -> Backoff {
    Backoff::constant(ms(ms_)).jitter(Jitter::None)
}

/// A tree in which nearly everything happens that can.
async fn eventful() -> TestTree {
    let board = Switchboard::new();
    let group = SupervisorSpec::one_for_all("g")
        .intensity(1, secs(600))
        .child(board.child("x").backoff(steady(10)).no_fuse())
        .child(board.child("y"));
    let silent = Script::new()
        .runs_until_stopped(1)
        .silent_after(ms(0))
        .deaf();
    let silent = ChildSpec::worker("silent", silent.task());
    let spec = SupervisorSpec::one_for_one("t")
        .child(board.child("a").backoff(steady(100)).fuse(1, secs(600)))
        .child(silent.heartbeat().backoff(steady(100_000)).grace(secs(1)))
        .child(board.child("b"))
        .supervisor(group);
    let tree = TestTree::start(spec).await;
    board.fail("a");
    tree.until_running("a", 2).await;
    board.panic("a");
    tree.until_status("a", "quarantined").await;
    within(tree.resume_child("a", &by())).await.unwrap();
    within(tree.pause_child("b", &by())).await.unwrap();
    within(tree.resume_child("b", &by())).await.unwrap();
    within(tree.remove_child("b", &by())).await.unwrap();
    tree.remove_child("b", &by()).await.unwrap_err();
    board.fail("g/x");
    board.fail("x");
    tree.until_running("g/y", 2).await;
    board.fail("x");
    tree.until_running("g", 2).await;
    tree.until_status("silent", "backing_off").await;
    tree.shutdown_clean().await;
    tree
}

#[tokio::test(start_paused = true)]
async fn every_kind_is_told_and_comes_back_from_json_as_it_was() {
    let tree = eventful().await;
    let events = history(&tree);
    let mut kinds: Vec<_> = events.iter().map(name).collect();
    kinds.sort();
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            "backing_off",
            "child_added",
            "child_shutdown",
            "command_accepted",
            "command_completed",
            "command_refused",
            "escalated",
            "exited",
            "fuse_blown",
            "fuse_charged",
            "group_restart_begun",
            "group_restart_ended",
            "intensity_exceeded",
            "paused",
            "quarantined",
            "ready",
            "released",
            "removed",
            "restart_decided",
            "resumed",
            "shutdown_completed",
            "shutdown_stage_entered",
            "starting",
            "unhealthy",
        ]
    );
    for event in events {
        let text = serde_json::to_string(&event).unwrap();
        let back: SupervisorEvent = serde_json::from_str(&text).unwrap();
        assert_eq!(back.kind, event.kind, "{text}");
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
    }
}

#[tokio::test(start_paused = true)]
async fn the_sequence_is_contiguous_and_time_does_not_go_back() {
    let tree = eventful().await;
    let events = history(&tree);
    let state = tree.current_state();
    assert_eq!(state.as_of, events.len() as u64);
    for (event, sequence) in events.iter().zip(1..) {
        assert_eq!(event.sequence, sequence);
        assert_eq!(event.epoch, state.epoch);
        assert_eq!(event.schema, SupervisorEvent::SCHEMA);
    }
    for pair in events.windows(2) {
        assert!(pair[0].uptime <= pair[1].uptime);
        let apart = pair[1].at.duration_since(pair[0].at).unwrap();
        assert_eq!(apart, pair[1].uptime - pair[0].uptime);
    }
}

#[tokio::test(start_paused = true)]
async fn time_does_not_go_back_for_a_thread_that_does_not_know_the_virtual_one() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t").child(board.child("a"))).await;
    let mut events = handle.subscribe_events_from(1);
    tokio::time::advance(secs(3600)).await;
    within(handle.pause_child("a", &by())).await.unwrap();
    // The last handle, and so the tree.
    std::thread::spawn(move || drop(handle)).join().unwrap();
    let mut before = ms(0);
    while let Some(item) = within(events.next()).await {
        let event = item.event().expect("no gap");
        assert!(event.uptime >= before, "{event}");
        before = event.uptime;
    }
    assert!(before >= secs(3600));
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_told_step_by_step_under_the_sequence_of_its_exit() {
    let board = Switchboard::new();
    let spec = SupervisorSpec::one_for_one("t").child(board.child("a").backoff(steady(250)));
    let tree = TestTree::start(spec).await;
    let seen = tree.current_state().as_of;
    board.fail("a");
    tree.until_running("a", 2).await;
    let restart = &history(&tree)[usize::try_from(seen).unwrap()..];
    let told: Vec<_> = restart
        .iter()
        .map(|event| (name(event), event.generation, event.uptime))
        .collect();
    let at = |name: &str, generation, ms_| (name.to_owned(), generation, ms(ms_));
    assert_eq!(
        told,
        [
            at("exited", 1, 0),
            at("fuse_charged", 1, 0),
            at("restart_decided", 1, 0),
            at("backing_off", 1, 0),
            at("starting", 2, 250),
            at("ready", 2, 250),
        ]
    );
    for event in restart {
        assert_eq!(event.correlation_id, Some(seen + 1));
    }
    board.fail("a");
    tree.until_running("a", 3).await;
    let again = &history(&tree)[usize::try_from(seen).unwrap() + 6..];
    assert!(
        again
            .iter()
            .all(|event| event.correlation_id == Some(seen + 7))
    );
}

/// What is tied to an event, with the paths.
fn tied_to(tree: &TestTree, sequence: u64) -> Vec<String> {
    let tied = |event: &SupervisorEvent| event.correlation_id == Some(sequence);
    let events = history(tree);
    let told = events.iter().filter(|event| tied(event));
    told.map(|event| format!("{} {}", event.path, name(event)))
        .collect()
}

/// The sequence of the first event of that name and path after another.
fn sequence_of(tree: &TestTree, path: &str, wanted: &str, after: u64) -> u64 {
    let events = history(tree);
    let found = events
        .iter()
        .find(|event| event.sequence > after && event.path == path.into() && name(event) == wanted);
    found
        .unwrap_or_else(|| panic!("no {wanted} of {path}"))
        .sequence
}

#[tokio::test(start_paused = true)]
async fn a_group_restart_is_tied_to_the_exit_it_follows_in_all_its_members_and_below() {
    let board = Switchboard::new();
    let below = SupervisorSpec::one_for_one("n").child(board.child("x"));
    let spec = SupervisorSpec::one_for_all("t")
        .child(board.child("a").backoff(steady(100)))
        .supervisor(below)
        .child(board.child("b").temporary());
    let tree = TestTree::start(spec).await;
    board.fail("a");
    tree.until_running("a", 2).await;
    tree.until_running("n/x", 2).await;
    tree.until_event(|event| name(event) == "group_restart_ended")
        .await;
    let exit = sequence_of(&tree, "/a", "exited", 0);
    let mut told = tied_to(&tree, exit);
    told.retain(|told| !told.ends_with("restart_decided") && !told.ends_with("fuse_charged"));
    assert_eq!(
        told,
        [
            "/a exited",
            "/ group_restart_begun",
            "/b exited",
            "/b removed",
            "/n/x exited",
            "/n exited",
            "/a starting",
            "/a ready",
            "/n starting",
            "/n ready",
            "/ group_restart_ended",
            "/n/x starting",
            "/n/x ready",
        ]
    );
    // What comes next is its own cause.
    board.fail("x");
    tree.until_running("n/x", 3).await;
    let next = sequence_of(&tree, "/n/x", "exited", exit + 10);
    assert_eq!(tied_to(&tree, next).len(), 6);
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn an_escalation_is_tied_to_the_exit_too_many_up_to_the_restart_that_follows() {
    let board = Switchboard::new();
    let tight = SupervisorSpec::one_for_one("n")
        .intensity(0, secs(10))
        .child(board.child("x").no_fuse().backoff(steady(0)));
    let spec = SupervisorSpec::one_for_one("t").supervisor(tight);
    let tree = TestTree::start(spec).await;
    board.fail("x");
    tree.until_running("n/x", 2).await;
    tree.until_running("n", 2).await;
    let exit = sequence_of(&tree, "/n/x", "exited", 0);
    let mut told = tied_to(&tree, exit);
    told.retain(|told| !told.ends_with("restart_decided"));
    assert_eq!(
        told,
        [
            "/n/x exited",
            "/n intensity_exceeded",
            "/n escalated",
            "/n exited",
            "/n starting",
            "/n ready",
            "/n/x starting",
            "/n/x ready",
        ]
    );
    tree.shutdown_clean().await;
}

/// What followed from the last command of that name, with the paths.
fn consequences(tree: &TestTree, command: &str) -> Vec<String> {
    let events = history(tree);
    let accepted = events.iter().rev().find(|event| {
        matches!(&event.kind, EventKind::Tree(rust_supervisor::TreeEvent::CommandAccepted {
            command: told, ..
        }) if &**told == command)
    });
    let sequence = accepted.expect("it was accepted").sequence;
    events
        .iter()
        .filter(|event| event.correlation_id == Some(sequence))
        .map(|event| format!("{} {}", event.path, name(event)))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_command_is_tied_to_its_consequences() {
    let board = Switchboard::new();
    let spec = SupervisorSpec::one_for_one("t").child(board.child("a"));
    let tree = TestTree::start(spec).await;
    within(tree.restart_child("a", &by())).await.unwrap();
    tree.until_running("a", 2).await;
    let of_restart = [
        "/a command_accepted",
        "/a exited",
        "/a restart_decided",
        "/a starting",
        "/a ready",
    ];
    let mut told = consequences(&tree, "restart_child");
    told.retain(|told| told != "/a command_completed");
    assert_eq!(told, of_restart);

    within(tree.pause_child("a", &by())).await.unwrap();
    assert_eq!(
        consequences(&tree, "pause_child"),
        [
            "/a command_accepted",
            "/a paused",
            "/a exited",
            "/a restart_decided",
            "/a command_completed"
        ]
    );
    within(tree.resume_child("a", &by())).await.unwrap();
    tree.until_running("a", 3).await;
    let mut told = consequences(&tree, "resume_child");
    told.retain(|told| told != "/a command_completed");
    assert_eq!(
        told,
        [
            "/a command_accepted",
            "/a resumed",
            "/a starting",
            "/a ready"
        ]
    );

    within(tree.add_child("/", board.child("b"), &by()))
        .await
        .unwrap();
    assert_eq!(
        consequences(&tree, "add_child"),
        [
            "/b command_accepted",
            "/b child_added",
            "/b starting",
            "/b ready",
            "/b command_completed"
        ]
    );
    within(tree.remove_child("b", &by())).await.unwrap();
    assert_eq!(
        consequences(&tree, "remove_child"),
        [
            "/b command_accepted",
            "/b exited",
            "/b restart_decided",
            "/b removed",
            "/b command_completed"
        ]
    );
    // What happens by itself afterwards is its own cause.
    board.fail("a");
    tree.until_running("a", 4).await;
    assert_eq!(consequences(&tree, "resume_child").len(), 5);
    tree.shutdown_clean().await;
    assert_eq!(
        consequences(&tree, "shutdown_tree"),
        [
            "/ command_accepted",
            "/ shutdown_stage_entered",
            "/ shutdown_stage_entered",
            "/a exited",
            "/a restart_decided",
            "/a child_shutdown",
            "/ exited",
            "/ restart_decided",
            "/ shutdown_stage_entered",
            "/ command_completed",
            "/ shutdown_completed"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn history_reaches_back_as_far_as_the_journal() {
    let board = Switchboard::new();
    let spec = SupervisorSpec::one_for_one("t")
        .child(board.child("a"))
        .event_channel_capacity(3)
        .journal_capacity(40);
    let tree = TestTree::start(spec).await;
    restarts(&tree, 3).await;
    assert_eq!(history(&tree).len() as u64, tree.current_state().as_of);
    restarts(&tree, 10).await;
    let head = tree.current_state().as_of;
    let read = at_hand(&mut tree.subscribe_events_from(1));
    assert_eq!(read[0], EventItem::Gap { missed: head - 40 });
    assert_eq!(read.len(), 41);
}

#[tokio::test(start_paused = true)]
async fn a_state_and_the_stream_after_it_join_without_a_gap() {
    let board = Switchboard::new();
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(board.child("a"))).await;
    restarts(&tree, 2).await;
    let state = tree.current_state();
    restarts(&tree, 1).await;
    let read = at_hand(&mut tree.subscribe_events_from(state.as_of + 1));
    assert_eq!(read[0].clone().event().unwrap().sequence, state.as_of + 1);
    let child = &state.root.children[0];
    assert!(child.sequence <= state.as_of);
    let changed = &history(&tree)[usize::try_from(child.sequence).unwrap() - 1];
    assert_eq!((name(changed).as_str(), changed.generation), ("ready", 3));
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_the_tree_has_and_all_was_read() {
    let board = Switchboard::new();
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(board.child("a"))).await;
    let mut events = tree.subscribe_events();
    let waiting = tokio::spawn(async move {
        let mut last = None;
        while let Some(item) = within(events.next()).await {
            last = item.event();
        }
        assert_eq!(events.next().await, None);
        last.unwrap()
    });
    tree.shutdown_clean().await;
    drop(tree);
    let last = waiting.await.unwrap();
    assert_eq!(name(&last), "shutdown_completed");
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_goes_away_harms_nobody() {
    let board = Switchboard::new();
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(board.child("a"))).await;
    let mut stays = tree.subscribe_events();
    let mut goes = tree.subscribe_events();
    // A future that is dropped while it waits loses nothing.
    assert!(tokio::time::timeout(ms(1), goes.next()).await.is_err());
    assert!(tokio::time::timeout(ms(1), stays.next()).await.is_err());
    drop(goes);
    restarts(&tree, 1).await;
    let read = at_hand(&mut stays);
    assert_eq!(
        read[0].clone().event().map(|event| name(&event)).as_deref(),
        Some("command_accepted")
    );
    tree.shutdown_clean().await;
}

/// One event of that kind, without what differs from run to run.
fn sample(events: &[SupervisorEvent], kind: &str, path: &str) -> Value {
    let event = events
        .iter()
        .find(|event| name(event) == kind && event.path.as_str() == path)
        .unwrap_or_else(|| panic!("no {kind} of {path}"));
    let mut json = serde_json::to_value(event).unwrap();
    let at = json["at"].take();
    assert!(at.as_str().unwrap().ends_with('Z'), "{at}");
    assert!(json["epoch"].take().is_string());
    json
}

#[tokio::test(start_paused = true)]
async fn events_have_one_shape_in_json() {
    let board = Switchboard::new();
    let spec = SupervisorSpec::one_for_one("t").child(board.child("a").backoff(steady(250)));
    let tree = TestTree::start(spec).await;
    tokio::time::sleep(ms(1500)).await;
    board.fail("a");
    tree.until_running("a", 2).await;
    within(tree.pause_child("a", &by())).await.unwrap();
    tree.shutdown_clean().await;
    let events = history(&tree);
    let whole = |sequence, uptime, path, instance, generation, attempt, kind| -> Value {
        json!({
            "schema": 1, "epoch": null, "sequence": sequence, "at": null, "uptime_ms": uptime,
            "path": path, "instance": instance, "generation": generation, "attempt": attempt,
            "kind": kind,
        })
    };
    assert_eq!(
        sample(&events, "child_added", "/a"),
        whole(2, 0, "/a", 1, 0, 0, json!({"type": "child_added"}))
    );
    let exited = sample(&events, "exited", "/a");
    let sequence = exited["sequence"].clone();
    let mut expected = whole(
        sequence.as_u64().unwrap(),
        1500,
        "/a",
        1,
        1,
        1,
        json!({"type": "exited", "exit": "failed", "message": "as ordered"}),
    );
    expected["correlation_id"] = sequence;
    assert_eq!(exited, expected);
    let kind = |kind, path| sample(&events, kind, path)["kind"].clone();
    assert_eq!(
        kind("backing_off", "/a"),
        json!({"type": "backing_off", "delay_ms": 250})
    );
    assert_eq!(
        kind("command_accepted", "/a"),
        json!({
            "type": "command_accepted", "command": "pause_child",
            "requested_by": "test", "reason": "to see what happens",
        })
    );
    assert_eq!(
        kind("command_completed", "/a"),
        json!({
            "type": "command_completed", "command": "pause_child",
            "outcome": "pause_child /a: done; paused",
        })
    );
    assert_eq!(
        kind("child_shutdown", "/a"),
        json!({"type": "child_shutdown", "status": "already_exited"})
    );
    assert_eq!(
        kind("shutdown_stage_entered", "/"),
        json!({"type": "shutdown_stage_entered", "stage": "request_stop"})
    );
    assert_eq!(
        kind("shutdown_completed", "/"),
        json!({"type": "shutdown_completed", "clean": true})
    );
}
