//! What becomes of subscribers that do not keep up, and that nobody else notices.

mod support;

use std::{collections::BTreeMap, time::Duration};

use rust_supervisor::{
    Backpressure, BackpressureStrategy, EventFilter, EventItem, EventKind, LagLevel,
    LifecycleEvent, Severity, SupervisorEvent, SupervisorSpec, TreeEvent, ms, secs,
    test_util::TestTree,
};
use support::{Switchboard, at_hand, restarts};
use tokio::time::{Instant, sleep};

fn events_of(read: Vec<EventItem>) -> Vec<SupervisorEvent> {
    read.into_iter().filter_map(EventItem::event).collect()
}

fn missed(read: &[EventItem]) -> u64 {
    let gaps = read.iter().map(|item| match item {
        EventItem::Gap { missed } => *missed,
        EventItem::Event(_) => 0,
    });
    gaps.sum()
}

/// A tree whose subscribers may be ten events behind; the eighth is warned of, the ninth critical.
async fn tree(board: &Switchboard, backpressure: Backpressure) -> TestTree {
    let spec = SupervisorSpec::one_for_one("t")
        .child(board.child("a"))
        .event_channel_capacity(10)
        .journal_capacity(100)
        .backpressure(backpressure.thresholds(80, 90));
    TestTree::start(spec).await
}

fn alerting() -> Backpressure {
    Backpressure::new(BackpressureStrategy::AlertAndBlock).window(secs(30))
}

/// Lets everything that can be done at this moment be done.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

/// The alerts so far: of whom, how, by how many events, of how many.
fn alerts(tree: &TestTree) -> Vec<(String, LagLevel, u64, u64)> {
    let events = tree.events();
    let alerts = events.into_iter().filter_map(|event| match event.kind {
        EventKind::Tree(TreeEvent::SubscriberLagged {
            subscriber,
            level,
            behind,
            capacity,
        }) => Some((subscriber.to_string(), level, behind, capacity)),
        _ => None,
    });
    alerts.collect()
}

fn levels(tree: &TestTree) -> Vec<LagLevel> {
    let alerts = alerts(tree).into_iter();
    alerts.map(|(_, level, _, _)| level).collect()
}

#[tokio::test(start_paused = true)]
async fn with_drop_oldest_a_slow_subscriber_finds_a_gap_of_what_is_beyond_its_channel_and_nobody_is_told()
 {
    let board = Switchboard::new();
    let tree = tree(&board, Backpressure::new(BackpressureStrategy::DropOldest)).await;
    let mut events = tree.subscribe_events();
    let before = tree.current_state().as_of;
    restarts(&tree, 4).await;
    let head = tree.current_state().as_of;
    let read = at_hand(&mut events);
    assert_eq!(
        read[0],
        EventItem::Gap {
            missed: head - before - 10
        }
    );
    let sequences: Vec<_> = read[1..]
        .iter()
        .map(|item| item.clone().event().unwrap().sequence)
        .collect();
    assert_eq!(sequences, Vec::from_iter(head - 9..=head));
    // In step again, it misses nothing.
    restarts(&tree, 1).await;
    let read = at_hand(&mut events);
    assert_eq!(read[0].clone().event().unwrap().sequence, head + 1);
    sleep(secs(100)).await;
    assert_eq!(levels(&tree), []);
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_behind_for_less_than_the_window_is_told_of_and_misses_nothing() {
    let board = Switchboard::new();
    let tree = tree(&board, alerting()).await;
    let mut events = tree.subscribe_events().named("dashboard");
    let before = tree.current_state().as_of;
    restarts(&tree, 4).await;
    sleep(secs(29)).await;
    let told = alerts(&tree);
    assert_eq!(levels(&tree), [LagLevel::Warning, LagLevel::Critical]);
    for (name, _, behind, capacity) in told {
        assert_eq!((name.as_str(), capacity), ("dashboard", 10));
        assert!((8..=24).contains(&behind), "{behind}");
    }
    let read = at_hand(&mut events);
    assert_eq!(missed(&read), 0);
    let sequences: Vec<_> = events_of(read).iter().map(|event| event.sequence).collect();
    assert_eq!(
        sequences,
        Vec::from_iter(before + 1..=tree.current_state().as_of)
    );
    // It has caught up: nothing is taken from it later, and its next lag is another one.
    sleep(secs(60)).await;
    assert_eq!(levels(&tree).len(), 2);
    restarts(&tree, 4).await;
    settle().await;
    assert_eq!(levels(&tree).len(), 4);
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_behind_for_the_whole_window_is_cut_off_and_finds_one_gap() {
    let board = Switchboard::new();
    let tree = tree(&board, alerting()).await;
    let mut stalled = tree.subscribe_events().named("stalled");
    let mut quick = tree.subscribe_events().named("quick");
    let before = tree.current_state().as_of;
    let quick = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(item) = quick.next().await {
            seen.push(item);
        }
        seen
    });
    restarts(&tree, 4).await;
    let began = Instant::now();
    tree.until_event(|event| {
        matches!(
            event.kind,
            EventKind::Tree(TreeEvent::SubscriberLagged {
                level: LagLevel::CutOff,
                ..
            })
        )
    })
    .await;
    assert!((secs(29)..=secs(31)).contains(&began.elapsed()));
    let names: Vec<_> = alerts(&tree).into_iter().map(|alert| alert.0).collect();
    assert_eq!(names, ["stalled", "stalled", "stalled"]);
    restarts(&tree, 1).await;
    let head = tree.current_state().as_of;
    let read = at_hand(&mut stalled);
    // The alert of its being cut off is the first that it reads again.
    let EventItem::Gap { missed: gap } = read[0] else {
        panic!("{:?}", read[0]);
    };
    assert_eq!(gap + read.len() as u64 - 1, head - before);
    assert_eq!(missed(&read[1..]), 0);
    tree.shutdown_clean().await;
    let (seen, all) = (quick.await.unwrap(), tree.current_state().as_of - before);
    assert_eq!((missed(&seen), seen.len() as u64), (0, all));
}

#[tokio::test(start_paused = true)]
async fn a_sampled_subscriber_gets_one_of_so_many_events_of_a_kind_and_the_count_of_the_others() {
    let board = Switchboard::new();
    let sampling = Backpressure::new(BackpressureStrategy::SampleAndAudit).sample_every(4);
    let tree = tree(&board, sampling).await;
    let mut events = tree.subscribe_events().named("slow");
    let before = tree.current_state().as_of;
    restarts(&tree, 8).await;
    settle().await;
    assert_eq!(levels(&tree), [LagLevel::Warning, LagLevel::Sampled]);
    let head = tree.current_state().as_of;
    let read = at_hand(&mut events);
    assert_eq!(tree.current_state().as_of, head);
    let lost = missed(&read);
    let kept = events_of(read.clone());
    assert_eq!(lost + kept.len() as u64, head - before);
    assert!(lost > 0);
    // Within the sample: the first of a kind, and every fourth after it. What came when it had caught up
    // is there entirely.
    let whole_from = head - 6;
    let mut of_kind: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for event in kept.iter().filter(|event| event.sequence < whole_from) {
        let of_kind = of_kind.entry(event.kind.name()).or_default();
        of_kind.push(event.generation);
    }
    assert_eq!(of_kind["ready"], [2, 6]);
    assert_eq!(of_kind["starting"], [2, 6]);
    let tail: Vec<_> = kept.iter().rev().take(7).map(|e| e.sequence).collect();
    assert_eq!(tail, Vec::from_iter((head - 6..=head).rev()));
    // In step again, it gets everything.
    restarts(&tree, 1).await;
    assert_eq!(missed(&at_hand(&mut events)), 0);
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_filter_lets_pass_paths_kinds_and_severities_and_makes_no_gaps() {
    let board = Switchboard::new();
    let below = SupervisorSpec::one_for_one("n")
        .child(board.child("x"))
        .child(board.child("xx"));
    let spec = SupervisorSpec::one_for_one("t")
        .supervisor(below)
        .child(board.child("a"));
    let tree = TestTree::start(spec).await;
    board.fail("x");
    tree.until_running("n/x", 2).await;
    board.fail("xx");
    tree.until_running("n/xx", 2).await;
    restarts(&tree, 1).await;
    let read = |filter| {
        let read = at_hand(&mut tree.subscribe_events_from(1).filtered(filter));
        assert_eq!(missed(&read), 0);
        events_of(read)
    };
    let all = read(EventFilter::new());
    assert_eq!(all.len() as u64, tree.current_state().as_of);
    let expect = |filter: EventFilter, passes: &dyn Fn(&SupervisorEvent) -> bool| {
        let wanted: Vec<_> = all.iter().filter(|event| passes(event)).cloned().collect();
        assert!(!wanted.is_empty() && wanted.len() < all.len());
        assert_eq!(read(filter), wanted);
    };
    expect(EventFilter::new().under("n"), &|event| {
        event.path.as_str().starts_with("/n")
    });
    expect(EventFilter::new().under("/n/x"), &|event| {
        event.path.as_str() == "/n/x"
    });
    expect(EventFilter::new().under("n/x").under("a"), &|event| {
        ["/n/x", "/a"].contains(&event.path.as_str())
    });
    expect(EventFilter::new().kind("exited").kind("ready"), &|event| {
        ["exited", "ready"].contains(&event.kind.name())
    });
    expect(
        EventFilter::new().at_least(Severity::Warning).under("n"),
        &|event| {
            event.path.as_str().starts_with("/n")
                && matches!(
                    event.kind,
                    EventKind::Lifecycle(
                        LifecycleEvent::Exited { .. }
                            | LifecycleEvent::FuseCharged { .. }
                            | LifecycleEvent::BackingOff { .. }
                    )
                )
        },
    );
    assert_eq!(read(EventFilter::new().kind("no such kind")), []);
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn who_reads_over_what_it_does_not_want_is_not_behind() {
    let board = Switchboard::new();
    let tree = tree(&board, alerting().window(ms(10))).await;
    let mut events = tree
        .subscribe_events()
        .filtered(EventFilter::new().kind("no such kind"));
    for _ in 0..10 {
        restarts(&tree, 1).await;
        assert_eq!(at_hand(&mut events), []);
    }
    sleep(secs(1)).await;
    assert_eq!(levels(&tree), []);
    assert_eq!(events.position(), tree.current_state().as_of + 1);
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn history_is_no_lag() {
    let board = Switchboard::new();
    let tree = tree(&board, alerting().window(ms(10))).await;
    restarts(&tree, 5).await;
    let mut events = tree.subscribe_events_from(1);
    sleep(secs(1)).await;
    assert_eq!(levels(&tree), []);
    let read = at_hand(&mut events);
    assert_eq!(missed(&read), 0);
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_is_gone_is_not_told_of() {
    let board = Switchboard::new();
    let tree = tree(&board, alerting()).await;
    let dropped = tree.subscribe_events().named("dropped");
    let panics = tree.subscribe_events().named("panics");
    let panicked = tokio::spawn(async move {
        let mut events = panics;
        let first = events.next().await;
        panic!("{first:?}");
    });
    drop(dropped);
    restarts(&tree, 5).await;
    assert!(panicked.await.unwrap_err().is_panic());
    sleep(secs(100)).await;
    assert_eq!(levels(&tree), []);
    tree.shutdown_clean().await;
}
