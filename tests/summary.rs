//! Why a tree is where it is, as its summary tells it: of incidents that happen to trees.

mod support;

use std::sync::mpsc;
use std::time::Duration;

use rust_supervisor::{
    Backoff, ChildSpec, EscalationPolicy, Journal, JournalFile, RunSummary, Supervisor,
    SupervisorSpec, TaskContext, ms, secs,
    summary::{Ending, Finding, Next},
    test_util::{Script, TestTree, by},
};
use support::{Switchboard, within};

fn steady(millis: u64) -> Backoff {
    Backoff::constant(ms(millis)).jitter(rust_supervisor::Jitter::None)
}

/// The lines of a summary that do not tell the date.
fn told(summary: &RunSummary) -> Vec<String> {
    let json = serde_json::to_value(summary).unwrap();
    let back: RunSummary = serde_json::from_value(json).unwrap();
    assert_eq!(back.to_string(), summary.to_string());
    let text = summary.to_string();
    let lines = text.lines().filter(|line| !line.starts_with("from "));
    lines.map(str::to_owned).collect()
}

fn findings(summary: &RunSummary) -> &[Finding] {
    &summary.last().unwrap().findings
}

#[tokio::test(start_paused = true)]
async fn a_healthy_tree() {
    let board = Switchboard::new();
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(board.child("a"))).await;
    assert_eq!(told(&tree.run_summary()), ["all is well; the tree runs"]);
    tree.shutdown_clean().await;
    assert_eq!(
        told(&tree.run_summary()),
        ["all is well; shut down clean (by test: to see what happens)"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_into_quarantine() {
    let script = Script::new()
        .then_fails("no route to the broker")
        .after(ms(10));
    let child = ChildSpec::worker("c", script.task())
        .backoff(steady(100))
        .fuse(3, secs(60))
        .quarantine_for(secs(30));
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(child)).await;
    tree.until_status("c", "quarantined").await;
    tokio::time::sleep(secs(10)).await;
    let summary = tree.run_summary();
    let [
        Finding::Quarantined {
            path,
            failures,
            cause: Some(cause),
            next: Next::RunsIn { remaining },
            ..
        },
    ] = findings(&summary)
    else {
        panic!("{summary:?}");
    };
    assert_eq!((path.as_str(), *failures, cause.generation), ("/c", 4, 4));
    assert_eq!(cause.message.as_deref(), Some("no route to the broker"));
    assert_eq!(*remaining, secs(20));
    assert_eq!(
        told(&summary),
        [
            "/c is in quarantine; the tree runs",
            "- /c is in quarantine since 340ms: fuse blown: more than 3 in 60s; 4 of its runs failed, last /c run 4 \
             failed: no route to the broker; it runs again in 20s"
        ]
    );
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn an_escalation_to_the_root() {
    let board = Switchboard::new();
    let below = SupervisorSpec::one_for_one("n")
        .intensity(1, secs(10))
        .child(board.child("x").no_fuse().backoff(steady(0)));
    let spec = SupervisorSpec::one_for_one("t")
        .intensity(0, secs(10))
        .supervisor(below);
    let tree = TestTree::start(spec).await;
    board.fail("x");
    tree.until_running("n/x", 2).await;
    board.fail("x");
    within(tree.handle().join()).await;
    let summary = tree.run_summary();
    let gave_up: Vec<_> = findings(&summary)
        .iter()
        .filter_map(|finding| match finding {
            Finding::GaveUp {
                path,
                policy: EscalationPolicy::EscalateToParent,
                cause: Some(cause),
                ..
            } => Some((path.as_str(), cause.path.as_str(), cause.generation)),
            _ => None,
        })
        .collect();
    assert_eq!(gave_up, [("/n", "/n/x", 2), ("/", "/n/x", 2)]);
    let lines = told(&summary);
    assert_eq!(lines[0], "/n gave up; shut down clean");
    assert_eq!(
        lines[1],
        "- /n gave up at 0s, and failed towards its parent: intensity exceeded: more than 1 restarts in 10s; it \
         followed /n/x run 2 failed: as ordered"
    );
}

#[tokio::test(start_paused = true)]
async fn a_group_restart_storm() {
    let board = Switchboard::new();
    let spec = SupervisorSpec::one_for_all("t")
        .intensity(100, secs(10))
        .child(board.child("a").no_fuse().backoff(steady(500)))
        .child(board.child("b"));
    let tree = TestTree::start(spec).await;
    for generation in 2..=5 {
        board.fail("a");
        tree.until_running("b", generation).await;
    }
    let summary = tree.run_summary();
    let Finding::GroupRestarts {
        path,
        times,
        within: lasted,
        after,
    } = &findings(&summary)[0]
    else {
        panic!("{summary:?}");
    };
    assert_eq!((path.as_str(), *times, *lasted), ("/", 4, ms(1500)));
    assert_eq!(after["/a"], 4);
    assert_eq!(
        told(&summary),
        [
            "/ restarts its children again and again; the tree runs",
            "- / restarted its children together 4 times within 1s 500ms, after failures of /a (4)",
            "- /a failed 4 times since 0s, last /a run 4 failed: as ordered; it runs again",
        ]
    );
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_had_to_abort() {
    let deaf = Script::new().runs_until_stopped(1).deaf();
    let deaf = ChildSpec::worker("deaf", deaf.task()).grace(secs(1));
    let board = Switchboard::new();
    let spec = SupervisorSpec::one_for_one("t")
        .child(board.child("a"))
        .child(deaf);
    let tree = TestTree::start(spec).await;
    within(tree.handle().shutdown_tree(&by())).await.unwrap();
    let summary = tree.run_summary();
    assert_eq!(
        told(&summary),
        [
            "/deaf had to be aborted; shut down clean (by test: to see what happens)",
            "- /deaf did not end within the grace and had to be aborted in the shutdown",
        ]
    );
}

/// Blocks its thread in its first poll after the word, until it is told to go on.
fn blocks(go_on: mpsc::Receiver<()>) -> ChildSpec {
    let go_on = std::sync::Mutex::new(Some(go_on));
    let go_on = std::sync::Arc::new(go_on);
    ChildSpec::worker("b", move |ctx: TaskContext| {
        let go_on = go_on.lock().unwrap().take();
        async move {
            tokio::task::yield_now().await;
            if let Some(go_on) = go_on {
                let _ = go_on.recv();
            }
            ctx.cancelled().await;
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_child_and_one_that_was_left_alive() {
    let (go_on, blocked) = mpsc::channel();
    let tree = SupervisorSpec::one_for_one("t")
        .abort_wait(ms(10))
        .total_timeout(ms(10))
        .child(blocks(blocked).grace(ms(10)));
    let handle = Supervisor::start(tree).await.unwrap();
    support::event(&handle, |event| event.kind.name() == "stuck").await;
    let summary = handle.run_summary();
    let [
        Finding::Stuck {
            path,
            generation: 1,
            lasts,
            ..
        },
    ] = findings(&summary)
    else {
        panic!("{summary:?}");
    };
    assert_eq!(path.as_str(), "/b");
    assert!(*lasts >= secs(1));
    let lines = told(&summary);
    assert_eq!(lines[0], "/b is stuck; the tree runs");
    assert!(
        lines[1].contains("nothing but itself ends that"),
        "{lines:?}"
    );
    let report = handle.shutdown_tree(&by()).await.unwrap();
    assert!(!report.clean);
    let summary = handle.run_summary();
    assert!(
        matches!(&findings(&summary)[0], Finding::LeftAlive { paths } if paths[0].as_str() == "/b")
    );
    assert_eq!(
        told(&summary)[0],
        "/b was left alive; shut down, not clean (by test: to see what happens)"
    );
    go_on.send(()).unwrap();
}

#[test]
fn a_finding_reads_the_same_from_json() {
    let stuck = Finding::Stuck {
        path: "/b".into(),
        generation: 1,
        at: Duration::from_micros(1_237_400),
        lasts: Duration::from_micros(1_235_600),
    };
    let json = serde_json::to_value(&stuck).unwrap();
    let back: Finding = serde_json::from_value(json).unwrap();
    assert_eq!(back.to_string(), stuck.to_string());
}

#[tokio::test(start_paused = true)]
async fn what_is_held_or_down_and_who_did_it() {
    let board = Switchboard::new();
    let fatal = Script::new()
        .fails_fatally("the key is no key")
        .after(ms(10));
    let spec = SupervisorSpec::one_for_one("t")
        .child(board.child("a"))
        .child(ChildSpec::worker("f", fatal.task()));
    let tree = TestTree::start(spec).await;
    within(tree.pause_child("a", &by())).await.unwrap();
    tree.until_status("f", "failed").await;
    assert_eq!(
        told(&tree.run_summary()),
        [
            "/f is down; the tree runs",
            "- /f is down since 10ms: /f run 1 failed: the key is no key; nothing starts it again by itself",
            "- /a is paused since 0s (by test: to see what happens); it stays so until somebody resumes it",
        ]
    );
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_killed_and_its_next_life() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("journal.jsonl");
    let life = async |fails: bool| {
        let board = Switchboard::new();
        let spec = SupervisorSpec::one_for_one("t")
            .child(board.child("a").backoff(steady(100)))
            .journal_file(JournalFile::new(&path));
        let tree = TestTree::start(spec).await;
        for generation in 2..=4 {
            if fails {
                board.fail("a");
                tree.until_running("a", generation).await;
            }
        }
        tree.shutdown_clean().await;
    };
    life(true).await;
    // As if it had been killed: nothing of its shutdown, and the last line torn.
    let text = std::fs::read_to_string(&path).unwrap();
    let end = text.find("shutdown_stage_entered").unwrap();
    std::fs::write(&path, &text[..end]).unwrap();
    let summary = RunSummary::of_journal(Journal::open(&path).unwrap()).unwrap();
    let last = summary.last().unwrap();
    assert_eq!((summary.lives.len(), &last.ending), (1, &Ending::Open));
    assert_eq!((last.failures, last.restarts), (3, 3));
    assert_eq!(summary.skipped.len(), 1);
    assert!(summary.skipped[0].contains("it is not finished"));
    life(false).await;
    let summary = RunSummary::of_journal(Journal::open(&path).unwrap()).unwrap();
    assert_eq!(summary.lives.len(), 2);
    assert_eq!(summary.lives[0], *last);
    assert!(matches!(
        summary.lives[1].ending,
        Ending::ShutDown { clean: true, .. }
    ));
    let text = summary.to_string();
    assert!(
        text.starts_with("life 1 of 2\n/a fails again and again; the record ends in the middle"),
        "{text}"
    );
    assert!(
        text.contains("life 2 of 2\nall is well; shut down clean"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_record_that_begins_in_the_middle_says_so() {
    let board = Switchboard::new();
    let spec = SupervisorSpec::one_for_one("t")
        .child(board.child("a").backoff(steady(0)).fuse(100, secs(60)))
        .journal_capacity(12);
    let tree = TestTree::start(spec).await;
    for generation in 2..=6 {
        board.fail("a");
        tree.until_running("a", generation).await;
    }
    let summary = tree.run_summary();
    let life = summary.last().unwrap();
    let head = tree.current_state().as_of;
    assert_eq!((life.events, life.missed), (12, head - 12));
    let missed = format!(
        "{} events are not known: what they would tell is missing here",
        head - 12
    );
    assert_eq!(told(&summary)[1], missed);
    tree.shutdown_clean().await;
}
