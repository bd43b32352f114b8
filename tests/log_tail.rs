//! What a child's own log records are kept, and for how long.

mod support;

use rust_supervisor::{
    ChildSpec, SupervisorSpec, TaskContext,
    log_tail::{LogItem, LogRecord, LogTail},
    ms,
    test_util::{Script, TestTree, by},
};
use support::within;
use tracing::{Instrument, Level, subscriber::DefaultGuard};
use tracing_subscriber::{Layer, filter::LevelFilter, layer::SubscriberExt};

fn installed(tail: &LogTail) -> DefaultGuard {
    tracing::subscriber::set_default(tracing_subscriber::registry().with(tail.layer()))
}

fn messages(records: &[LogRecord]) -> Vec<&str> {
    records.iter().map(|record| &*record.message).collect()
}

/// Says what it is told to, once per run.
fn speaker(id: &'static str, says: fn(&TaskContext)) -> ChildSpec {
    ChildSpec::worker(id, move |ctx: TaskContext| async move {
        says(&ctx);
        ctx.cancelled().await;
    })
}

#[tokio::test(start_paused = true)]
async fn a_record_is_kept_with_its_fields_under_the_run_that_made_it() {
    let tail = LogTail::new();
    let _installed = installed(&tail);
    let says = |ctx: &TaskContext| {
        tracing::warn!(orders = 3, name = "eve", ok = ?Some(1), "run {}", ctx.generation());
    };
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(speaker("a", says))).await;
    within(tree.restart_child("a", &by())).await.unwrap();
    tree.until_running("a", 2).await;
    let kept = tail.last_at_least("/a", Level::WARN, 10);
    assert_eq!(messages(&kept), ["run 1", "run 2"]);
    let second = &kept[1];
    assert_eq!((&*second.path, second.generation), ("/a", 2));
    assert_eq!((&*second.level, &*second.target), ("WARN", "log_tail"));
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        second.fields,
        [
            field("orders", "3"),
            field("name", "eve"),
            field("ok", "Some(1)")
        ]
    );
    assert!(kept[0].sequence < second.sequence && kept[0].at <= second.at);
    let shown = second.to_string();
    assert!(
        shown.ends_with(" WARN /a run 2: run 2 orders=3 name=eve ok=Some(1)"),
        "{shown}"
    );
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn what_happens_below_the_runs_span_is_the_runs_and_what_happens_outside_is_nobodys() {
    let tail = LogTail::new();
    let _installed = installed(&tail);
    let says = |ctx: &TaskContext| {
        tracing::info_span!("request").in_scope(|| tracing::info!("in a span below"));
        let helper = async { tracing::info!("in a helper") };
        ctx.spawn(helper.in_current_span());
        ctx.spawn(async { tracing::info!("in a helper that carries nothing along") });
    };
    let below = SupervisorSpec::one_for_one("n").child(speaker("a", says));
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").supervisor(below)).await;
    tracing::info!("outside");
    tokio::time::sleep(ms(1)).await;
    let info = |path: &str| tail.last_at_least(path, Level::INFO, 10);
    assert_eq!(messages(&info("/n/a")), ["in a span below", "in a helper"]);
    assert_eq!(info("/"), info("/n/a"));
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_supervisors_tail_is_that_of_all_below_it_in_order() {
    let tail = LogTail::new();
    let _installed = installed(&tail);
    let says = |ctx: &TaskContext| tracing::info!("{}", ctx.path());
    let below = SupervisorSpec::one_for_one("n")
        .child(speaker("x", says))
        .child(speaker("y", says));
    let spec = SupervisorSpec::one_for_one("t")
        .child(speaker("a", says))
        .supervisor(below)
        .child(speaker("nn", says));
    let tree = TestTree::start(spec).await;
    tree.until_running("nn", 1).await;
    tree.until_running("n/y", 1).await;
    let info = |path: &str, records| {
        let kept = tail.last_at_least(path, Level::INFO, records);
        kept.into_iter()
            .map(|record| record.message)
            .collect::<Vec<_>>()
    };
    let all = info("/", 10);
    assert_eq!(all.len(), 4);
    assert_eq!(info("n", 10), ["/n/x", "/n/y"]);
    assert_eq!(info("/", 2), all[2..]);
    assert_eq!(info("/nobody", 10), [""; 0]);
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn the_librarys_word_on_a_failed_run_is_there_too() {
    let tail = LogTail::new();
    let _installed = installed(&tail);
    let script = Script::new().fails(1, "connection lost").then_runs();
    let child = ChildSpec::worker("a", script.task());
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(child)).await;
    tree.until_running("a", 2).await;
    let kept = tail.last_at_least("a", Level::WARN, 10);
    assert_eq!(messages(&kept), ["run failed"]);
    assert_eq!(
        kept[0].fields,
        [("error".to_owned(), "connection lost".to_owned())]
    );
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn records_bytes_and_children_are_bounded() {
    let tail = LogTail::bounded(2, 3, 20);
    let _installed = installed(&tail);
    let says = |_: &TaskContext| {
        for n in 0..5 {
            tracing::info!("{n}");
        }
        tracing::info!(after = "that", "a message longer than twenty ☂ bytes");
    };
    let spec = SupervisorSpec::one_for_one("t");
    let tree = TestTree::start(spec.child(speaker("a", says))).await;
    tree.until_running("a", 1).await;
    let kept = tail.last("a", 10);
    assert_eq!(messages(&kept), ["3", "4", "a message longer tha"]);
    assert_eq!(
        kept.iter().map(|record| record.cut).collect::<Vec<_>>(),
        [false, false, true]
    );
    assert!(kept[2].fields.is_empty());
    for id in ["b", "c"] {
        within(tree.add_child("/", speaker(id, |_| tracing::info!("x")), &by()))
            .await
            .unwrap();
        tree.until_running(id, 1).await;
    }
    // The one that was silent for longest made room, and comes back when it speaks again.
    assert_eq!(tail.last("/", 10).len(), 2);
    assert_eq!(tail.last("a", 10), []);
    within(tree.restart_child("a", &by())).await.unwrap();
    tree.until_running("a", 2).await;
    assert_eq!(tail.last("a", 10).len(), 3);
    assert_eq!(tail.last("b", 10), []);
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_filter_of_its_own_decides_what_is_kept() {
    let tail = LogTail::new();
    let layer = tail.layer().with_filter(LevelFilter::INFO);
    let _installed = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let says = |_: &TaskContext| {
        tracing::debug!("debug");
        tracing::info!("info");
    };
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(speaker("a", says))).await;
    tree.until_running("a", 1).await;
    assert_eq!(messages(&tail.last("a", 10)), ["info"]);
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn who_follows_gets_what_comes_in_order_and_is_told_of_every_gap() {
    let tail = LogTail::bounded(10, 4, 100);
    let _installed = installed(&tail);
    let says = |ctx: &TaskContext| {
        tracing::trace!("no");
        tracing::info!("run {}", ctx.generation());
    };
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(speaker("a", says))).await;
    tree.until_running("a", 1).await;
    let mut follows = tail.follow("/").at_least(Level::INFO);
    let next = tokio::spawn(async move {
        let next = follows.next().await;
        (follows, next)
    });
    within(tree.restart_child("a", &by())).await.unwrap();
    let (mut follows, next) = within(next).await.unwrap();
    let LogItem::Record(record) = next else {
        panic!("{next:?}");
    };
    assert_eq!(record.message, "run 2");
    let seen = tail.last("a", 1)[0].sequence;
    for generation in 3..=10 {
        within(tree.restart_child("a", &by())).await.unwrap();
        tree.until_running("a", generation).await;
    }
    let all = tail.last("a", 100);
    let LogItem::Gap { path, missed } = within(follows.next()).await else {
        panic!("no gap");
    };
    assert_eq!((&*path, missed), ("/a", all[0].sequence - seen - 1));
    for wanted in all.iter().filter(|record| &*record.level == "INFO") {
        assert_eq!(
            within(follows.next()).await,
            LogItem::Record(wanted.clone())
        );
    }
    tree.shutdown_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_field_that_panics_is_the_runs_failure_and_spoils_nothing_else() {
    struct Panics;
    impl std::fmt::Debug for Panics {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("cannot be shown")
        }
    }
    let tail = LogTail::new();
    let _installed = installed(&tail);
    let says = |ctx: &TaskContext| {
        if ctx.generation() == 1 {
            ctx.mark_ready();
            tracing::info!(field = ?Panics, "spoilt");
        }
        tracing::info!("well");
    };
    let child = speaker("a", says).readiness(rust_supervisor::ReadinessPolicy::Explicit);
    let tree = TestTree::start(SupervisorSpec::one_for_one("t").child(child)).await;
    tree.until(|| {
        tail.last_at_least("a", Level::INFO, 10)
            .iter()
            .any(|record| record.message == "well")
    })
    .await;
    let exits = tree.child_state("a").unwrap().exits;
    assert_eq!(exits[&rust_supervisor::TaskExit::Panicked], 1);
    tree.shutdown_clean().await;
}

#[test]
fn many_threads_write_and_nothing_is_lost() {
    let tail = LogTail::bounded(4, 10_000, 100);
    let subscriber = tracing_subscriber::registry().with(tail.layer());
    let dispatch = tracing::Dispatch::new(subscriber);
    std::thread::scope(|scope| {
        for child in 0..4 {
            let dispatch = dispatch.clone();
            scope.spawn(move || {
                tracing::dispatcher::with_default(&dispatch, || {
                    let path = format!("/{child}");
                    let span = tracing::info_span!(target: "rust_supervisor", "supervisor.run", path, generation = 1_u64, attempt = 0_u64);
                    span.in_scope(|| (0..2000).for_each(|n| tracing::info!("{n}")));
                });
            });
        }
    });
    for child in 0..4 {
        let kept = tail.last(format!("/{child}").as_str(), 10_000);
        let said: Vec<_> = kept.iter().map(|record| record.message.clone()).collect();
        assert_eq!(said, Vec::from_iter((0..2000).map(|n| n.to_string())));
    }
    assert_eq!(tail.last("/", 10_000).last().unwrap().sequence, 8000);
}
