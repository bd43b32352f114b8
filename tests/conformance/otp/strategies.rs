//! Who restarts with whom, and in which order.

use rust_supervisor::{SupervisionStrategy, SupervisorHandle, SupervisorSpec};

use crate::{
    case::{Case, case},
    given::{HOUR, add, children, crash, gave_up, generation, gone, pause, plain, restart, stays},
    support::{Switchboard, comes_to, running, shut_down, start, until},
};

pub(super) const CASES: &[Case] = &[
    case!(
        one_for_one,
        "A failed child restarts alone; one restart more than the intensity ends the supervisor."
    ),
    case!(
        one_for_one_escalation,
        "A child whose restart fails again and again ends its supervisor, and its siblings with it."
    ),
    case!(
        one_for_all,
        "A failure restarts all children, no old run survives; one more than the intensity ends the supervisor."
    ),
    case!(
        one_for_all_escalation,
        "A sibling that does not start in the restart of all ends the supervisor when the intensity is spent."
    ),
    case!(
        one_for_all_other_child_fails_restart,
        "When a sibling fails to start in the restart of all, those that had started again are stopped and all \
         begin anew."
    ),
    case!(
        simple_one_for_one,
        "A dynamic child that fails restarts alone; one more than the intensity ends the supervisor."
    ),
    Case::explained(
        "simple_one_for_one_extra",
        "The same for children whose start returns an extra value.",
        "there is no extra value, see `extra_return`",
    ),
    case!(
        simple_one_for_one_escalation,
        "A dynamic child whose restart fails again and again ends the supervisor and the other dynamic children."
    ),
    case!(
        simple_one_for_one_restart_ignore,
        "A dynamic child that declines to run at its restart is not tried again. (Unlike OTP it stays listed, as \
         finished, if it is not temporary.)"
    ),
    case!(
        rest_for_one,
        "A failure restarts the child and those after it, not those before; one more than the intensity ends the \
         supervisor."
    ),
    case!(
        rest_for_one_escalation,
        "A later sibling that does not start in the group's restart ends the supervisor when the intensity is \
         spent."
    ),
    case!(
        rest_for_one_other_child_fails_restart,
        "When a later sibling fails to start in the group's restart, the restart goes on with it: those before it \
         that run are left alone."
    ),
    case!(
        tree,
        "In a tree of supervisors only who failed is restarted; a supervisor that gives up is restarted by its \
         parent, by the parent's strategy, with its declared children and without the dynamic ones."
    ),
    case!(
        temporary_bystander,
        "A temporary child that is stopped for a group's restart does not come back, and its absence is no failure."
    ),
    case!(
        order_of_children,
        "Children start in the order of their declaration and stop in the reverse, in a group's restart and in the \
         shutdown."
    ),
];

/// Two children, with an intensity of 2.
async fn two(board: &Switchboard, tree: SupervisorSpec) -> SupervisorHandle {
    let handle = start(tree.intensity(2, HOUR)).await;
    for id in ["child1", "child2"] {
        add(&handle, "/", plain(board.child(id))).await.unwrap();
    }
    handle
}

/// The same with an intensity of 4 and a restart of `child2` that never succeeds.
async fn stubborn(board: &Switchboard, tree: SupervisorSpec, failing: &str) -> SupervisorHandle {
    let handle = start(tree.intensity(4, HOUR)).await;
    for id in ["child1", "child2"] {
        add(&handle, "/", plain(board.child(id))).await.unwrap();
    }
    board.refuse(failing, u32::MAX);
    handle
}

/// How many runs of it there were.
fn runs(board: &Switchboard, id: &str) -> usize {
    let begun = format!("+{id}");
    let log = board.log();
    log.iter().filter(|entry| entry.starts_with(&begun)).count()
}

#[tokio::test(start_paused = true)]
async fn one_for_one() {
    let board = Switchboard::new();
    let handle = two(&board, SupervisorSpec::one_for_one("t")).await;
    crash(&board, &handle, "child1").await;
    assert_eq!(generation(&handle, "child2"), 1);
    assert_eq!(children(&handle, "/"), ["child1 running", "child2 running"]);
    crash(&board, &handle, "child2").await;
    board.fail("child1");
    gave_up(&handle).await;
    assert_eq!((runs(&board, "child1"), runs(&board, "child2")), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn one_for_one_escalation() {
    let board = Switchboard::new();
    let handle = stubborn(&board, SupervisorSpec::one_for_one("t"), "child1").await;
    board.fail("child1");
    let reason = gave_up(&handle).await;
    assert!(reason.contains("more than 4 restarts"), "{reason}");
    assert_eq!((runs(&board, "child1"), runs(&board, "child2")), (5, 1));
    assert_eq!(board.log().last().unwrap(), "-child21");
}

#[tokio::test(start_paused = true)]
async fn one_for_all() {
    let board = Switchboard::new();
    let handle = two(&board, SupervisorSpec::one_for_all("t")).await;
    for run in 2..=3 {
        board.fail("child1");
        running(&handle, "child2", run).await;
        assert_eq!(children(&handle, "/"), ["child1 running", "child2 running"]);
        assert_eq!(generation(&handle, "child1"), run);
    }
    let log = board.log();
    assert_eq!(log[2..6], ["!child11", "-child21", "+child12", "+child22"]);
    board.fail("child2");
    gave_up(&handle).await;
    assert_eq!((runs(&board, "child1"), runs(&board, "child2")), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn one_for_all_escalation() {
    let board = Switchboard::new();
    let handle = stubborn(&board, SupervisorSpec::one_for_all("t"), "child2").await;
    board.fail("child1");
    let reason = gave_up(&handle).await;
    assert!(reason.contains("more than 4 restarts"), "{reason}");
    // The restart and three more, and child1 begun anew with each.
    assert_eq!((runs(&board, "child1"), runs(&board, "child2")), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn one_for_all_other_child_fails_restart() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_all("t")
        .intensity(3, HOUR)
        .child(plain(board.explicit("child1")))
        .child(plain(board.explicit("child2")));
    for id in ["child1", "child2"] {
        board.ready(id);
    }
    let handle = start(tree).await;
    board.fail("child1");
    comes_to(&handle, "child1", "starting").await;
    board.ready("child1");
    comes_to(&handle, "child2", "starting").await;
    board.fail("child2");
    // child1 is stopped again, and both begin anew.
    until(|| board.log().contains(&"-child12".to_owned())).await;
    comes_to(&handle, "child1", "starting").await;
    assert_eq!(generation(&handle, "child1"), 3);
    board.ready("child1");
    comes_to(&handle, "child2", "starting").await;
    board.ready("child2");
    running(&handle, "child2", 3).await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn simple_one_for_one() {
    let board = Switchboard::new();
    let inner = SupervisorSpec::one_for_one("n").intensity(2, HOUR);
    let handle = start(
        SupervisorSpec::one_for_one("t")
            .intensity(0, HOUR)
            .supervisor(inner),
    )
    .await;
    for id in ["x", "y"] {
        add(&handle, "n", plain(board.child(id))).await.unwrap();
    }
    crash(&board, &handle, "n/x").await;
    assert_eq!(children(&handle, "n"), ["x running", "y running"]);
    assert_eq!(generation(&handle, "n/y"), 1);
    crash(&board, &handle, "n/y").await;
    board.fail("x");
    let reason = gave_up(&handle).await;
    assert!(reason.contains("intensity exceeded"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn simple_one_for_one_escalation() {
    let board = Switchboard::new();
    let inner = SupervisorSpec::one_for_one("n").intensity(4, HOUR);
    let tree = SupervisorSpec::one_for_one("t").supervisor(inner);
    let handle = start(tree).await;
    for id in ["x", "y"] {
        add(&handle, "n", plain(board.child(id))).await.unwrap();
    }
    board.refuse("x", u32::MAX);
    board.fail("x");
    running(&handle, "n", 2).await;
    assert_eq!((runs(&board, "x"), runs(&board, "y")), (5, 1));
    assert!(children(&handle, "n").is_empty(), "they were dynamic");
    assert!(board.log().contains(&"-y1".to_owned()));
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn simple_one_for_one_restart_ignore() {
    use rust_supervisor::{ChildSpec, TaskContext, TaskResult};
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t").intensity(10, HOUR)).await;
    let word = board.clone();
    let child = ChildSpec::job("x", move |ctx: TaskContext| {
        let word = word.clone();
        async move {
            if ctx.generation() < 3 {
                until(|| word.log().len() as u64 >= ctx.generation()).await;
                return TaskResult::Err("killed".into());
            }
            Ok(())
        }
    });
    add(&handle, "/", plain(child)).await.unwrap();
    for id in ["first", "second"] {
        // Each entry in the log is the word for one failure.
        add(&handle, "/", board.child(id)).await.unwrap();
    }
    comes_to(&handle, "x", "finished").await;
    assert_eq!(generation(&handle, "x"), 3);
    stays(&handle, "x", "finished").await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn rest_for_one() {
    let board = Switchboard::new();
    let handle = two(&board, SupervisorSpec::rest_for_one("t")).await;
    add(&handle, "/", plain(board.child("child3")))
        .await
        .unwrap();
    board.fail("child2");
    running(&handle, "child3", 2).await;
    let log = board.log();
    assert_eq!(log[3..], ["!child21", "-child31", "+child22", "+child32"]);
    assert_eq!(generation(&handle, "child1"), 1);
    crash(&board, &handle, "child3").await;
    board.fail("child2");
    gave_up(&handle).await;
    assert_eq!(runs(&board, "child1"), 1);
}

#[tokio::test(start_paused = true)]
async fn rest_for_one_escalation() {
    let board = Switchboard::new();
    let handle = stubborn(&board, SupervisorSpec::rest_for_one("t"), "child2").await;
    board.fail("child1");
    let reason = gave_up(&handle).await;
    assert!(reason.contains("more than 4 restarts"), "{reason}");
    assert_eq!((runs(&board, "child1"), runs(&board, "child2")), (2, 5));
}

#[tokio::test(start_paused = true)]
async fn rest_for_one_other_child_fails_restart() {
    let board = Switchboard::new();
    let tree = SupervisorSpec::rest_for_one("t")
        .intensity(3, HOUR)
        .child(plain(board.explicit("child1")))
        .child(plain(board.explicit("child2")));
    for id in ["child1", "child2"] {
        board.ready(id);
    }
    let handle = start(tree).await;
    board.fail("child1");
    comes_to(&handle, "child1", "starting").await;
    board.ready("child1");
    comes_to(&handle, "child2", "starting").await;
    board.fail("child2");
    until(|| board.log().contains(&"+child23".to_owned())).await;
    board.ready("child2");
    running(&handle, "child2", 3).await;
    assert_eq!(runs(&board, "child1"), 2, "it was left alone");
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn tree() {
    let board = Switchboard::new();
    let first = SupervisorSpec::one_for_one("supchild1")
        .intensity(4, HOUR)
        .child(plain(board.child("child1")))
        .child(plain(board.child("child2")));
    let second = SupervisorSpec::one_for_one("supchild2").intensity(4, HOUR);
    let third = SupervisorSpec::one_for_one("supchild3").child(board.child("child5"));
    let handle = start(SupervisorSpec::one_for_all("t").intensity(4, HOUR)).await;
    for supervisor in [first, second, third] {
        add(&handle, "/", supervisor).await.unwrap();
    }
    for id in ["child3", "child4"] {
        add(&handle, "supchild2", plain(board.child(id)))
            .await
            .unwrap();
    }
    assert_eq!(children(&handle, "supchild2").len(), 2);

    // Only who fails is restarted.
    crash(&board, &handle, "supchild2/child4").await;
    for path in ["supchild1/child1", "supchild1/child2", "supchild2/child3"] {
        assert_eq!(generation(&handle, path), 1, "{path}");
    }

    // A supervisor that gives up takes its siblings with it, by the strategy above it.
    pause(&handle, "supchild3").await;
    board.refuse("child3", u32::MAX);
    board.fail("child3");
    running(&handle, "supchild2", 2).await;
    running(&handle, "supchild1/child2", 2).await;
    let again = ["child1 running", "child2 running"];
    assert_eq!(children(&handle, "supchild1"), again);
    assert!(children(&handle, "supchild2").is_empty(), "dynamic ones go");
    // Unlike OTP: what a person stopped stays stopped.
    stays(&handle, "supchild3", "paused").await;
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn temporary_bystander() {
    for strategy in [
        SupervisionStrategy::OneForAll,
        SupervisionStrategy::RestForOne,
    ] {
        let board = Switchboard::new();
        let handle = start(SupervisorSpec::new("t", strategy).intensity(2, HOUR)).await;
        add(&handle, "/", plain(board.child("child1")))
            .await
            .unwrap();
        add(&handle, "/", plain(board.child("child2")).temporary())
            .await
            .unwrap();
        board.complete("child1");
        running(&handle, "child1", 2).await;
        gone(&handle, "child2").await;
        stays(&handle, "child2", "gone").await;
        assert_eq!(children(&handle, "/"), ["child1 running"]);
        assert_eq!(board.log()[2..], [".child11", "-child21", "+child12"]);
        assert_eq!(restart(&handle, "child1").await.generation, 3);
        assert!(shut_down(&handle).await.clean);
    }
}

#[tokio::test(start_paused = true)]
async fn order_of_children() {
    let board = Switchboard::new();
    // Not the order of the alphabet.
    let ids = ["ch7", "ch3", "ch10", "ch2", "ch5"];
    let tree = ids
        .iter()
        .fold(SupervisorSpec::rest_for_one("t"), |tree, id| {
            tree.child(plain(board.child(id)))
        });
    let handle = start(tree.intensity(2, HOUR)).await;
    assert_eq!(board.log(), ["+ch71", "+ch31", "+ch101", "+ch21", "+ch51"]);
    board.fail("ch10");
    running(&handle, "ch5", 2).await;
    assert_eq!(
        board.log()[5..],
        ["!ch101", "-ch51", "-ch21", "+ch102", "+ch22", "+ch52"]
    );
    assert!(shut_down(&handle).await.clean);
    assert_eq!(
        board.log()[11..],
        ["-ch52", "-ch22", "-ch102", "-ch31", "-ch71"]
    );
}
