//! Who commanded what, why, and what came of it; and what becomes of commands that cannot be recorded.
#![cfg(unix)]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    sync::mpsc,
    task::Poll,
    time::Duration,
};

use rust_supervisor::{
    Audit, AuditEntry, AuditFailureStrategy, AuditFile, AuditRecord, Backpressure,
    BackpressureStrategy, Change, CommandMeta, EventKind, LagLevel, Rotation, Supervisor,
    SupervisorError, SupervisorHandle, SupervisorSpec, TreeEvent, secs, test_util::by,
};
use support::{Switchboard, again, event, said, say, shut_down, start, within};
use tempfile::TempDir;
use tokio::time::advance;

const PLAY: &str = "SUPERVISOR_AUDIT_TEST";

fn spec(board: &Switchboard, audit: Audit) -> SupervisorSpec {
    SupervisorSpec::one_for_one("t")
        .child(board.child("a"))
        .audit(audit)
}

fn records(path: &Path) -> Vec<AuditRecord> {
    let file = AuditFile::open(path).unwrap();
    file.map(|record| record.unwrap().unwrap()).collect()
}

/// A record in short, with the number of the acceptance it belongs to.
fn told(record: &AuditRecord) -> String {
    match &record.entry {
        AuditEntry::CommandAccepted { command } => {
            format!("{} {} accepted", command.command, command.path)
        }
        AuditEntry::CommandRefused {
            command,
            accepted,
            error,
        } => format!(
            "{} {} refused {accepted:?}: {error}",
            command.command, command.path
        ),
        AuditEntry::CommandCompleted {
            command,
            accepted,
            change,
            ..
        } => format!(
            "{} {} completed {accepted:?}: {change:?}",
            command.command, command.path
        ),
        AuditEntry::CommandFailed {
            command,
            accepted,
            error,
            ..
        } => format!(
            "{} {} failed {accepted}: {error}",
            command.command, command.path
        ),
        other => format!("{other:?}"),
    }
}

fn all_told(records: &[AuditRecord]) -> Vec<String> {
    records.iter().map(told).collect()
}

/// Each command once at least, with every end that a command can have.
async fn every_command(handle: &SupervisorHandle, board: &Switchboard) {
    within(handle.restart_child("a", &by())).await.unwrap();
    within(handle.pause_child("a", &by())).await.unwrap();
    within(handle.pause_child("a", &by())).await.unwrap();
    within(handle.resume_child("a", &by())).await.unwrap();
    within(handle.quarantine_child("a", &by())).await.unwrap();
    within(handle.restart_child("a", &by())).await.unwrap_err();
    within(handle.add_child("/", board.child("b"), &by()))
        .await
        .unwrap();
    within(handle.remove_child("b", &by())).await.unwrap();
    within(handle.scale_child("a", 3, &by())).await.unwrap_err();
    within(handle.restart_child("nobody", &by()))
        .await
        .unwrap_err();
    within(handle.shutdown(&by())).await.unwrap();
    within(handle.restart_child("a", &by())).await.unwrap_err();
    shut_down(handle).await;
    shut_down(handle).await;
}

const EVERY_COMMAND: [&str; 24] = [
    "restart_child /a accepted",
    "restart_child /a completed Some(1): Done",
    "pause_child /a accepted",
    "pause_child /a completed Some(3): Done",
    "pause_child /a accepted",
    "pause_child /a completed Some(5): AlreadySo",
    "resume_child /a accepted",
    "resume_child /a completed Some(7): Done",
    "quarantine_child /a accepted",
    "quarantine_child /a completed Some(9): Done",
    "restart_child /a accepted",
    "restart_child /a failed 11: restart_child does not apply to /a, which is quarantined: by test: to see what happens",
    "add_child /b accepted",
    "add_child /b completed Some(13): Done",
    "remove_child /b accepted",
    "remove_child /b completed Some(15): Done",
    "scale_child /a refused None: /a is no pool",
    "restart_child /nobody refused None: no child at /nobody",
    "shutdown / accepted",
    "shutdown / completed Some(19): Done",
    "restart_child /a refused None: the control plane was stopped; supervision goes on, and shutdown_tree still works",
    "shutdown_tree / accepted",
    "shutdown_tree / completed None: Done",
    "shutdown_tree / completed None: AlreadySo",
];

#[tokio::test(start_paused = true)]
async fn every_command_is_recorded_with_its_end_in_memory_and_in_the_file_alike() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("audit.jsonl");
    let board = Switchboard::new();
    let handle = start(spec(&board, Audit::file(&path))).await;
    every_command(&handle, &board).await;
    let in_memory = handle.audit_records();
    assert_eq!(all_told(&in_memory), EVERY_COMMAND);
    let numbers: Vec<_> = in_memory.iter().map(|record| record.number).collect();
    assert_eq!(numbers, Vec::from_iter(1..=24));
    // Whoever asks again when the tree has ended finds a report, and the file closed.
    let in_file = records(&path);
    assert_eq!(all_told(&in_file), EVERY_COMMAND[..23]);
    let json = |record: &AuditRecord| serde_json::to_value(record).unwrap();
    for (in_memory, in_file) in in_memory.iter().zip(&in_file) {
        assert_eq!(json(in_memory), json(in_file));
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_says_who_and_why_and_ties_the_command_to_its_events() {
    let board = Switchboard::new();
    let handle = start(spec(&board, Audit::memory())).await;
    let meta = CommandMeta::new("alice", "rotating credentials").unwrap();
    within(handle.restart_child("a", &meta)).await.unwrap();
    let accepted = event(&handle, |event| {
        matches!(
            &event.kind,
            EventKind::Tree(TreeEvent::CommandAccepted { .. })
        )
    })
    .await;
    let records = handle.audit_records();
    let AuditEntry::CommandCompleted {
        command,
        correlation_id,
        outcome,
        ..
    } = &records[1].entry
    else {
        panic!("{records:?}");
    };
    assert_eq!(
        (&*command.requested_by, &*command.reason),
        ("alice", "rotating credentials")
    );
    assert_eq!(*correlation_id, Some(accepted.sequence));
    assert_eq!(&*outcome.clone(), "restart_child /a: done; running");
    assert_eq!(records[1].epoch, accepted.epoch);
    shut_down(&handle).await;
}

#[tokio::test(start_paused = true)]
async fn memory_keeps_so_many_and_no_audit_keeps_none() {
    let board = Switchboard::new();
    let handle = start(spec(&board, Audit::memory().keep_in_memory(5))).await;
    every_command(&handle, &board).await;
    assert_eq!(all_told(&handle.audit_records()), EVERY_COMMAND[19..]);
    let board = Switchboard::new();
    let handle = start(spec(&board, Audit::memory()).no_audit()).await;
    every_command(&handle, &board).await;
    assert_eq!(handle.audit_records(), []);
}

#[tokio::test(start_paused = true)]
async fn a_path_that_cannot_be_written_is_refused_at_the_start_with_the_reason() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("nowhere/audit.jsonl");
    let board = Switchboard::new();
    let error = Supervisor::start(spec(&board, Audit::file(&path)))
        .await
        .unwrap_err();
    let told = error.to_string();
    assert!(matches!(error, SupervisorError::FileUnavailable { .. }));
    assert!(told.contains("audit file"), "{told}");
    assert!(told.contains(path.to_str().unwrap()), "{told}");
    assert!(told.contains("No such file"), "{told}");
}

/// Events of the audit's file, in short.
async fn file_events(handle: &SupervisorHandle) -> Vec<&'static str> {
    let mut events = handle.subscribe_events_from(1);
    let mut told = Vec::new();
    while let Some(item) = events.next().await {
        let kind = item.event().unwrap().kind;
        if ["audit_failed", "audit_recovered"].contains(&kind.name()) {
            told.push(kind.name());
        }
    }
    told
}

#[tokio::test]
async fn fail_closed_refuses_what_it_cannot_record_and_carries_nothing_of_it_out() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("audit.jsonl");
    let board = Switchboard::new();
    let handle = start(spec(&board, Audit::file(&path))).await;
    within(handle.restart_child("a", &by())).await.unwrap();
    let aside = folder.path().with_extension("aside");
    fs::rename(folder.path(), &aside).unwrap();
    for _ in 0..3 {
        let error = within(handle.restart_child("a", &by())).await.unwrap_err();
        let SupervisorError::NotAudited { reason } = &error else {
            panic!("{error}");
        };
        assert!(reason.contains("No such file"), "{reason}");
    }
    assert_eq!(handle.child_state("a").unwrap().generation, 2);
    fs::rename(&aside, folder.path()).unwrap();
    within(handle.restart_child("a", &by())).await.unwrap();
    assert_eq!(handle.child_state("a").unwrap().generation, 3);
    shut_down(&handle).await;
    assert_eq!(
        file_events(&handle).await,
        ["audit_failed", "audit_recovered"]
    );
    // That they were refused is recorded as soon as something can be.
    let mut told = all_told(&records(&path));
    let order = |told: &String| told.contains("refused");
    told.sort_by_key(order);
    assert_eq!(
        told[..6],
        [
            "restart_child /a accepted",
            "restart_child /a completed Some(1): Done",
            "restart_child /a accepted",
            "restart_child /a completed Some(9): Done",
            "shutdown_tree / accepted",
            "shutdown_tree / completed None: Done",
        ]
    );
    let refused: Vec<_> = told[6..].iter().map(|told| &told[..33]).collect();
    assert_eq!(
        refused,
        [
            "restart_child /a refused Some(3):",
            "restart_child /a refused Some(5):",
            "restart_child /a refused Some(7):",
        ]
    );
}

#[tokio::test]
async fn a_full_disk_refuses_commands_and_holds_no_shutdown_up() {
    let board = Switchboard::new();
    let tree = spec(&board, Audit::file("/dev/full")).abort_wait(Duration::from_millis(50));
    let handle = start(tree).await;
    let error = within(handle.restart_child("a", &by())).await.unwrap_err();
    assert!(error.to_string().contains("No space left"), "{error}");
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test]
async fn defer_bounded_goes_on_until_so_many_records_wait_and_writes_them_later() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("audit.jsonl");
    let board = Switchboard::new();
    let audit = Audit::file(&path)
        .failure_strategy(AuditFailureStrategy::DeferBounded)
        .max_defer_queue(5);
    let handle = start(spec(&board, audit)).await;
    let aside = folder.path().with_extension("aside");
    fs::rename(folder.path(), &aside).unwrap();
    within(handle.restart_child("a", &by())).await.unwrap();
    event(&handle, |event| {
        matches!(event.kind, EventKind::Tree(TreeEvent::AuditFailed { .. }))
    })
    .await;
    // Two records each: the first command's, one more and half of a third fit.
    within(handle.restart_child("a", &by())).await.unwrap();
    within(handle.restart_child("a", &by())).await.unwrap();
    let error = within(handle.restart_child("a", &by())).await.unwrap_err();
    assert!(
        matches!(error, SupervisorError::NotAudited { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("6 records wait"), "{error}");
    assert_eq!(handle.child_state("a").unwrap().generation, 4);
    fs::rename(&aside, folder.path()).unwrap();
    event(&handle, |event| {
        matches!(
            event.kind,
            EventKind::Tree(TreeEvent::AuditRecovered { .. })
        )
    })
    .await;
    within(handle.restart_child("a", &by())).await.unwrap();
    shut_down(&handle).await;
    let told = all_told(&records(&path));
    let completed = told
        .iter()
        .filter(|told| told.contains("child /a completed"));
    assert_eq!(completed.count(), 4);
    let refused = told.iter().filter(|told| told.contains("refused"));
    assert_eq!(refused.count(), 1);
}

/// A runtime whose storage stalls: its one thread for blocking work is kept busy until the sender says
/// so.
fn with_stalled_storage<F: Future>(test: impl FnOnce(mpsc::Sender<()>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let (go_on, stalled) = mpsc::channel();
    runtime.block_on(async {
        tokio::task::spawn_blocking(move || stalled.recv());
        test(go_on).await;
    });
}

/// Lets everything be done that can be done at this moment.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// What can be done at this moment does not bring it to its end.
async fn still_waits<F: Future>(future: &mut std::pin::Pin<&mut F>) {
    for _ in 0..100 {
        let poll = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx)));
        assert!(poll.await.is_pending());
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_command_whose_record_does_not_come_to_storage_waits_until_its_deadline() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("audit.jsonl");
    with_stalled_storage(async |go_on| {
        let board = Switchboard::new();
        let handle = start(spec(&board, Audit::file(&path))).await;
        let patient = by().wait_at_most(secs(3));
        let restart = handle.restart_child("a", &patient);
        let mut restart = std::pin::pin!(restart);
        still_waits(&mut restart).await;
        advance(Duration::from_millis(2999)).await;
        still_waits(&mut restart).await;
        advance(Duration::from_millis(2)).await;
        let error = restart.await.unwrap_err();
        assert!(
            error.to_string().contains("not on storage in time"),
            "{error}"
        );
        assert_eq!(handle.child_state("a").unwrap().generation, 1);
        go_on.send(()).unwrap();
        // What came to the file too late is taken back there.
        shut_down(&handle).await;
        assert_eq!(
            all_told(&records(&path))[..2],
            [
                "restart_child /a accepted",
                "restart_child /a refused Some(1): not recorded in the audit, and not carried out: it was \
                 not on storage in time",
            ]
        );
    });
}

/// Ten records may wait; the ninth is critical.
fn bounded(strategy: BackpressureStrategy) -> Backpressure {
    Backpressure::new(strategy)
        .thresholds(70, 90)
        .audit_channel_capacity(10)
}

#[test]
fn a_critical_queue_makes_commands_wait_each_until_its_deadline_and_no_shutdown() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("audit.jsonl");
    let audit = Audit::file(&path).failure_strategy(AuditFailureStrategy::DeferBounded);
    with_stalled_storage(async |go_on| {
        let board = Switchboard::new();
        let tree = spec(&board, audit).backpressure(bounded(BackpressureStrategy::AlertAndBlock));
        let handle = start(tree).await;
        let mut events = handle.subscribe_events();
        for _ in 0..5 {
            handle.restart_child("a", &by()).await.unwrap();
        }
        assert_eq!(handle.child_state("a").unwrap().generation, 6);
        let (first, second) = (by().wait_at_most(secs(1)), by().wait_at_most(secs(9)));
        let waits_short = handle.restart_child("a", &first);
        let waits_long = handle.restart_child("a", &second);
        let mut waits_short = std::pin::pin!(waits_short);
        let mut waits_long = std::pin::pin!(waits_long);
        still_waits(&mut waits_short).await;
        still_waits(&mut waits_long).await;
        advance(secs(2)).await;
        let error = waits_short.await.unwrap_err();
        assert!(error.to_string().contains("of 10 records wait"), "{error}");
        still_waits(&mut waits_long).await;
        go_on.send(()).unwrap();
        waits_long.await.unwrap();
        assert_eq!(handle.child_state("a").unwrap().generation, 7);
        shut_down(&handle).await;
        let mut levels = Vec::new();
        while let Some(item) = events.next().await {
            if let Some(event) = item.event()
                && let EventKind::Tree(TreeEvent::SubscriberLagged {
                    subscriber, level, ..
                }) = event.kind
            {
                assert_eq!(&*subscriber, "audit");
                levels.push(level);
            }
        }
        assert_eq!(levels, [LagLevel::Warning, LagLevel::Critical]);
    });
    with_stalled_storage(async |go_on| {
        let board = Switchboard::new();
        let audit = Audit::file(&path);
        let tree = spec(&board, audit).backpressure(bounded(BackpressureStrategy::AlertAndBlock));
        let handle = start(tree).await;
        let shutdown = handle.clone();
        let shutdown = tokio::spawn(async move { shut_down(&shutdown).await });
        settle().await;
        // All has stopped; what is waited for is that the report is safe.
        let child = handle.child_state("a").unwrap();
        assert_eq!(child.status.as_str(), "finished");
        go_on.send(()).unwrap();
        assert!(shutdown.await.unwrap().clean);
    });
}

#[test]
fn a_level_that_an_outcome_reaches_is_told_of_too() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("audit.jsonl");
    let audit = Audit::file(&path).failure_strategy(AuditFailureStrategy::DeferBounded);
    with_stalled_storage(async |go_on| {
        let board = Switchboard::new();
        // Two records a command: the eighth, which is to be warned of, is an outcome.
        let terms = bounded(BackpressureStrategy::AlertAndBlock).thresholds(80, 100);
        let handle = start(spec(&board, audit).backpressure(terms)).await;
        for _ in 0..5 {
            handle.restart_child("a", &by()).await.unwrap();
        }
        go_on.send(()).unwrap();
        let lagged = event(&handle, |event| event.kind.name() == "subscriber_lagged").await;
        assert!(matches!(
            lagged.kind,
            EventKind::Tree(TreeEvent::SubscriberLagged {
                level: LagLevel::Warning,
                ..
            })
        ));
        shut_down(&handle).await;
    });
}

#[test]
fn without_blocking_a_full_queue_refuses_at_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("audit.jsonl");
    let audit = Audit::file(&path).failure_strategy(AuditFailureStrategy::DeferBounded);
    with_stalled_storage(async |go_on| {
        let board = Switchboard::new();
        let tree = spec(&board, audit).backpressure(bounded(BackpressureStrategy::DropOldest));
        let handle = start(tree).await;
        for _ in 0..5 {
            handle.restart_child("a", &by()).await.unwrap();
        }
        let error = handle.restart_child("a", &by()).await.unwrap_err();
        assert!(
            error.to_string().contains("10 of 10 records wait"),
            "{error}"
        );
        go_on.send(()).unwrap();
        shut_down(&handle).await;
    });
}

#[tokio::test(start_paused = true)]
async fn that_a_subscriber_was_sampled_is_recorded_with_how_much_it_did_not_get() {
    let board = Switchboard::new();
    let sampling = Backpressure::new(BackpressureStrategy::SampleAndAudit).thresholds(50, 60);
    let tree = spec(&board, Audit::memory())
        .event_channel_capacity(20)
        .backpressure(sampling);
    let handle = start(tree).await;
    let mut events = handle.subscribe_events().named("slow");
    for _ in 0..10 {
        within(handle.restart_child("a", &by())).await.unwrap();
    }
    settle().await;
    let mut missed = 0;
    let head = handle.current_state().as_of;
    while events.position() <= head {
        if let Some(rust_supervisor::EventItem::Gap { missed: more }) = events.next().await {
            missed += more;
        }
    }
    settle().await;
    let records = handle.audit_records();
    let sampled: Vec<_> = records
        .iter()
        .filter_map(|record| match &record.entry {
            AuditEntry::SubscriberSampled {
                subscriber,
                left_out,
            } => Some((&**subscriber, *left_out)),
            _ => None,
        })
        .collect();
    assert_eq!(sampled, [("slow", missed)]);
    assert!(missed > 0);
    shut_down(&handle).await;
}

/// Not a test of its own: a process that commands, and says which of its commands were answered, until it
/// is killed.
#[test]
fn program() {
    let Ok(path) = std::env::var(PLAY) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let board = Switchboard::new();
        let audit = Audit::file(path).rotation(Rotation::default().file_bytes(100_000));
        let handle = Supervisor::start(spec(&board, audit)).await.unwrap();
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                let handle = handle.clone();
                tokio::spawn(async move {
                    for n in 0.. {
                        let reason = format!("{}-{caller}-{n}", std::process::id());
                        let by = CommandMeta::new("storm", &reason).unwrap();
                        // Half of them are refused, which is an answer as well.
                        let path = ["a", "nobody"][n % 2];
                        let _ = handle.restart_child(path, &by).await;
                        say(&reason);
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
    });
}

#[test]
fn nothing_that_was_answered_is_lost_when_the_process_is_killed() {
    let kills = std::env::var("AUDIT_KILLS").map_or(50, |kills| kills.parse().unwrap());
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mut answered = Vec::new();
    for kill in 0..kills {
        let mut child = again(PLAY, &path).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut told = Vec::new();
        while told.len() <= kill % 23 {
            let line = lines.next().unwrap().unwrap();
            told.extend(said(&line).map(str::to_owned));
        }
        child.kill().unwrap();
        // What it still said before it was gone was answered, too.
        let rest = lines.map_while(Result::ok);
        told.extend(rest.filter_map(|line| said(&line).map(str::to_owned)));
        child.wait().unwrap();
        answered.extend(told);
    }
    let mut ends: BTreeMap<String, u32> = BTreeMap::new();
    let mut torn = 0;
    for record in AuditFile::open(&path).unwrap() {
        let Ok(record) = record.unwrap() else {
            torn += 1;
            continue;
        };
        match record.entry {
            AuditEntry::CommandCompleted {
                command, change, ..
            } => {
                assert_eq!(change, Change::Done);
                *ends.entry(command.reason.to_string()).or_default() += 1;
            }
            AuditEntry::CommandRefused { command, .. }
            | AuditEntry::CommandFailed { command, .. } => {
                *ends.entry(command.reason.to_string()).or_default() += 1;
            }
            _ => {}
        }
    }
    assert!(torn <= kills);
    assert!(answered.len() >= kills);
    for answered in answered {
        assert_eq!(ends.get(&answered), Some(&1), "{answered}");
    }
}
