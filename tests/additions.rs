//! What is added while the tree runs beside plain children: supervisors, and declarations.

mod support;

use rust_supervisor::{
    ChildSpec, Factories, Supervisor, SupervisorConfig, SupervisorError, SupervisorHandle,
    SupervisorSpec, TaskContext, config::configurable::ChildConfig, ms,
};
use support::{Switchboard, by, comes_to, running, shut_down, start, until, within};

async fn idle(ctx: TaskContext) {
    ctx.cancelled().await;
}

fn factories() -> Factories {
    #[derive(Clone, serde::Deserialize)]
    struct Crash {
        words: String,
    }
    Factories::new()
        .worker("idle", |(): ()| idle)
        .worker("crash", |crash: Crash| {
            move |_| {
                let crash = crash.clone();
                async move { Err::<(), _>(crash.words) }
            }
        })
}

async fn declared(text: &str) -> SupervisorHandle {
    let config = SupervisorConfig::from_yaml(text).unwrap();
    let spec = config.into_spec(&factories()).unwrap();
    within(Supervisor::start(spec)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_comes_with_all_below_it_and_goes_with_it() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t").child(board.child("a"))).await;
    let inner = SupervisorSpec::rest_for_one("inner").child(board.child("c"));
    let outer = SupervisorSpec::one_for_all("outer")
        .child(board.child("b"))
        .supervisor(inner);
    within(handle.add_child("/", outer, &by())).await.unwrap();
    assert_eq!(board.log(), ["+a1", "+b1", "+c1"]);
    board.fail("c");
    running(&handle, "outer/inner/c", 2).await;
    within(handle.add_child("outer/inner", board.child("d"), &by()))
        .await
        .unwrap();
    within(handle.remove_child("outer", &by())).await.unwrap();
    assert_eq!(board.log()[3..], ["!c1", "+c2", "+d1", "-d1", "-c2", "-b1"]);
    let error = handle.child_state("outer/inner").unwrap_err();
    assert!(matches!(error, SupervisorError::UnknownPath { .. }));
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_whose_child_does_not_start_leaves_nothing_behind() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    board.refuse("b", 1);
    let new = SupervisorSpec::one_for_one("new")
        .child(board.child("a"))
        .child(board.child("b"));
    let error = within(handle.add_child("/", new, &by())).await.unwrap_err();
    let SupervisorError::StartFailed { path, reason } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(path.as_str(), "/new");
    assert!(
        reason.contains("/new/b") && reason.contains("refused"),
        "{reason}"
    );
    assert_eq!(board.log(), ["+a1", "+b1", "!b1", "-a1"]);
    assert!(handle.child_state("new").is_err());
    let twice = SupervisorSpec::one_for_one("new")
        .child(board.child("a"))
        .child(board.child("a"));
    let error = within(handle.add_child("/", twice, &by()))
        .await
        .unwrap_err();
    assert_eq!(
        error,
        SupervisorError::DuplicateId {
            path: "new/a".into()
        }
    );
}

#[tokio::test(start_paused = true)]
async fn an_added_supervisor_ends_with_the_life_it_was_added_to() {
    let board = Switchboard::new();
    let n = SupervisorSpec::one_for_one("n").child(board.child("a"));
    let handle = start(SupervisorSpec::one_for_one("t").supervisor(n)).await;
    let added = SupervisorSpec::one_for_one("added").child(board.child("b"));
    within(handle.add_child("n", added, &by())).await.unwrap();
    within(handle.restart_child("n", &by())).await.unwrap();
    running(&handle, "n/a", 2).await;
    assert_eq!(board.log(), ["+a1", "+b1", "-b1", "-a1", "+a2"]);
    assert!(handle.child_state("n/added").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_declaration_inherits_what_its_place_says() {
    let handle = declared(
        "
policy: {initial_backoff_ms: 100, jitter: none}
children:
  - name: edge
    kind: supervisor
    policy: {initial_backoff_ms: 250, child_restart_limit: 1}
    children: [{name: a, factory: idle}]
",
    )
    .await;
    let child = ChildConfig::from_yaml(
        "{name: b, factory: idle, tags: [late], depends_on: [a], policy: {child_restart_limit: 7}}",
    )
    .unwrap();
    let outcome = within(handle.add_child("edge", child, &by()))
        .await
        .unwrap();
    assert_eq!(outcome.path.as_str(), "/edge/b");
    let b = handle.child_state("edge/b").unwrap();
    assert_eq!(b.tags, ["late"]);
    assert_eq!(b.settings.fuse.unwrap().failures, 7, "its own");
    let backoff = format!("{:?}", b.settings.backoff.unwrap());
    assert!(
        backoff.contains("initial: 250ms"),
        "its parent's: {backoff}"
    );
    let error = within(handle.remove_child("edge/a", &by()))
        .await
        .unwrap_err();
    assert!(matches!(error, SupervisorError::HasDependants { .. }));
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn supervisors_and_pools_may_be_declared_too_and_take_declarations_in_turn() {
    let handle = declared("{}").await;
    let declaration = serde_json::json!({
        "name": "n",
        "kind": "supervisor",
        "children": [{"name": "p", "factory": "idle", "replicas": 2}],
    });
    within(handle.add_child("/", declaration, &by()))
        .await
        .unwrap();
    let more = serde_json::json!({"name": "c", "factory": "idle"});
    within(handle.add_child("n", more, &by())).await.unwrap();
    within(handle.scale_child("n/p", 3, &by())).await.unwrap();
    let state = handle.current_state();
    let paths: Vec<_> = state.iter().map(|node| node.path.as_str()).collect();
    assert_eq!(
        paths,
        ["/", "/n", "/n/p", "/n/p/0", "/n/p/1", "/n/p/2", "/n/c"]
    );
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_typed_tree_with_factories_takes_declarations() {
    let tree = SupervisorSpec::one_for_one("t")
        .factories(&factories())
        .supervisor(SupervisorSpec::one_for_one("n"));
    let handle = start(tree).await;
    let declaration = serde_json::json!({"name": "a", "factory": "idle"});
    within(handle.add_child("n", declaration, &by()))
        .await
        .unwrap();
    comes_to(&handle, "n/a", "running").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_declaration_is_said_at_once_and_changes_nothing() {
    let handle = declared("children: [{name: a, factory: idle}]").await;
    let refused = async |declaration: serde_json::Value| {
        let before = handle.current_state().iter().count();
        let answer = within(handle.add_child("/", declaration, &by())).await;
        assert_eq!(handle.current_state().iter().count(), before);
        answer.unwrap_err().to_string()
    };
    let error = refused(serde_json::json!({
        "name": "b", "factroy": "idle", "policy": {"initial_backoff_ms": "soon"}
    }))
    .await;
    for word in ["factroy", "factory", "policy.initial_backoff_ms", "soon"] {
        assert!(error.contains(word), "{error}");
    }
    assert!(!error.contains("children[0]"), "{error}");
    let error = refused(serde_json::json!({"name": "b", "factory": "idel"})).await;
    assert!(error.contains("idel") && error.contains("idle"), "{error}");
    let error = refused(serde_json::json!({"name": "b", "factory": "crash"})).await;
    assert!(
        error.contains("settings") && error.contains("words"),
        "{error}"
    );
    let error = refused(serde_json::json!("b")).await;
    assert!(error.contains("a map with a name"), "{error}");
    let error = refused(serde_json::json!({"factory": "idle"})).await;
    assert!(error.contains("name"), "{error}");
    let error = refused(serde_json::json!({"name": "a", "factory": "idle"})).await;
    assert!(error.contains("exists already"), "{error}");
    let error =
        refused(serde_json::json!({"name": "b", "factory": "idle", "depends_on": ["z"]})).await;
    assert!(error.contains("no such sibling"), "{error}");
    let error = refused(serde_json::json!({
        "name": "b", "factory": "crash", "settings": {"words": "not today"}
    }))
    .await;
    assert!(error.contains("not today"), "{error}");
    assert!(ChildConfig::from_yaml("{name: b, name: c}").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_tree_without_factories_says_that_it_has_none() {
    let board = Switchboard::new();
    let handle = start(SupervisorSpec::one_for_one("t").child(board.child("a"))).await;
    let declaration = serde_json::json!({"name": "b", "factory": "idle"});
    let error = within(handle.add_child("/", declaration, &by())).await;
    let error = error.unwrap_err();
    assert!(matches!(error, SupervisorError::InvalidDeclaration { .. }));
    assert!(error.to_string().contains("no factories"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_factory_that_panics_refuses_its_declaration_and_harms_nobody() {
    let factories = Factories::new().worker("bad", |(): ()| {
        std::panic::resume_unwind(Box::new("not built today"));
        #[expect(unreachable_code, reason = "it says what the factory would make")]
        idle
    });
    let board = Switchboard::new();
    let tree = SupervisorSpec::one_for_one("t").child(board.child("a"));
    let handle = start(tree.factories(&factories)).await;
    let declaration = serde_json::json!({"name": "b", "factory": "bad"});
    let error = within(handle.add_child("/", declaration, &by())).await;
    let error = error.unwrap_err();
    assert!(matches!(error, SupervisorError::InvalidDeclaration { .. }));
    assert!(error.to_string().contains("not built today"), "{error}");
    within(handle.add_child("/", board.child("b"), &by()))
        .await
        .unwrap();
    assert_eq!(board.log(), ["+a1", "+b1"]);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_deep_addition_is_given_the_time_of_all_its_levels_to_end() {
    let mut deep = SupervisorSpec::one_for_one("s").child(
        ChildSpec::worker("deaf", |_: TaskContext| std::future::pending::<()>()).grace(ms(100)),
    );
    for _ in 0..5 {
        deep = SupervisorSpec::one_for_one("s").supervisor(deep);
    }
    let handle = start(SupervisorSpec::one_for_one("t").total_timeout(ms(50))).await;
    within(handle.add_child("/", deep, &by())).await.unwrap();
    until(|| handle.current_state().iter().count() == 8).await;
    assert!(shut_down(&handle).await.clean);
}

/// `n` with a child that takes its time to start, and `x` after it.
async fn starting_slowly(board: &Switchboard) -> SupervisorHandle {
    let handle = start(SupervisorSpec::one_for_one("t")).await;
    let n = SupervisorSpec::one_for_one("n")
        .child(board.explicit("slow"))
        .child(board.child("x"));
    let adding = handle.clone();
    tokio::spawn(async move { adding.add_child("/", n, &by()).await });
    comes_to(&handle, "n/slow", "starting").await;
    handle
}

#[tokio::test(start_paused = true)]
async fn no_command_starts_a_child_before_its_turn() {
    let board = Switchboard::new();
    let handle = starting_slowly(&board).await;
    within(handle.resume_child("n/x", &by())).await.unwrap();
    let restarting = handle.clone();
    let restarted = tokio::spawn(async move { restarting.restart_child("n/x", &by()).await });
    tokio::time::sleep(ms(100)).await;
    board.ready("slow");
    within(restarted).await.unwrap().unwrap();
    running(&handle, "n", 1).await;
    assert_eq!(board.log(), ["+slow1", "^slow1", "+x1"]);
    assert!(shut_down(&handle).await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_removed_while_its_supervisor_starts_does_not_fail_that() {
    for removed in ["n/x", "n/slow"] {
        let board = Switchboard::new();
        let handle = starting_slowly(&board).await;
        within(handle.remove_child(removed, &by())).await.unwrap();
        board.ready("slow");
        running(&handle, "n", 1).await;
        let left = handle.child_state("n").unwrap().children;
        assert_eq!(left.len(), 1);
        assert!(left[0].ready && !removed.ends_with(&left[0].id));
        assert!(shut_down(&handle).await.clean);
    }
}
