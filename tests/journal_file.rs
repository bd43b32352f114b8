//! What a tree leaves in its journal file, whatever happens to it.
#![cfg(unix)]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    time::Duration,
};

use rust_supervisor::{
    EventKind, Journal, JournalFile, JournalItem, Rotation, Supervisor, SupervisorError,
    SupervisorEvent, SupervisorHandle, SupervisorSpec, TreeEvent, test_util::by,
};
use support::{Switchboard, again, said, say, shut_down, start, within};
use tempfile::TempDir;

const PLAY: &str = "SUPERVISOR_JOURNAL_FILE_TEST";

fn spec(board: &Switchboard, path: &Path) -> SupervisorSpec {
    SupervisorSpec::one_for_one("t")
        .child(board.child("a"))
        .journal_file(JournalFile::new(path))
}

fn items(path: &Path) -> Vec<JournalItem> {
    Journal::open(path)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

fn events(items: Vec<JournalItem>) -> Vec<SupervisorEvent> {
    let events = items.into_iter().map(|item| match item {
        JournalItem::Event(event) => event,
        other => panic!("{other:?}"),
    });
    events.collect()
}

async fn restarts(handle: &SupervisorHandle, times: usize) {
    for _ in 0..times {
        within(handle.restart_child("a", &by())).await.unwrap();
    }
}

/// Everything that the tree's ring holds.
async fn history(handle: &SupervisorHandle) -> Vec<SupervisorEvent> {
    let mut stream = handle.subscribe_events_from(1);
    let mut events = Vec::new();
    while let Some(item) = stream.next().await {
        events.push(item.event().unwrap());
    }
    events
}

#[tokio::test(start_paused = true)]
async fn all_events_up_to_the_last_are_in_the_file_when_the_shutdown_is_told() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.jsonl");
    let board = Switchboard::new();
    let handle = start(spec(&board, &path)).await;
    restarts(&handle, 20).await;
    shut_down(&handle).await;
    let written = events(items(&path));
    let happened = history(&handle).await;
    assert_eq!(written.len(), happened.len());
    for (written, happened) in written.iter().zip(&happened) {
        // The file has microseconds and milliseconds, as the JSON has.
        let json = |event| serde_json::to_value(event).unwrap();
        assert_eq!(json(written), json(happened));
    }
    let last = &written.last().unwrap().kind;
    assert!(matches!(
        last,
        EventKind::Tree(TreeEvent::ShutdownCompleted { clean: true })
    ));
    assert_eq!(Journal::open(&path).unwrap().unfinished(), None);
}

#[tokio::test(start_paused = true)]
async fn each_life_of_the_process_appends_under_its_own_epoch() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.jsonl");
    let mut counts = Vec::new();
    for life in 1..=3 {
        let board = Switchboard::new();
        let handle = start(spec(&board, &path)).await;
        restarts(&handle, life).await;
        shut_down(&handle).await;
        counts.push(history(&handle).await.len());
    }
    let mut lives: Vec<(String, Vec<u64>)> = Vec::new();
    for event in events(items(&path)) {
        if lives
            .last()
            .is_none_or(|(epoch, _)| **epoch != *event.epoch)
        {
            lives.push((event.epoch.to_string(), Vec::new()));
        }
        lives.last_mut().unwrap().1.push(event.sequence);
    }
    let sequences: Vec<_> = lives.into_iter().map(|(_, sequences)| sequences).collect();
    let whole = |count: &usize| Vec::from_iter(1..=*count as u64);
    assert_eq!(sequences, counts.iter().map(whole).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_path_that_cannot_be_written_is_refused_at_the_start_with_the_reason() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("nowhere/journal.jsonl");
    for (path, reason) in [
        (missing.as_path(), "No such file or directory"),
        (folder.path(), "Is a directory"),
    ] {
        let board = Switchboard::new();
        let error = Supervisor::start(spec(&board, path)).await.unwrap_err();
        let SupervisorError::FileUnavailable {
            what,
            path: told,
            reason: why,
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!((*what, told.as_path()), ("journal file", path));
        assert!(why.contains(reason), "{why}");
        assert!(error.to_string().contains(&path.display().to_string()));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// What stands in files of this name, by their names.
fn files(folder: &Path) -> BTreeMap<String, u64> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let sizes = entries.map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        (name, entry.metadata().unwrap().len())
    });
    sizes.collect()
}

#[tokio::test(start_paused = true)]
async fn files_are_rotated_by_size_and_bounded_in_all_and_read_as_one() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.jsonl");
    let board = Switchboard::new();
    let rotation = Rotation::default().file_bytes(4000).total_bytes(20_000);
    let file = JournalFile::new(&path).rotation(rotation);
    let handle = start(spec(&board, &path).journal_file(file)).await;
    restarts(&handle, 5).await;
    let from_the_first = Journal::open(&path).unwrap();
    restarts(&handle, 45).await;
    shut_down(&handle).await;
    let files = files(folder.path());
    assert!(files.len() > 3, "{files:?}");
    assert!(files.values().all(|&bytes| bytes <= 4000), "{files:?}");
    assert!(files.values().sum::<u64>() <= 20_000, "{files:?}");
    // The oldest are gone, what is there is whole and in order.
    let written = events(items(&path));
    let head = handle.current_state().as_of;
    let first = written[0].sequence;
    let sequences: Vec<_> = written.iter().map(|event| event.sequence).collect();
    assert!(first > 1);
    assert_eq!(sequences, Vec::from_iter(first..=head));
    // Who had opened it before finds what is left, and everything after it.
    let read: Vec<_> = from_the_first.map(|item| item.unwrap()).collect();
    let last = events(read).last().unwrap().sequence;
    assert_eq!(last, head);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_old_enough_is_followed_by_the_next() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.jsonl");
    for _ in 0..3 {
        let board = Switchboard::new();
        // Older than no time at all: each writing begins the next file.
        let rotation = Rotation::default().file_age(Duration::ZERO);
        let file = JournalFile::new(&path).rotation(rotation);
        let handle = start(spec(&board, &path).journal_file(file)).await;
        shut_down(&handle).await;
    }
    assert!(files(folder.path()).len() >= 3);
    let epochs: std::collections::BTreeSet<_> = events(items(&path))
        .iter()
        .map(|event| event.epoch.clone())
        .collect();
    assert_eq!(epochs.len(), 3);
}

#[tokio::test]
async fn it_can_be_read_while_it_is_written_and_rotated() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.jsonl");
    let board = Switchboard::new();
    let rotation = Rotation::default()
        .file_bytes(10_000)
        .total_bytes(10_000_000);
    let file = JournalFile::new(&path).rotation(rotation);
    let handle = start(spec(&board, &path).journal_file(file)).await;
    let mut journal = Journal::open(&path).unwrap();
    let mut read = Vec::new();
    for _ in 0..50 {
        restarts(&handle, 3).await;
        read.extend(journal.by_ref().map(Result::unwrap));
    }
    shut_down(&handle).await;
    read.extend(journal.by_ref().map(Result::unwrap));
    let sequences: Vec<_> = events(read).iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, Vec::from_iter(1..=handle.current_state().as_of));
    assert!(files(folder.path()).len() > 5);
}

#[tokio::test(start_paused = true)]
async fn a_last_line_torn_at_any_byte_is_told_of_and_nothing_else_is_lost() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.jsonl");
    let board = Switchboard::new();
    let handle = start(spec(&board, &path)).await;
    shut_down(&handle).await;
    let whole = fs::read(&path).unwrap();
    let count = items(&path).len();
    let begins = whole[..whole.len() - 1]
        .iter()
        .rposition(|&byte| byte == b'\n')
        .unwrap()
        + 1;
    for torn in begins + 1..whole.len() {
        fs::write(&path, &whole[..torn]).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(journal.by_ref().count(), count - 1);
        let unfinished = journal.unfinished().unwrap();
        assert_eq!(
            (unfinished.offset, unfinished.bytes),
            (begins as u64, (torn - begins) as u64)
        );
    }
    // The next life ends the line first.
    let torn = whole.len() - 10;
    fs::write(&path, &whole[..torn]).unwrap();
    let handle = start(spec(&Switchboard::new(), &path)).await;
    shut_down(&handle).await;
    let items = items(&path);
    let skipped: Vec<_> = items
        .iter()
        .filter_map(|item| match item {
            JournalItem::Skipped(skipped) => Some(skipped.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(skipped.len(), 1);
    assert_eq!(skipped[0].file, path);
    assert_eq!(
        (skipped[0].offset, skipped[0].bytes),
        (begins as u64, (torn - begins) as u64)
    );
    assert_eq!(
        items.len() as u64,
        count as u64 + handle.current_state().as_of
    );
}

#[tokio::test(start_paused = true)]
async fn no_damage_hides_a_whole_line_or_makes_one_up() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.jsonl");
    let board = Switchboard::new();
    let handle = start(spec(&board, &path)).await;
    restarts(&handle, 3).await;
    shut_down(&handle).await;
    let whole = fs::read(&path).unwrap();
    let all = events(items(&path));
    let mut ends = Vec::new();
    let mut end = 0;
    for line in whole.split_inclusive(|&byte| byte == b'\n') {
        end += line.len();
        ends.push(end);
    }
    for at in (0..whole.len()).step_by(13) {
        for byte in [b'\n', 0, 0xff, whole[at] ^ 1] {
            let mut damaged = whole.clone();
            damaged[at] = byte;
            fs::write(&path, &damaged).unwrap();
            let hit = ends.iter().position(|&end| at < end).unwrap();
            let read = items(&path);
            let mut left = all.clone();
            // Damage to the end of a line joins it to the next one.
            let joined = at + 1 == ends[hit] && byte != b'\n';
            left.drain(hit..(hit + 1 + usize::from(joined)).min(all.len()));
            let found: Vec<_> = read
                .into_iter()
                .filter_map(|item| match item {
                    JournalItem::Event(event) => Some(event),
                    JournalItem::Gap { missed } => panic!("a gap of {missed}"),
                    JournalItem::Skipped(_) => None,
                })
                .collect();
            match whole[at] == byte {
                true => assert_eq!(found, all),
                false => assert_eq!(found, left, "byte {at} to {byte}"),
            }
        }
    }
}

#[tokio::test]
async fn a_directory_that_is_gone_is_told_of_and_what_the_ring_lost_meanwhile_is_a_gap() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.jsonl");
    let board = Switchboard::new();
    let tree = spec(&board, &path).journal_capacity(100);
    let handle = start(tree).await;
    restarts(&handle, 2).await;
    // Its directory goes away; what it writes from now on has no place.
    let aside = folder.path().with_extension("aside");
    fs::rename(folder.path(), &aside).unwrap();
    let failed = support::event(&handle, |event| {
        matches!(
            &event.kind,
            EventKind::Tree(TreeEvent::JournalFailed { .. })
        )
    });
    let keeps_going = async {
        loop {
            restarts(&handle, 1).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        failed = failed => {
            let EventKind::Tree(TreeEvent::JournalFailed { path: told, error }) = failed.kind else {
                unreachable!();
            };
            assert_eq!(&*told, path.to_str().unwrap());
            assert!(error.contains("No such file"), "{error}");
        }
        () = keeps_going => {}
    }
    restarts(&handle, 100).await;
    fs::rename(&aside, folder.path()).unwrap();
    within(async {
        let mut events = handle.subscribe_events();
        while let Some(item) = events.next().await {
            if let Some(event) = item.event()
                && matches!(
                    &event.kind,
                    EventKind::Tree(TreeEvent::JournalRecovered { .. })
                )
            {
                return;
            }
        }
        panic!("the tree ended");
    })
    .await;
    restarts(&handle, 1).await;
    shut_down(&handle).await;
    let mut next = 1;
    let mut gaps = 0;
    for item in items(&path) {
        match item {
            JournalItem::Event(event) => {
                assert_eq!(event.sequence, next);
                next += 1;
            }
            JournalItem::Gap { missed } => {
                (next, gaps) = (next + missed, gaps + 1);
            }
            JournalItem::Skipped(skipped) => panic!("{skipped}"),
        }
    }
    assert_eq!(next, handle.current_state().as_of + 1);
    assert!(gaps > 0);
}

#[tokio::test]
async fn a_full_disk_is_told_of_once_and_holds_nobody_up() {
    let board = Switchboard::new();
    let tree = spec(&board, Path::new("/dev/full")).abort_wait(Duration::from_millis(50));
    let handle = start(tree).await;
    let failed = support::event(&handle, |event| event.kind.name() == "journal_failed").await;
    let EventKind::Tree(TreeEvent::JournalFailed { error, .. }) = failed.kind else {
        unreachable!();
    };
    assert!(error.contains("No space left"), "{error}");
    restarts(&handle, 100).await;
    assert!(shut_down(&handle).await.clean);
    let history = history(&handle).await;
    let failures = history
        .iter()
        .filter(|event| event.kind.name() == "journal_failed");
    assert_eq!(failures.count(), 1);
}

/// Not a test of its own: a process that writes a journal as fast as it can, until it is killed.
#[test]
fn program() {
    let Ok(path) = std::env::var(PLAY) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let board = Switchboard::new();
        let rotation = Rotation::default().file_bytes(20_000);
        let file = JournalFile::new(path).rotation(rotation);
        let tree = spec(&board, Path::new("")).journal_file(file);
        let handle = Supervisor::start(tree).await.unwrap();
        loop {
            handle.restart_child("a", &by()).await.unwrap();
            say(handle.current_state().as_of);
        }
    });
}

#[test]
fn of_a_process_that_is_killed_while_it_writes_every_line_but_the_last_is_whole() {
    let folder = TempDir::new().unwrap();
    let path: PathBuf = folder.path().join("journal.jsonl");
    let mut at_least = Vec::new();
    for life in 0..20 {
        let mut child = again(PLAY, &path).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heads = lines
            .map_while(Result::ok)
            .filter_map(|line| said(&line)?.parse::<u64>().ok());
        let head = heads.nth(life * 3).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        at_least.push(head);
    }
    // A last life that ends well, after which every torn line has an end.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let handle = start(spec(&Switchboard::new(), &path)).await;
        shut_down(&handle).await;
    });
    let mut epoch = String::new();
    let (mut lives, mut next) = (0, 1);
    let mut torn = 0;
    for item in items(&path) {
        match item {
            JournalItem::Event(event) => {
                if *event.epoch != *epoch {
                    epoch = event.epoch.to_string();
                    (lives, next) = (lives + 1, 1);
                }
                assert_eq!(event.sequence, next);
                next += 1;
            }
            JournalItem::Gap { missed } => next += missed,
            JournalItem::Skipped(_) => torn += 1,
        }
    }
    // A life that was killed at once may not have come to write anything.
    assert!(lives > at_least.len() / 2 && lives <= at_least.len() + 1);
    assert!(torn <= at_least.len());
}
