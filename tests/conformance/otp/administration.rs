//! Children that are added, listed, counted, held and removed.

use std::sync::{Arc, Weak};

use rust_supervisor::{
    AutoShutdown, Change, ChildSpec, Factories, RestartType, Supervisor, SupervisorConfig,
    SupervisorError, SupervisorSpec, TaskContext, secs,
};
use tokio::sync::Notify;

use crate::{
    case::{Case, case},
    given::{
        HOUR, STRATEGIES, add, children, count, generation, gone, idle, pause, plain, remove,
        restart, resume, state, status_of, steady,
    },
    support::{Switchboard, by, comes_to, running, shut_down, start, until, within},
};

pub(super) const CASES: &[Case] = &[
    case!(
        child_adm,
        "Adding, stopping, starting again and deleting a child, each also when it does not apply or names nobody: \
         then an error says so and nothing has changed. (Unlike OTP a running child may be restarted and removed.)"
    ),
    case!(
        child_adm_simple,
        "Dynamic children come, are counted, and go one by one; the others are not touched."
    ),
    Case::explained(
        "extra_return",
        "What a child's start function returns besides its pid is handed on to whoever starts or restarts it.",
        "a run is a future, not a process that was handed over: there is no extra value. The rest of the case is `child_adm`",
    ),
    case!(
        child_specs,
        "Each impossible value in a child's declaration is refused by name, each possible one is taken, and a name \
         can be given once."
    ),
    case!(
        child_specs_map,
        "Every combination of the settings is taken or refused by a rule. (OTP refuses a significant child that is \
         permanent, or whose supervisor never shuts down by itself; here these are no errors.)"
    ),
    case!(
        sup_flags,
        "Each impossible value in a supervisor's declaration is refused by name."
    ),
    case!(
        count_children,
        "A thousand dynamic children, then two thousand: listed and counted the same every time, and none once \
         they have been killed."
    ),
    case!(
        count_children_supervisor,
        "The same where the children are supervisors."
    ),
    case!(
        count_restarting_children,
        "Children that wait for their restart are counted, as such; once they run again as running."
    ),
    Case::explained(
        "get_callback_module",
        "A supervisor tells which module it was made from.",
        "there are no callback modules",
    ),
    case!(
        do_not_save_start_parameters_for_temporary_children,
        "What a temporary child was started with is not kept once it has ended; what others need for their next \
         run is."
    ),
    case!(
        do_not_save_child_specs_for_temporary_children,
        "However a temporary child ends, its name is free; that of another child only once it was removed."
    ),
    case!(
        simple_one_for_one_corruption,
        "The supervisor lets go of a temporary dynamic child's data, also of the second one's."
    ),
    case!(
        simple_one_for_one_scale_many_temporary_children,
        "Many temporary children can be removed one by one. (How the time grows is measured by `benches/tree.rs`.)"
    ),
    case!(
        scale_start_stop_many_children,
        "Many permanent children can be added and stopped one by one. (As above.)"
    ),
    case!(
        which_children,
        "The list and a look-up agree with each other after every addition, stop and removal."
    ),
    case!(
        "which_children_simple_one_for_one",
        child_adm_simple,
        "The same for dynamic children, which are forgotten when they are stopped."
    ),
    Case::explained(
        "code_change",
        "A running supervisor takes over changed flags and children when its code is upgraded.",
        NO_UPGRADE,
    ),
    Case::explained("code_change_map", "The same, declared as maps.", NO_UPGRADE),
    Case::explained(
        "code_change_simple",
        "The same for `simple_one_for_one`, whose one template may change but not go.",
        NO_UPGRADE,
    ),
    Case::explained(
        "code_change_simple_map",
        "The same, declared as maps.",
        NO_UPGRADE,
    ),
    Case::explained(
        "format_log_1",
        "Reports become log text with terms cut off at a configured depth.",
        OTP_REPORTS,
    ),
    Case::explained(
        "format_log_2",
        "The same with a depth, a length, and on one line.",
        OTP_REPORTS,
    ),
];

pub(super) const NO_UPGRADE: &str =
    "no code is loaded into a running program; a changed declaration comes with a new process";
const OTP_REPORTS: &str = "the format of OTP's reports; what happens here is told as typed events, formatted by whoever reads them";

#[tokio::test(start_paused = true)]
async fn child_adm() {
    use SupervisorError::{DuplicateId, NotApplicable, UnknownPath};
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t").child(board.child("child1"))).await;
    let by = by();
    let error = add(&handle, "/", board.child("child1")).await.unwrap_err();
    assert!(matches!(error, DuplicateId { .. }), "{error}");

    // Nobody of that name, and no supervisor of that name.
    for stranger in ["hej", "foo/child1"] {
        let errors = [
            within(handle.pause_child(stranger, &by)).await,
            within(handle.resume_child(stranger, &by)).await,
            within(handle.restart_child(stranger, &by)).await,
            within(handle.remove_child(stranger, &by)).await,
            add(&handle, stranger, board.child("x")).await,
        ];
        for error in errors {
            assert!(matches!(error, Err(UnknownPath { .. })), "{error:?}");
        }
        assert!(handle.child_state(stranger).is_err());
    }
    assert_eq!(children(&handle, "/"), ["child1 running"]);

    // Stopped: it stays, and stopping it again is no error.
    pause(&handle, "child1").await;
    assert_eq!(board.log(), ["+child11", "-child11"]);
    assert_eq!(children(&handle, "/"), ["child1 paused"]);
    let again = within(handle.pause_child("child1", &by)).await.unwrap();
    assert_eq!(again.change, Change::AlreadySo);
    let error = add(&handle, "/", board.child("child1")).await.unwrap_err();
    assert!(matches!(error, DuplicateId { .. }), "{error}");
    let error = within(handle.restart_child("child1", &by))
        .await
        .unwrap_err();
    assert!(matches!(error, NotApplicable { .. }), "{error}");

    // Started again, which is so already the second time.
    resume(&handle, "child1").await;
    running(&handle, "child1", 2).await;
    let again = within(handle.resume_child("child1", &by)).await.unwrap();
    assert_eq!(again.change, Change::AlreadySo);
    assert_eq!(restart(&handle, "child1").await.generation, 3);
    assert_eq!(children(&handle, "/"), ["child1 running"]);

    // Deleted, and the name is free.
    remove(&handle, "child1").await;
    assert!(children(&handle, "/").is_empty());
    let error = within(handle.restart_child("child1", &by))
        .await
        .unwrap_err();
    assert!(matches!(error, UnknownPath { .. }), "{error}");
    let added = add(&handle, "/", board.child("child1")).await.unwrap();
    assert_eq!(added.generation, 1);
    assert_eq!(children(&handle, "/"), ["child1 running"]);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn child_adm_simple() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    assert!(children(&handle, "/").is_empty());
    add(&handle, "/", board.child("x")).await.unwrap();
    assert_eq!(children(&handle, "/"), ["x running"]);
    add(&handle, "/", board.child("y").temporary())
        .await
        .unwrap();
    assert_eq!(children(&handle, "/"), ["x running", "y running"]);
    let before = state(&handle, "y").instance;
    remove(&handle, "x").await;
    assert_eq!(children(&handle, "/"), ["y running"]);
    assert_eq!(board.log(), ["+x1", "+y1", "-x1"]);
    // It is gone, so it cannot go again, and nobody else is hit.
    assert!(within(handle.remove_child("x", &by())).await.is_err());
    assert!(handle.child_state("x").is_err());
    assert_eq!(state(&handle, "y").instance, before);
    assert_eq!(generation(&handle, "y"), 1);
    remove(&handle, "y").await;
    assert!(children(&handle, "/").is_empty());
    assert!(shut_down(&handle).await.clean);
}

fn refused(yaml: &str) -> Vec<String> {
    let factories = Factories::new().worker("m", |(): ()| idle);
    let spec = SupervisorConfig::from_yaml(yaml).and_then(|config| config.into_spec(&factories));
    match spec {
        Ok(_) => Vec::new(),
        Err(error) => error.problems().iter().map(ToString::to_string).collect(),
    }
}

/// One problem, which names these words.
#[track_caller]
fn refused_for(yaml: &str, words: &[&str]) {
    let problems = refused(yaml);
    assert_eq!(problems.len(), 1, "{yaml}: {problems:?}");
    for word in words {
        assert!(problems[0].contains(word), "{yaml}: {problems:?}");
    }
}

#[test]
fn child_specs() {
    let child = |keys: &str| format!("children: [{{{keys}}}]");
    for (keys, words) in [
        ("factory: m", &["name"][..]),
        ("name: x", &["x", "factory"]),
        ("name: x, factory: f", &["\"f\""]),
        (
            "name: x, factory: m, restart_policy: prmanent",
            &["prmanent"],
        ),
        (
            "name: x, factory: m, shutdown: {graceful_timeout_ms: -10}",
            &["graceful_timeout_ms"],
        ),
        ("name: x, factory: m, kind: wrker", &["wrker"]),
        ("name: x, factory: m, readiness: dy", &["dy"]),
        ("name: x, factory: m, significant: maybe", &["significant"]),
        ("name: x, factory: m, replicas: many", &["replicas"]),
        ("name: a/b, factory: m", &["a/b"]),
    ] {
        refused_for(&child(keys), words);
    }
    for restart in ["permanent", "transient", "temporary"] {
        for grace in ["0", "1000"] {
            for more in ["", ", significant: true", ", readiness: explicit"] {
                let keys = format!(
                    "name: x, factory: m, restart_policy: {restart}, \
                     shutdown: {{graceful_timeout_ms: {grace}}}{more}"
                );
                assert_eq!(refused(&child(&keys)), [] as [&str; 0], "{keys}");
            }
        }
    }
    let twice = "children: [{name: x, factory: m}, {name: x, factory: m}]";
    refused_for(twice, &["x"]);
}

#[tokio::test(start_paused = true)]
async fn child_specs_map() {
    let policies = [
        AutoShutdown::Never,
        AutoShutdown::AnySignificant,
        AutoShutdown::AllSignificant,
    ];
    let types = [
        RestartType::Permanent,
        RestartType::Transient,
        RestartType::Temporary,
    ];
    for auto in policies {
        let mut tree = SupervisorSpec::one_for_one("t").auto_shutdown(auto);
        let mut wanted = Vec::new();
        for restart in types {
            for grace in [secs(0), secs(1)] {
                for significant in [false, true] {
                    let id = wanted.len().to_string();
                    let child = ChildSpec::worker(&id, idle).restart(restart).grace(grace);
                    tree = tree.child(if significant {
                        child.significant()
                    } else {
                        child
                    });
                    wanted.push((restart, grace, significant));
                }
            }
        }
        let twice = tree.clone().child(ChildSpec::worker("0", idle));
        let error = within(Supervisor::start(twice)).await.unwrap_err();
        assert!(matches!(error, SupervisorError::DuplicateId { .. }));
        let handle = start(tree).await;
        for (at, (restart, grace, significant)) in wanted.into_iter().enumerate() {
            let child = state(&handle, &at.to_string());
            assert_eq!(child.status.as_str(), "running");
            assert_eq!(child.settings.restart, Some(restart));
            assert_eq!(child.settings.grace, Some(grace));
            assert_eq!(child.significant, significant);
        }
        assert!(shut_down(&handle).await.clean);
    }
}

#[test]
fn sup_flags() {
    for (section, words) in [
        (
            "supervisor: {strategy: none_for_one}",
            &["none_for_one"][..],
        ),
        ("supervisor: {auto_shutdown: sometimes}", &["sometimes"]),
        (
            "supervisor: {escalation_policy: upwards}",
            &["escalation_policy", "upwards"],
        ),
        (
            "policy: {supervisor_failure_limit: infinity}",
            &["supervisor_failure_limit"],
        ),
        (
            "policy: {supervisor_failure_window_ms: 0}",
            &["supervisor_failure_window_ms"],
        ),
        (
            "policy: {supervisor_failure_window_ms: infinity}",
            &["supervisor_failure_window_ms"],
        ),
        ("supervisor: [OneForOne]", &["supervisor"]),
        ("supervisor: {silly_flag: true}", &["silly_flag"]),
    ] {
        refused_for(section, words);
    }
    assert!(refused("supervisor: {strategy: OneForOne}").is_empty());
}

#[tokio::test(start_paused = true)]
async fn count_children() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t").intensity(0, HOUR)).await;
    for many in [1000, 2000] {
        for at in many - 1000..many {
            let child = board.child(&at.to_string()).temporary();
            add(&handle, "/", child).await.unwrap();
        }
        for _ in 0..2 {
            assert_eq!(children(&handle, "/").len(), many);
            assert_eq!(count(&handle, "running"), many);
        }
    }
    for at in 0..2000 {
        board.fail(&at.to_string());
    }
    until(|| children(&handle, "/").is_empty()).await;
    assert!(handle.health().children.is_empty());
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn count_children_supervisor() {
    let handle = start(SupervisorSpec::one_for_one("t").intensity(0, HOUR)).await;
    let supervisors = || {
        let children = state(&handle, "/").children;
        let supervisors = children.iter().filter(|child| child.supervisor.is_some());
        (children.len(), supervisors.count())
    };
    add(&handle, "/", ChildSpec::worker("worker", idle))
        .await
        .unwrap();
    for many in [1000, 2000] {
        for at in many - 1000..many {
            let empty = SupervisorSpec::one_for_one(at.to_string());
            add(&handle, "/", empty).await.unwrap();
        }
        for _ in 0..2 {
            assert_eq!(supervisors(), (many + 1, many));
            assert_eq!(count(&handle, "running"), many + 1);
        }
    }
    for at in 0..2000 {
        remove(&handle, &at.to_string()).await;
    }
    assert_eq!(supervisors(), (1, 0));
    assert_eq!(count(&handle, "running"), 1);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn count_restarting_children() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    for id in ["a", "b", "c"] {
        let child = board.child(id).backoff(steady(secs(2)));
        add(&handle, "/", child).await.unwrap();
    }
    for id in ["a", "b"] {
        board.fail(id);
        comes_to(&handle, id, "backing_off").await;
    }
    assert_eq!(count(&handle, "backing_off"), 2);
    assert_eq!(count(&handle, "running"), 1);
    assert_eq!(children(&handle, "/").len(), 3);
    for id in ["a", "b"] {
        running(&handle, id, 2).await;
    }
    assert_eq!(count(&handle, "running"), 3);
    for (left, id) in [(2, "c"), (1, "a"), (0, "b")] {
        remove(&handle, id).await;
        assert_eq!(children(&handle, "/").len(), left);
        assert_eq!(count(&handle, "running"), left);
    }
    assert!(shut_down(&handle).await.clean);
}

/// Children that end at a word, each with a load of its own.
#[derive(Default)]
struct Loaded {
    word: Arc<Notify>,
}

impl Loaded {
    /// Such a child, and what it was started with.
    fn child(&self, id: &str, restart: RestartType) -> (ChildSpec, Weak<Vec<u8>>) {
        let data = Arc::new(vec![0; 50_000]);
        let weak = Arc::downgrade(&data);
        let word = self.word.clone();
        let child = ChildSpec::worker(id, move |ctx: TaskContext| {
            let (word, data) = (word.clone(), data.clone());
            async move {
                ctx.run_until_cancelled(word.notified()).await;
                assert_eq!(data.len(), 50_000);
            }
        });
        (child.restart(restart), weak)
    }

    fn end(&self) {
        self.word.notify_waiters();
    }
}

#[tokio::test(start_paused = true)]
async fn do_not_save_start_parameters_for_temporary_children() {
    for strategy in STRATEGIES {
        let loaded = Loaded::default();
        let handle = start(SupervisorSpec::new("t", strategy)).await;
        let (transient, of_transient) = loaded.child("transient", RestartType::Transient);
        let (temporary, of_temporary) = loaded.child("temporary", RestartType::Temporary);
        for child in [transient, temporary] {
            add(&handle, "/", child).await.unwrap();
        }
        loaded.end();
        comes_to(&handle, "transient", "finished").await;
        gone(&handle, "temporary").await;
        until(|| of_temporary.strong_count() == 0).await;
        assert!(of_transient.strong_count() > 0, "it may be asked for again");
        restart(&handle, "transient").await;
        assert!(shut_down(&handle).await.clean);
    }
}

#[tokio::test(start_paused = true)]
async fn do_not_save_child_specs_for_temporary_children() {
    for strategy in STRATEGIES {
        for how in ["panic", "complete", "fail", "stop"] {
            let board = Switchboard::new();
            let end = async |handle, id: &str| match how {
                "panic" => board.panic(id),
                "complete" => board.complete(id),
                "fail" => board.fail(id),
                _ => pause(handle, id).await,
            };
            let handle = start(SupervisorSpec::new("t", strategy)).await;
            for restart in [RestartType::Permanent, RestartType::Transient] {
                let child = plain(board.child("kept").restart(restart));
                add(&handle, "/", child.clone()).await.unwrap();
                end(&handle, "kept").await;
                match (how, restart) {
                    ("stop", _) => comes_to(&handle, "kept", "paused").await,
                    ("complete", RestartType::Transient) => {
                        comes_to(&handle, "kept", "finished").await;
                    }
                    _ => running(&handle, "kept", 2).await,
                }
                let error = add(&handle, "/", child).await.unwrap_err();
                assert!(matches!(error, SupervisorError::DuplicateId { .. }));
                remove(&handle, "kept").await;
            }
            let child = board.child("dropped").temporary();
            add(&handle, "/", child.clone()).await.unwrap();
            match how {
                "stop" => remove(&handle, "dropped").await,
                _ => end(&handle, "dropped").await,
            }
            gone(&handle, "dropped").await;
            add(&handle, "/", child).await.unwrap();
            assert!(shut_down(&handle).await.clean);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn simple_one_for_one_corruption() {
    let loaded = Loaded::default();
    let handle = start(SupervisorSpec::one_for_one("t").intensity(0, HOUR)).await;
    for id in ["first", "second"] {
        let (child, data) = loaded.child(id, RestartType::Temporary);
        add(&handle, "/", child).await.unwrap();
        assert!(data.strong_count() > 0);
        loaded.end();
        gone(&handle, id).await;
        until(|| data.strong_count() == 0).await;
    }
    assert!(shut_down(&handle).await.clean);
}

/// Adds so many, and takes each away again.
async fn come_and_go(many: usize, restart: RestartType) {
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    for at in 0..many {
        let child = ChildSpec::worker(at.to_string(), idle).restart(restart);
        add(&handle, "/", child).await.unwrap();
    }
    assert_eq!(count(&handle, "running"), many);
    for at in 0..many {
        let id = at.to_string();
        if restart == RestartType::Temporary {
            remove(&handle, &id).await;
        } else {
            pause(&handle, &id).await;
        }
    }
    assert_eq!(count(&handle, "running"), 0);
    let kept = match restart {
        RestartType::Temporary => 0,
        _ => many,
    };
    assert_eq!(children(&handle, "/").len(), kept);
    assert_eq!(count(&handle, "paused"), kept);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn simple_one_for_one_scale_many_temporary_children() {
    come_and_go(2_000, RestartType::Temporary).await;
}

#[tokio::test(start_paused = true)]
async fn scale_start_stop_many_children() {
    come_and_go(2_000, RestartType::Permanent).await;
}

#[tokio::test(start_paused = true)]
async fn which_children() {
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let agree = |wanted: &[&str]| {
        assert_eq!(children(&handle, "/"), wanted);
        for id in ["child1", "child2", "childx"] {
            let listed = wanted.iter().find_map(|line| line.strip_prefix(id));
            let listed = listed.map_or("gone", str::trim_start);
            assert_eq!(status_of(&handle, id), listed);
        }
    };
    agree(&[]);
    add(&handle, "/", ChildSpec::worker("child1", idle))
        .await
        .unwrap();
    agree(&["child1 running"]);
    add(&handle, "/", ChildSpec::worker("child2", idle))
        .await
        .unwrap();
    agree(&["child1 running", "child2 running"]);
    pause(&handle, "child1").await;
    agree(&["child1 paused", "child2 running"]);
    remove(&handle, "child1").await;
    agree(&["child2 running"]);
    assert!(shut_down(&handle).await.clean);
}
