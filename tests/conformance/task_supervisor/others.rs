//! Too many deaths, and what a task carries from run to run.

use std::{
    error::Error,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rust_supervisor::{ChildSpec, OnFuseBlown, SupervisorSpec, TaskResult};

use crate::{
    case::{Case, case},
    given::{MINUTE, gave_up, message, restart, stays},
    support::{Switchboard, comes_to, running, shut_down, start},
};

use super::{Failing, one};

pub(super) const CASES: &[Case] = &[
    case!(
        supervisor_shuts_down_when_threshold_reached,
        "When too many are down for good the supervisor ends, says why, and the others stop in good order. (Here \
         not a share of the children decides but the child: `on_fuse_blown`, `significant`.)"
    ),
    case!(
        threshold_zero_waits_for_a_death,
        "A supervisor that ends with the first death does not end before it."
    ),
    case!(
        threshold_zero_ignores_restarts,
        "A restart by hand is no death."
    ),
    case!(
        owned_fields_reset_and_shared_state_persists_across_restarts,
        "Each run begins with the values its task was given; what is shared stays as it is."
    ),
    case!(
        anyhow_errors_convert_with_question_mark,
        "Errors of any library pass with `?`, and are told in their words."
    ),
];

#[tokio::test(start_paused = true)]
async fn supervisor_shuts_down_when_threshold_reached() {
    let board = Switchboard::new();
    let flaky = Failing::default().child("flaky").fuse(0, MINUTE);
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("steady"))
        .child(flaky.on_fuse_blown(OnFuseBlown::Escalate));
    let handle = start(tree).await;
    let reason = gave_up(&handle).await;
    assert!(reason.contains("/flaky"), "{reason}");
    assert!(reason.contains("fuse 1 of 0 in 60s"), "{reason}");
    assert_eq!(board.log(), ["+steady1", "-steady1"]);
}

#[tokio::test(start_paused = true)]
async fn threshold_zero_waits_for_a_death() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t")
        .child(board.child("steady").significant())
        .child(board.child("other").significant());
    let handle = start(tree).await;
    stays(&handle, "steady", "running").await;
    assert!(handle.is_alive());
    board.fatal("steady");
    let reason = gave_up(&handle).await;
    assert!(reason.contains("/steady"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn threshold_zero_ignores_restarts() {
    use rust_supervisor::AutoShutdown;
    let board = Switchboard::new();
    let child = board.child("steady").significant();
    let tree = SupervisorSpec::one_for_one("t")
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(child.on_fuse_blown(OnFuseBlown::Escalate).fuse(0, MINUTE));
    let handle = start(tree).await;
    restart(&handle, "steady").await;
    running(&handle, "steady", 2).await;
    stays(&handle, "steady", "running").await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn owned_fields_reset_and_shared_state_persists_across_restarts() {
    #[derive(Clone)]
    struct Task {
        own: u64,
        shared: Arc<AtomicUsize>,
        fresh: Arc<AtomicUsize>,
    }

    let task = Task {
        own: 42,
        shared: Arc::default(),
        fresh: Arc::default(),
    };
    let given = task.clone();
    let child = ChildSpec::job("stateful", move |_| {
        let mut task = given.clone();
        async move {
            tokio::task::yield_now().await;
            if task.own == 42 {
                task.fresh.fetch_add(1, Ordering::SeqCst);
            }
            task.own += 1000;
            task.shared.fetch_add(1, Ordering::SeqCst);
            Err::<(), _>(format!("at {}", task.own))
        }
    });
    let handle = one(child.fuse(3, MINUTE)).await;
    comes_to(&handle, "stateful", "quarantined").await;
    assert_eq!(message(&handle, "stateful"), "at 1042");
    assert_eq!(task.shared.load(Ordering::SeqCst), 4);
    assert_eq!(task.fresh.load(Ordering::SeqCst), 4);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn anyhow_errors_convert_with_question_mark() {
    /// As libraries have it: becomes a boxed error, and is none itself.
    struct Report(Box<dyn Error + Send + Sync>);

    impl From<Report> for Box<dyn Error + Send + Sync> {
        fn from(report: Report) -> Self {
            report.0
        }
    }

    #[derive(Debug)]
    struct Bail;

    impl fmt::Display for Bail {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("somebody's error")
        }
    }

    impl Error for Bail {}

    fn fallible() -> Result<(), Report> {
        Err(Report(Box::new(Bail)))
    }

    let child = ChildSpec::job("t", |_| async {
        tokio::task::yield_now().await;
        fallible()?;
        TaskResult::Ok(())
    });
    let handle = one(child.fuse(0, MINUTE)).await;
    comes_to(&handle, "t", "quarantined").await;
    assert_eq!(message(&handle, "t"), "somebody's error");
    assert!(shut_down(&handle).await.clean);
}
