//! Children whose end ends their supervisor.

use rust_supervisor::{
    AutoShutdown::{self, AllSignificant, AnySignificant, Never},
    ChildPolicy, ExitOutcome, RestartType, SupervisionStrategy, SupervisorHandle, SupervisorSpec,
};

use super::administration::NO_UPGRADE;
use crate::{
    case::{Case, case},
    given::{HOUR, add, generation, gone, pause, plain, remove, resume, status_of, stays},
    support::{Switchboard, comes_to, running, shut_down, start, within},
};

pub(super) const CASES: &[Case] = &[
    case!(
        nonsignificant_temporary,
        "However a temporary child that is not significant ends, its supervisor stays, whatever its auto shutdown."
    ),
    case!(
        nonsignificant_transient,
        "The same for a transient child, which runs again after a failure."
    ),
    case!(
        significant_temporary,
        "Any end of its own of a significant temporary child shuts its supervisor down, or with `all_significant` \
         the last one's; being stopped by somebody does not."
    ),
    case!(
        significant_transient,
        "The same for transient children, of which only completion counts: after a failure they run again."
    ),
    Case::explained(
        "significant_simple",
        "Auto shutdown under `simple_one_for_one` is refused.",
        "there is no such strategy; dynamic children may be significant, as in the cases above",
    ),
    case!(
        significant_bystander,
        "Significant children that are stopped for a sibling's restart do not shut their supervisor down, by any \
         strategy."
    ),
    case!(
        significant_escalation,
        "A supervisor that shuts down by itself is a normal end: if significant, it takes its own supervisor with \
         it, otherwise not."
    ),
    Case::explained(
        "significant_upgrade_never_any",
        "An upgrade turns auto shutdown on for a running supervisor.",
        NO_UPGRADE,
    ),
    Case::explained(
        "significant_upgrade_any_never",
        "An upgrade turns it off.",
        NO_UPGRADE,
    ),
    Case::explained(
        "significant_upgrade_never_all",
        "An upgrade turns it on, for all.",
        NO_UPGRADE,
    ),
    Case::explained(
        "significant_upgrade_all_never",
        "An upgrade turns it off again.",
        NO_UPGRADE,
    ),
    Case::explained(
        "significant_upgrade_any_all",
        "An upgrade changes it from any to all.",
        NO_UPGRADE,
    ),
    Case::explained(
        "significant_upgrade_all_any",
        "An upgrade changes it from all to any.",
        NO_UPGRADE,
    ),
    Case::explained(
        "significant_upgrade_child",
        "An upgrade makes a child significant, or no longer so.",
        NO_UPGRADE,
    ),
];

const POLICIES: [AutoShutdown; 3] = [Never, AnySignificant, AllSignificant];

async fn supervisor(policy: AutoShutdown) -> SupervisorHandle {
    let tree = SupervisorSpec::one_for_one("t").intensity(5, HOUR);
    start(tree.auto_shutdown(policy)).await
}

/// Three of this type: the first two significant.
async fn three(board: &Switchboard, policy: AutoShutdown, kind: RestartType) -> SupervisorHandle {
    let handle = supervisor(policy).await;
    for id in ["child1", "child2", "child3"] {
        let child = plain(board.child(id).restart(kind));
        let child = match id {
            "child3" => child,
            _ => child.significant(),
        };
        add(&handle, "/", child).await.unwrap();
    }
    handle
}

async fn finished(handle: &SupervisorHandle) {
    let report = within(handle.join()).await;
    assert_eq!(report.outcome, ExitOutcome::Finished);
    assert!(report.shutdown.unwrap().clean);
}

/// All of them run and the supervisor stays.
async fn unimpressed(handle: &SupervisorHandle, running: &[&str]) {
    for path in running {
        stays(handle, path, "running").await;
    }
    assert!(handle.is_alive());
}

#[tokio::test(start_paused = true)]
async fn nonsignificant_temporary() {
    for policy in POLICIES {
        let board = Switchboard::new();
        let handle = supervisor(policy).await;
        for end in [Switchboard::panic, Switchboard::fail, Switchboard::complete] {
            let child = board.child("child1").temporary();
            add(&handle, "/", child.clone()).await.unwrap();
            remove(&handle, "child1").await;
            add(&handle, "/", child).await.unwrap();
            end(&board, "child1");
            gone(&handle, "child1").await;
            unimpressed(&handle, &[]).await;
            stays(&handle, "child1", "gone").await;
        }
        assert!(shut_down(&handle).await.clean);
    }
}

#[tokio::test(start_paused = true)]
async fn nonsignificant_transient() {
    for policy in POLICIES {
        let board = Switchboard::new();
        let handle = supervisor(policy).await;
        let child = plain(board.child("child1").transient());
        add(&handle, "/", child).await.unwrap();
        pause(&handle, "child1").await;
        stays(&handle, "child1", "paused").await;
        resume(&handle, "child1").await;
        running(&handle, "child1", 2).await;
        board.panic("child1");
        running(&handle, "child1", 3).await;
        board.fail("child1");
        running(&handle, "child1", 4).await;
        unimpressed(&handle, &["child1"]).await;
        board.complete("child1");
        comes_to(&handle, "child1", "finished").await;
        stays(&handle, "child1", "finished").await;
        assert!(handle.is_alive());
        assert!(shut_down(&handle).await.clean);
    }
}

#[tokio::test(start_paused = true)]
async fn significant_temporary() {
    for end in [Switchboard::panic, Switchboard::fail, Switchboard::complete] {
        let board = Switchboard::new();
        let handle = three(&board, AnySignificant, RestartType::Temporary).await;
        remove(&handle, "child1").await;
        unimpressed(&handle, &["child2", "child3"]).await;
        let child = board.child("child1").temporary().significant();
        add(&handle, "/", child).await.unwrap();
        end(&board, "child1");
        finished(&handle).await;
        let log = board.log();
        assert_eq!(log[log.len() - 2..], ["-child31", "-child21"]);
    }
    let board = Switchboard::new();
    let handle = three(&board, AllSignificant, RestartType::Temporary).await;
    board.fail("child1");
    gone(&handle, "child1").await;
    unimpressed(&handle, &["child2", "child3"]).await;
    board.complete("child2");
    finished(&handle).await;
    assert_eq!(board.log().last().unwrap(), "-child31");
}

#[tokio::test(start_paused = true)]
async fn significant_transient() {
    let board = Switchboard::new();
    let handle = three(&board, AnySignificant, RestartType::Transient).await;
    pause(&handle, "child1").await;
    unimpressed(&handle, &["child2", "child3"]).await;
    resume(&handle, "child1").await;
    running(&handle, "child1", 2).await;
    board.panic("child1");
    running(&handle, "child1", 3).await;
    board.fail("child1");
    running(&handle, "child1", 4).await;
    unimpressed(&handle, &["child1", "child2", "child3"]).await;
    board.complete("child1");
    finished(&handle).await;

    let board = Switchboard::new();
    let handle = three(&board, AllSignificant, RestartType::Transient).await;
    board.complete("child1");
    comes_to(&handle, "child1", "finished").await;
    unimpressed(&handle, &["child2", "child3"]).await;
    board.complete("child2");
    finished(&handle).await;
    assert_eq!(board.log().last().unwrap(), "-child31");
}

#[tokio::test(start_paused = true)]
async fn significant_bystander() {
    for (strategy, wanted) in [
        (SupervisionStrategy::OneForOne, [1, 2, 1]),
        (SupervisionStrategy::OneForAll, [2, 2, 2]),
        (SupervisionStrategy::RestForOne, [1, 2, 2]),
    ] {
        for policy in [AnySignificant, AllSignificant] {
            let board = Switchboard::new();
            let tree = SupervisorSpec::new("t", strategy)
                .intensity(5, HOUR)
                .auto_shutdown(policy)
                .child(plain(board.child("child1").transient()).significant())
                .child(plain(board.child("child2").transient()))
                .child(plain(board.child("child3").transient()).significant());
            let handle = start(tree).await;
            board.panic("child2");
            running(&handle, "child2", 2).await;
            unimpressed(&handle, &["child1", "child2", "child3"]).await;
            let runs = ["child1", "child2", "child3"].map(|path| generation(&handle, path));
            assert_eq!(runs, wanted);
            assert!(shut_down(&handle).await.clean);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn significant_escalation() {
    for significant in [true, false] {
        let board = Switchboard::new();
        let inner = SupervisorSpec::one_for_one("sup1")
            .policy(ChildPolicy::bare(RestartType::Transient))
            .auto_shutdown(AnySignificant);
        let inner = if significant {
            inner.significant()
        } else {
            inner
        };
        let tree = SupervisorSpec::one_for_one("t").auto_shutdown(AnySignificant);
        let handle = start(tree).await;
        add(&handle, "/", inner).await.unwrap();
        let child = board.child("child1").transient().significant();
        add(&handle, "sup1", child).await.unwrap();
        board.complete("child1");
        if significant {
            finished(&handle).await;
            continue;
        }
        comes_to(&handle, "sup1", "finished").await;
        stays(&handle, "sup1", "finished").await;
        assert_eq!(status_of(&handle, "/"), "running");
        assert!(shut_down(&handle).await.clean);
    }
}
