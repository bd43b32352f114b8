//! Configuration files: what each key does, what is inherited, and that what is checked in is fresh.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use proptest::prelude::*;
use rust_supervisor::{
    Factories, SupervisorConfig, TaskContext, TaskResult,
    config::configurable::{json_schema, template_yaml},
    service_fn,
};
use serde_json::{Value, json};

async fn idle(ctx: TaskContext) -> TaskResult {
    ctx.cancelled().await;
    Ok(())
}

fn factories() -> Factories {
    Factories::new()
        .worker("idle", |(): ()| idle)
        .blocking("spin", |(): ()| |_: TaskContext| ())
}

fn lowered(config: &Value) -> String {
    let config = SupervisorConfig::from_yaml(&config.to_string()).unwrap();
    format!("{:#?}", config.into_spec(&factories()).unwrap())
}

/// A tree with one child of each kind: a worker, a blocking one, a supervisor over a worker, a pool.
fn tree() -> Value {
    json!({"children": [
        {"name": "worker", "factory": "idle", "heartbeat": true},
        {"name": "blocking", "kind": "blocking", "factory": "spin"},
        {"name": "nested", "kind": "supervisor", "children": [
            {"name": "inner", "factory": "idle", "heartbeat": true}
        ]},
        {"name": "pool", "factory": "idle", "replicas": 2},
    ]})
}

fn with(mut config: Value, path: &str, value: Value) -> Value {
    let mut at = &mut config;
    for key in path.split('.') {
        at = match key.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[key],
        };
    }
    *at = value;
    config
}

/// A value other than the default for every key that ends in the tree.
fn changes() -> Vec<(&'static str, Value)> {
    vec![
        ("name", json!("shop")),
        ("supervisor.strategy", json!("OneForAll")),
        ("supervisor.escalation_policy", json!("shutdown_tree")),
        ("supervisor.auto_shutdown", json!("any_significant")),
        ("supervisor.control_channel_capacity", json!(7)),
        ("supervisor.event_channel_capacity", json!(7)),
        ("supervisor.dynamic_supervisor.enabled", json!(false)),
        ("supervisor.dynamic_supervisor.child_limit", json!(7)),
        ("policy.child_restart_limit", json!(7)),
        ("policy.child_restart_window_ms", json!(7)),
        ("policy.supervisor_failure_limit", json!(7)),
        ("policy.supervisor_failure_window_ms", json!(7)),
        ("policy.backoff", json!("linear")),
        ("policy.backoff_factor", json!(3)),
        ("policy.initial_backoff_ms", json!(7)),
        ("policy.max_backoff_ms", json!(777)),
        ("policy.backoff_reset_after_ms", json!(7)),
        ("policy.jitter", json!("full")),
        ("policy.jitter_ratio", json!(0.5)),
        ("policy.heartbeat_interval_ms", json!(7)),
        ("policy.stale_after_ms", json!(7000)),
        ("policy.start_timeout_ms", json!(7)),
        ("policy.on_fuse_blown", json!("stop")),
        ("policy.quarantine_release_after_ms", json!(7)),
        ("shutdown.graceful_timeout_ms", json!(7)),
        ("shutdown.abort_wait_ms", json!(7)),
        ("shutdown.order", json!("parallel")),
        ("shutdown.total_timeout_ms", json!(7)),
        ("observability.event_journal_capacity", json!(7)),
        ("observability.metrics_enabled", json!(false)),
        ("observability.audit_enabled", json!(false)),
        ("observability.journal_file.path", json!("j.jsonl")),
        ("audit.enabled", json!(false)),
        ("audit.failure_strategy", json!("defer_bounded")),
        ("audit.max_defer_queue", json!(7)),
        ("audit.memory_capacity", json!(7)),
        ("observability.slow_poll_ms", json!(7)),
        ("observability.stuck_poll_threshold_ms", json!(7)),
        ("backpressure.strategy", json!("drop_oldest")),
        ("backpressure.warn_threshold_pct", json!(7)),
        ("backpressure.critical_threshold_pct", json!(90)),
        ("backpressure.window_secs", json!(7)),
        ("backpressure.sample_every", json!(7)),
        ("backpressure.audit_channel_capacity", json!(7)),
        ("children.0.name", json!("other")),
        ("children.0.restart_policy", json!("transient")),
        ("children.0.significant", json!(true)),
        ("children.0.readiness", json!("explicit")),
        ("children.0.heartbeat", json!(false)),
        ("children.0.replicas", json!(3)),
        ("children.0.tags", json!(["a"])),
        ("children.1.depends_on", json!(["worker"])),
        ("children.2.restart_policy", json!("transient")),
        ("children.2.significant", json!(true)),
        ("children.2.depends_on", json!(["worker"])),
        ("children.2.tags", json!(["a"])),
        ("children.2.children", json!([])),
        ("children.3.replicas", json!(3)),
        ("children.3.significant", json!(true)),
        ("children.3.depends_on", json!(["worker"])),
        ("children.3.tags", json!(["a"])),
    ]
}

/// Keys that are checked when a file is loaded, and show elsewhere than in the tree.
const NOT_IN_THE_TREE: [&str; 14] = [
    "include",
    "dashboard.enabled",
    "dashboard.target_id",
    "dashboard.path",
    "dashboard.permissions",
    "dashboard.bind_mode",
    "dashboard.registration.enabled",
    "dashboard.registration.relay_registration_path",
    "dashboard.registration.display_name",
    "dashboard.registration.lease_seconds",
    "dashboard.registration.registration_heartbeat_interval_seconds",
    // What a child runs shows when its factory is called.
    "children.0.kind",
    "children.0.factory",
    "children.0.settings",
];

/// The same for what is written to files, in a tree that has them.
fn changes_to_files() -> Vec<(&'static str, Value)> {
    vec![
        ("audit.backend", json!("memory")),
        ("audit.file_path", json!("b.jsonl")),
        ("audit.rotation.max_file_bytes", json!(7777)),
        ("audit.rotation.max_file_age_secs", json!(7)),
        ("audit.rotation.max_total_bytes", json!(99_999_999)),
        (
            "observability.journal_file.rotation.max_file_bytes",
            json!(7777),
        ),
        (
            "observability.journal_file.rotation.max_file_age_secs",
            json!(7),
        ),
        (
            "observability.journal_file.rotation.max_total_bytes",
            json!(99_999_999),
        ),
    ]
}

fn tree_with_files() -> Value {
    let mut config = tree();
    config["audit"] = json!({"backend": "file", "file_path": "a.jsonl", "rotation": {}});
    config["observability"] = json!({"journal_file": {"path": "j.jsonl", "rotation": {}}});
    config
}

#[test]
fn every_key_of_a_file_changes_the_tree() {
    let base = lowered(&tree_with_files());
    for (key, value) in changes_to_files() {
        let mut config = with(tree_with_files(), key, value);
        if key == "audit.backend" {
            config["audit"].as_object_mut().unwrap().remove("file_path");
        }
        assert_ne!(base, lowered(&config), "{key}");
    }
}

#[test]
fn every_key_changes_the_tree() {
    let base = lowered(&tree());
    for (key, value) in changes() {
        assert_ne!(base, lowered(&with(tree(), key, value)), "{key}");
    }
}

#[test]
fn what_is_observed_of_a_child_is_observed_of_every_supervisor_and_pool() {
    let changed = with(tree(), "observability", json!({"metrics_enabled": false}));
    assert!(lowered(&tree()).contains("metrics: true"));
    assert!(!lowered(&changed).contains("metrics: true"));
}

#[test]
fn no_key_is_left_out_of_the_test_above() {
    fn keys(schema: &Value, at: &Value, path: &str, found: &mut BTreeSet<String>) {
        for (key, property) in at["properties"].as_object().unwrap() {
            let path = format!("{path}{key}");
            let section = property["$ref"]
                .as_str()
                .and_then(|to| schema.pointer(to.strip_prefix('#')?))
                .filter(|section| section["properties"].is_object());
            match section {
                Some(section) => keys(schema, section, &format!("{path}."), found),
                None => _ = found.insert(path),
            }
        }
    }
    let schema: Value = serde_json::from_str(&json_schema()).unwrap();
    let mut there = BTreeSet::new();
    keys(&schema, &schema, "", &mut there);
    // A child's sections are those at the top and have a test of their own.
    let child = schema["$defs"]["ChildConfig"]["properties"]
        .as_object()
        .unwrap();
    let sections = ["policy", "shutdown", "supervisor"];
    let of_child = child.keys().filter(|key| !sections.contains(&key.as_str()));
    there.extend(of_child.map(|key| format!("children.{key}")));

    let tested: BTreeSet<_> = changes()
        .iter()
        .chain(&changes_to_files())
        .map(|(key, _)| *key)
        .chain(NOT_IN_THE_TREE)
        .map(|key| match key.strip_prefix("children.") {
            Some(of_child) => format!("children.{}", &of_child[2..]),
            None => key.to_owned(),
        })
        .chain(["children".to_owned()])
        .collect();
    assert_eq!(there, tested);
}

#[test]
fn every_key_of_a_section_can_be_said_again_beneath_it() {
    let whole_tree = ["control_channel", "event_channel", "total_timeout"];
    let base = lowered(&tree());
    for (key, value) in changes() {
        let section = ["policy.", "shutdown.", "supervisor."]
            .iter()
            .any(|section| key.starts_with(section));
        if section && !whole_tree.iter().any(|part| key.contains(part)) {
            let key = format!("children.2.{key}");
            assert_ne!(base, lowered(&with(tree(), &key, value)), "{key}");
        }
    }
}

#[test]
fn what_is_not_named_comes_from_the_parent() {
    let top = json!({"child_restart_limit": 3, "initial_backoff_ms": 20});
    let config = with(tree(), "policy", top);
    let config = with(config, "children.2.policy.child_restart_limit", json!(4));
    let config = with(
        config,
        "children.2.children.0.policy.max_backoff_ms",
        json!(30),
    );
    let spec = lowered(&config);
    let inner = &spec[spec.find("\"inner\"").unwrap()..spec.find("\"pool\"").unwrap()];
    assert!(inner.contains("failures: 4"), "{inner}");
    assert!(inner.contains("initial: 20ms"), "{inner}");
    assert!(inner.contains("max: 30ms"), "{inner}");
}

#[test]
fn a_nested_supervisor_inherits_its_parents_strategy() {
    let count = |config: &Value| lowered(config).matches("strategy: OneForAll").count();
    let config = with(tree(), "supervisor.strategy", json!("OneForAll"));
    assert_eq!(count(&config), 2);
    let config = with(
        config,
        "children.2.supervisor.strategy",
        json!("RestForOne"),
    );
    assert_eq!(count(&config), 1);
}

#[test]
fn a_pool_has_its_declarations_limits_and_its_own_order() {
    let spec = lowered(&with(
        tree(),
        "children.3.policy.supervisor_failure_limit",
        json!(77),
    ));
    assert!(spec.contains("failures: 77"), "{spec}");
    assert!(spec.contains("shutdown_order: Parallel"), "{spec}");
    let spec = lowered(&with(tree(), "children.3.shutdown.order", json!("reverse")));
    assert!(!spec.contains("shutdown_order: Parallel"), "{spec}");
    let none = json!({"children": [{"name": "none", "factory": "idle", "replicas": 0}]});
    assert!(lowered(&none).contains("id: \"none\""));
}

#[test]
fn factories_are_called_once_per_child_and_once_per_replica() {
    #[derive(serde::Deserialize)]
    #[serde(default)]
    struct Settings {
        queue: String,
    }
    impl Default for Settings {
        fn default() -> Self {
            let queue = "default".to_owned();
            Self { queue }
        }
    }
    let built = Arc::new(Mutex::new(Vec::new()));
    let seen = built.clone();
    let factories = Factories::new()
        .worker("consume", move |settings: Settings| {
            seen.lock().unwrap().push(settings.queue);
            idle
        })
        .service("service", |_: Option<u8>| service_fn(idle))
        .blocking("export", |(): ()| |_: TaskContext| ());
    let config = SupervisorConfig::from_yaml(
        "children:
          - {name: a, factory: consume, settings: {queue: orders}}
          - {name: b, factory: consume}
          - {name: c, factory: consume, replicas: 3, settings: {queue: many}}
          - {name: d, factory: service}
          - {name: e, kind: blocking, factory: export}",
    );
    config.unwrap().into_spec(&factories).unwrap();
    let built = built.lock().unwrap();
    assert_eq!(*built, ["orders", "default", "many", "many", "many"]);
}

#[test]
fn the_sections_of_the_description_load() {
    let config = SupervisorConfig::from_yaml(
        r#"
backpressure: {strategy: alert_and_block, warn_threshold_pct: 80, critical_threshold_pct: 95, window_secs: 30, audit_channel_capacity: 1024}
dashboard:
  enabled: false
  target_id: payments-worker-a
  path: /run/rust-supervisor/payments-worker-a.sock
  permissions: "0600"
  bind_mode: create_new
  registration: {enabled: true, relay_registration_path: /run/rust-supervisor/dashboard-relay-registration.sock, display_name: "payments worker a", lease_seconds: 30, registration_heartbeat_interval_seconds: 15}
"#,
    )
    .unwrap();
    assert_eq!(config.dashboard.mode(), Some(0o600));
    assert_eq!(config.dashboard.registration.lease_seconds, 30);
}

#[test]
fn a_configuration_survives_being_written_and_read() {
    let config = with(tree(), "children.2.policy.child_restart_limit", json!(4));
    let config = SupervisorConfig::from_yaml(&config.to_string()).unwrap();
    let written = serde_json::to_string(&config).unwrap();
    let read = SupervisorConfig::from_yaml(&written).unwrap();
    assert_eq!(written, serde_json::to_string(&read).unwrap());
}

#[test]
fn the_checked_in_template_and_schema_are_fresh() {
    for (file, fresh) in [
        ("supervisor.template.yaml", template_yaml()),
        ("supervisor.schema.json", json_schema()),
    ] {
        let path = format!("{}/examples/config/{file}", env!("CARGO_MANIFEST_DIR"));
        let checked_in = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            checked_in == fresh,
            "{file} is stale: run `cargo xtask generate`"
        );
    }
}

#[test]
fn the_template_says_the_defaults_and_loads() {
    let config = SupervisorConfig::from_yaml(&template_yaml()).unwrap();
    assert_eq!(
        serde_json::to_value(config).unwrap(),
        serde_json::to_value(SupervisorConfig::default()).unwrap()
    );
}

#[test]
fn the_templates_children_load_when_they_are_taken_in() {
    let template = template_yaml().replace("children: []\n", "");
    let (before, sample) = template.split_once("#children:").unwrap();
    let (sample, after) = sample.split_once("\n\n").unwrap();
    let sample = sample.replace("\n#", "\n").replace("\n  #", "\n#");
    let text = format!("{before}children:{sample}\n\n{after}");
    let config = SupervisorConfig::from_yaml(&text).unwrap();
    assert_eq!(config.children.len(), 2);
    assert_eq!(config.children[1].children.len(), 2);
}

#[test]
fn the_schema_allows_no_stranger_anywhere() {
    let schema: Value = serde_json::from_str(&json_schema()).unwrap();
    let sections = schema["$defs"].as_object().unwrap().values();
    for section in sections.chain([&schema]) {
        if section["properties"].is_object() {
            assert_eq!(section["additionalProperties"], false, "{section}");
        }
    }
    let child = &schema["$defs"]["ChildConfig"];
    assert_eq!(
        child["properties"]["children"]["items"]["$ref"],
        "#/$defs/ChildConfig"
    );
    assert_eq!(child["required"], json!(["name"]));
    let policy = &schema["$defs"]["PolicySection"]["properties"];
    assert_eq!(policy["jitter_ratio"]["maximum"], 1.0);
}

/// What becomes of a text: anything but a panic.
fn tried(text: &str) {
    let result =
        SupervisorConfig::from_yaml(text).and_then(|config| config.into_spec(&factories()));
    if let Err(error) = result {
        assert!(!error.problems().is_empty() && !error.to_string().is_empty());
    }
}

#[test]
fn no_depth_and_no_repetition_makes_it_panic() {
    let dir = tempfile::tempdir().unwrap();
    let deep = |open: &str, close: &str| open.repeat(2_000) + &close.repeat(2_000);
    let laughs = (1..40).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
        let last = format!("*a{}", n - 1);
        text + &format!("a{n}: &a{n} [{last}, {last}, {last}]\n")
    });
    for (file, text) in [
        ("a.yaml", deep("[", "]")),
        (
            "a.yaml",
            format!("children: {}", deep("[{name: a, children: ", "}]")),
        ),
        ("a.yaml", laughs),
        ("a.json", deep("[", "]")),
        ("a.toml", format!("name = {}", deep("[", "]"))),
        ("a.toml", format!("{}x = 1", "a.".repeat(2_000))),
    ] {
        let path = dir.path().join(file);
        std::fs::write(&path, text).unwrap();
        let error = SupervisorConfig::load(path).unwrap_err();
        assert!(!error.problems().is_empty(), "{error}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        tried(&text);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), format in 0_usize..3) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(["a.yaml", "a.toml", "a.json"][format]);
        std::fs::write(&file, bytes).unwrap();
        let _ = SupervisorConfig::load(file);
    }

    #[test]
    fn no_slip_in_a_good_file_makes_it_panic(
        at: prop::sample::Index, gone in 0_usize..40, put in "[-\\[\\]{}:,#&*!|>'\"%@`a-z0-9\n\t .]{0,6}",
    ) {
        let sample = with(tree(), "children.0.policy", json!({"max_backoff_ms": 10000, "jitter": "none"}));
        for text in [template_yaml(), sample.to_string()] {
            let mut letters: Vec<_> = text.chars().collect();
            let start = at.index(letters.len());
            let end = (start + gone).min(letters.len());
            letters.splice(start..end, put.chars());
            tried(&letters.into_iter().collect::<String>());
        }
    }

    #[test]
    fn no_value_under_a_known_key_makes_it_panic(
        key in prop::sample::select(changes().iter().map(|(key, _)| *key).chain(NOT_IN_THE_TREE).collect::<Vec<_>>()),
        value in prop_oneof![
            any::<i64>().prop_map(Value::from), any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from), any::<bool>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from), Just(Value::Null), Just(json!([])), Just(json!({})),
            Just(json!([[], {}, 5, "a"])), Just(json!({"a": {"b": []}})),
        ],
    ) {
        tried(&with(tree(), key, value).to_string());
    }
}
