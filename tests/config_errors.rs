//! What a person reads who wrote something wrong: every problem at once, with its place and the way out.

use std::{fs, path::Path};

use rust_supervisor::{
    ConfigError, Factories, SupervisorConfig, SupervisorSpec, TaskContext, TaskResult,
};

async fn idle(ctx: TaskContext) -> TaskResult {
    ctx.cancelled().await;
    Ok(())
}

#[derive(serde::Deserialize)]
struct Limited {
    #[serde(rename = "limits")]
    _limits: Vec<u8>,
}

fn no_port((): ()) -> fn(TaskContext) -> std::future::Ready<()> {
    panic!("no port")
}

fn factories() -> Factories {
    Factories::new()
        .worker("gateway", |(): ()| idle)
        .worker("limited", |_: Limited| idle)
        .worker("broken", no_port)
        .blocking("export", |(): ()| |_: TaskContext| ())
}

fn lines(error: &ConfigError) -> Vec<String> {
    error.problems().iter().map(ToString::to_string).collect()
}

/// The problems of a text, one line each.
#[track_caller]
fn problems(text: &str) -> Vec<String> {
    let config = SupervisorConfig::from_yaml(text);
    let error = config.and_then(|config| config.into_spec(&factories()));
    lines(&error.unwrap_err())
}

/// The one problem of a text.
#[track_caller]
fn one(text: &str, expected: &str) {
    assert_eq!(problems(text), [format!("(text): {expected}")], "{text}");
}

fn load(path: &Path) -> Result<SupervisorSpec, ConfigError> {
    SupervisorConfig::load(path)?.into_spec(&factories())
}

/// The problems of files, the first of which is loaded, with the directory's name left out.
#[track_caller]
fn problems_of(files: &[(&str, &[u8])]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let error = load(&dir.path().join(files[0].0)).unwrap_err();
    let dir = format!("{}/", dir.path().display());
    let lines = lines(&error);
    lines.iter().map(|line| line.replace(&dir, "")).collect()
}

#[test]
fn everything_is_told_at_once() {
    let error = SupervisorConfig::from_yaml(
        "policy: {max_backof_ms: 5, jitter_ratio: 1.5}
shutdown: {order: backwards}
backpressure: {warn_threshold_pct: 96}
children:
  - {name: a/b, factory: gateway, tags: many}
  - {name: s, kind: supervisor, children: [{name: c, factory: gateway, depends_on: [d]}]}",
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the configuration has 7 problems:
  (text): children[0].tags: is "many", expected a list
  (text): policy.jitter_ratio: is 1.5, out of range: allowed is a number from 0.0 to 1.0
  (text): policy.max_backof_ms: there is no such key; did you mean "max_backoff_ms"?
  (text): shutdown.order: is "backwards"; allowed: reverse, parallel
  (text): backpressure.warn_threshold_pct: is 96: the warning has to come before critical_threshold_pct: 95
  (text): children[0].name: is "a/b": a name is not blank, has no slash, and no white space around it
  (text): children[1].children[0].depends_on[0]: names the sibling "d", which does not exist; there are: c"#
    );
    // What `main` prints when it returns one.
    assert_eq!(format!("{error:?}"), error.to_string());
}

#[test]
fn what_only_follows_from_another_problem_is_not_told() {
    one(
        "policy: {initial_backoff_ms: 6000, max_backoff_ms: ten}",
        r#"policy.max_backoff_ms: is "ten", expected a whole number"#,
    );
    one(
        "{policy: {max_backof_ms: 9000}, children: [{name: a, factory: gateway, policy: {initial_backoff_ms: 6000}}]}",
        r#"policy.max_backof_ms: there is no such key; did you mean "max_backoff_ms"?"#,
    );
    one(
        "children: [{name: a, factry: gateway}]",
        r#"children[0].factry: there is no such key; did you mean "factory"?"#,
    );
    assert_eq!(
        problems(
            "{nmae: x, children: [{name: a, factory: gateway, depends_on: [b]}, {nam: b, factory: gateway}]}"
        ),
        [
            "(text): children[1].name: is missing: its name among its siblings, not blank, no slash",
            r#"(text): children[1].nam: there is no such key; did you mean "name"?"#,
            r#"(text): nmae: there is no such key; did you mean "name"?"#,
        ]
    );
}

#[test]
fn unknown_keys_come_with_the_nearest_or_with_all() {
    one(
        "polcy: {}",
        r#"polcy: there is no such key; did you mean "policy"?"#,
    );
    one(
        "shutdown: {colour: red}",
        "shutdown.colour: there is no such key; known here: abort_wait_ms, graceful_timeout_ms, order, total_timeout_ms",
    );
    one(
        "children: [{name: a, factory: gateway, policy: {backof: none}}]",
        r#"children[0].policy.backof: there is no such key; did you mean "backoff"?"#,
    );
}

#[test]
fn wrong_types_come_with_what_belongs_there() {
    for (text, expected) in [
        (
            "supervisor: 5",
            "supervisor: is 5, expected keys and their values",
        ),
        (
            "policy:",
            "policy: is empty, expected keys and their values",
        ),
        ("", "is empty, expected keys and their values"),
        ("children: {}", "children: is {}, expected a list"),
        (
            "children: [5]",
            "children[0]: is 5, expected keys and their values",
        ),
        ("name: 5", "name: is 5, expected a string"),
        (
            "observability: {metrics_enabled: 'yes'}",
            r#"observability.metrics_enabled: is "yes", expected true or false"#,
        ),
        (
            "policy: {max_backoff_ms: 5.5}",
            "policy.max_backoff_ms: is 5.5, expected a whole number",
        ),
        (
            "policy: {jitter: 1}",
            "policy.jitter: is 1, expected one of none, ratio, full, equal",
        ),
    ] {
        one(text, expected);
    }
}

#[test]
fn numbers_come_with_their_range() {
    for wrong in ["0", "-1", "31536000001", "18446744073709551615"] {
        one(
            &format!("policy: {{max_backoff_ms: {wrong}}}"),
            &format!(
                "policy.max_backoff_ms: is {wrong}, out of range: allowed is a whole number from 1 to 31536000000"
            ),
        );
    }
    one(
        "policy: {child_restart_limit: 99999999999999999999999}",
        "policy.child_restart_limit: is 1e+23, out of range: allowed is a whole number from 0 to 1000000",
    );
    one(
        "backpressure: {warn_threshold_pct: 101}",
        "backpressure.warn_threshold_pct: is 101, out of range: allowed is a whole number from 0 to 100",
    );
    one(
        "observability: {stuck_poll_threshold_ms: -1}",
        "observability.stuck_poll_threshold_ms: is -1, out of range: allowed is a whole number from 0 to 31536000000",
    );
}

#[test]
fn values_are_held_against_each_other() {
    one(
        "policy: {initial_backoff_ms: 6000}",
        "policy.initial_backoff_ms: is 6000: the first wait cannot be longer than the longest, max_backoff_ms: 5000",
    );
    one(
        "policy: {heartbeat_interval_ms: 3000}",
        "policy.heartbeat_interval_ms: is 3000: a sign of life has to come sooner than stale_after_ms: 3000",
    );
    one(
        "policy: {on_fuse_blown: stop, quarantine_release_after_ms: 9}",
        "policy.quarantine_release_after_ms: is 9: only with on_fuse_blown: quarantine is there anything to release",
    );
    one(
        "children: [{name: a, factory: gateway, policy: {max_backoff_ms: 50}}]",
        "children[0].policy.initial_backoff_ms: is 100: the first wait cannot be longer than the longest, max_backoff_ms: 50",
    );
}

#[test]
fn names_are_checked() {
    let rule = "a name is not blank, has no slash, and no white space around it";
    for name in ["", " ", "a/b", " a"] {
        one(
            &format!("children: [{{name: {name:?}, factory: gateway}}]"),
            &format!("children[0].name: is {name:?}: {rule}"),
        );
    }
    one("name: a/b", &format!(r#"name: is "a/b": {rule}"#));
    one(
        "children: [{name: a, factory: gateway}, {name: b, factory: gateway}, {name: a, factory: gateway}]",
        r#"children[2].name: is "a": children[0] has this name already"#,
    );
    one(
        "children: [{factory: gateway}]",
        "children[0].name: is missing: its name among its siblings, not blank, no slash",
    );
}

#[test]
fn each_kind_has_its_own_keys() {
    one(
        "children: [{name: a}]",
        "children[0].factory: is missing: a worker needs the name of a factory",
    );
    one(
        "children: [{name: a, kind: suprvisor}]",
        r#"children[0].kind: is "suprvisor"; did you mean "supervisor"?"#,
    );
    assert_eq!(
        problems(
            "children: [{name: s, kind: supervisor, factory: gateway, settings: 5, replicas: 2, heartbeat: true}]"
        ),
        [
            r#"(text): children[0].factory: is "gateway": a supervisor has none; its children may"#,
            "(text): children[0].settings: is 5: a supervisor has none; its children may",
            "(text): children[0].replicas: is 2: a supervisor has none; its children may",
            "(text): children[0].heartbeat: is true: a supervisor has none; its children may",
        ]
    );
    assert_eq!(
        problems(
            "children: [{name: a, factory: gateway, supervisor: {strategy: OneForAll}, shutdown: {order: parallel}, children: [{name: b, factory: gateway}]}]"
        ),
        [
            "(text): children[0].children: is 1: only a child of kind: supervisor has children",
            r#"(text): children[0].supervisor: is {"strategy":"OneForAll"}: it has no effect on a worker; say it on its supervisor"#,
            r#"(text): children[0].shutdown.order: is "parallel": it has no effect on a worker; say it on its supervisor"#,
        ]
    );
}

#[test]
fn what_counts_elsewhere_is_sent_there() {
    one(
        "children: [{name: s, kind: supervisor, shutdown: {total_timeout_ms: 5}}]",
        "children[0].shutdown.total_timeout_ms: is 5: it counts for the whole tree; say it at the top of the file",
    );
    one(
        "{supervisor: {dynamic_supervisor: {child_limit: 1}}, children: [{name: a, factory: gateway}, {name: b, factory: gateway}]}",
        "supervisor.dynamic_supervisor.child_limit: is 1: 2 children are declared here already",
    );
}

#[test]
fn dependencies_are_checked() {
    one(
        "children: [{name: cache, factory: gateway}, {name: b, factory: gateway, depends_on: [cahce]}]",
        r#"children[1].depends_on[0]: names the sibling "cahce", which does not exist; did you mean "cache"?"#,
    );
    one(
        "children: [{name: z, factory: gateway, depends_on: [a]}, {name: a, factory: gateway, depends_on: [b]}, {name: b, factory: gateway, depends_on: [a]}]",
        r#"children[1].depends_on: is ["b"]: they wait for each other: a -> b -> a"#,
    );
    one(
        "children: [{name: a, factory: gateway, depends_on: [a]}]",
        r#"children[0].depends_on: is ["a"]: they wait for each other: a -> a"#,
    );
    one(
        "{supervisor: {strategy: RestForOne}, children: [{name: a, factory: gateway, depends_on: [b]}, {name: b, factory: gateway}]}",
        r#"children[0].depends_on[0]: is "b": under RestForOne a child can depend only on those declared before it"#,
    );
}

#[test]
fn factories_are_checked() {
    one(
        "children: [{name: a, factory: gatway}]",
        r#"children[0].factory: names the factory "gatway", which does not exist; did you mean "gateway"?"#,
    );
    one(
        "children: [{name: a, kind: blocking, factory: gateway}]",
        r#"children[0].kind: is "blocking": factory "gateway" needs kind: worker"#,
    );
    one(
        "children: [{name: a, factory: limited, settings: {limits: [1, 300]}}]",
        r#"children[0].settings.limits[1]: does not fit factory "limited": invalid value: integer `300`, expected u8"#,
    );
    one(
        "children: [{name: a, factory: limited}]",
        r#"children[0].settings: does not fit factory "limited": missing field `limits`"#,
    );
    let told = problems("children: [{name: a, factory: broken}]");
    assert!(
        told[0].starts_with(
            r#"(text): children[0].factory: names the factory "broken", which panicked: "#
        ) && told[0].contains("no port"),
        "{told:?}"
    );
    let twice = factories().worker("gateway", |(): ()| idle);
    let error = SupervisorConfig::default().into_spec(&twice).unwrap_err();
    assert_eq!(
        lines(&error),
        [
            r#"(program): factory: is "gateway": the program registers two factories under this name"#
        ]
    );
}

#[test]
fn what_is_written_to_files_is_checked() {
    one(
        "audit: {backend: file}",
        "audit.file_path: is missing: the audit needs to know its file",
    );
    one(
        "audit: {file_path: a.jsonl}",
        "audit.file_path: is \"a.jsonl\": only with backend: file is there one",
    );
    one(
        "audit: {rotation: {max_file_age_secs: 5}}",
        "audit.file_path: is missing: without a file there is nothing to rotate",
    );
    one(
        "observability: {journal_file: {path: j.jsonl, rotation: {max_total_bytes: 2000}}}",
        "observability.journal_file.rotation.max_total_bytes: is 2000: all files together cannot hold less than one, max_file_bytes: 16777216",
    );
    one(
        "observability: {journal_file: {rotation: {max_file_bytes: 2000}}}",
        "observability.journal_file.path: is missing: without a file there is nothing to rotate",
    );
    one(
        "audit: {failure_strategy: fail_open}",
        "audit.failure_strategy: is \"fail_open\"; allowed: fail_closed, defer_bounded",
    );
}

#[test]
fn the_dashboard_is_refused_until_it_can_be_served() {
    let told = problems(
        "dashboard: {enabled: true, path: run/x.sock, permissions: '0622', registration: {enabled: true, lease_seconds: 15}}",
    );
    assert!(
        told[0].starts_with("(text): dashboard.enabled: is true: ")
            && told[0].ends_with("set it to false: events, metrics and the journal remain"),
        "{told:?}"
    );
    assert_eq!(
        told[1..],
        [
            "(text): dashboard.target_id: is missing: the dashboard needs a name for this process",
            "(text): dashboard.registration.relay_registration_path: is missing: registration needs the relay's socket, as an absolute path",
            r#"(text): dashboard.path: is "run/x.sock": the path has to be absolute"#,
            r#"(text): dashboard.permissions: is "0622": the socket must never be writable by everybody, like "0600" or "0660""#,
            "(text): dashboard.registration.registration_heartbeat_interval_seconds: is 15: a lease has to be renewed before it ends, lease_seconds: 15",
        ]
    );
    for wrong in ["0800", "rw-------", "600000", "", "+60"] {
        one(
            &format!("dashboard: {{permissions: {wrong:?}}}"),
            &format!(
                "dashboard.permissions: is {wrong:?}: expected three octal digits in quotes, like \"0600\""
            ),
        );
    }
}

#[test]
fn syntax_errors_come_with_line_and_column() {
    let told = problems("name: x\n\tpolicy: 5");
    assert_eq!(
        told,
        ["(text):2:1: a tab stands here: YAML is indented with spaces"]
    );
    let told = problems_of(&[("a.yaml", "\u{feff}name: x\n".as_bytes())]);
    assert_eq!(
        told,
        ["a.yaml:1:1: starts with a byte order mark; save it as UTF-8 without one"]
    );
    let told = problems("name: x\nname: y\n");
    assert!(
        told[0].contains("the key \"name\" stands twice"),
        "{told:?}"
    );
    let told = problems_of(&[("a.toml", b"\nname = \"x")]);
    assert!(told[0].starts_with("a.toml:2:"), "{told:?}");
    let told = problems_of(&[("a.json", b"{\n\"name\": }")]);
    assert!(told[0].starts_with("a.json:2:9: "), "{told:?}");
}

#[test]
fn problems_of_several_files_each_name_theirs() {
    let told = problems_of(&[
        ("a.yaml", b"include: [b.yaml, c.yaml]\nshutdown: {order: x}"),
        ("b.yaml", b"shutdown: {orde: reverse}"),
        (
            "c.yaml",
            b"policy: {initial_backoff_ms: 9000}\nchildren: [{name: a}]",
        ),
    ]);
    assert_eq!(
        told,
        [
            r#"a.yaml: shutdown.order: is "x"; allowed: reverse, parallel"#,
            r#"b.yaml: shutdown.orde: there is no such key; did you mean "order"?"#,
            "c.yaml: policy.initial_backoff_ms: is 9000: the first wait cannot be longer than the longest, max_backoff_ms: 5000",
            "c.yaml: children[0].factory: is missing: a worker needs the name of a factory",
        ]
    );
    let told = problems_of(&[
        ("a.yaml", b"include: [b.yaml]"),
        (
            "b.yaml",
            b"children: [{name: a, factory: exprt, kind: blocking}]",
        ),
    ]);
    assert_eq!(
        told,
        [
            r#"b.yaml: children[0].factory: names the factory "exprt", which does not exist; did you mean "export"?"#
        ]
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let told = problems_of(&[("a.yaml", b"include: [gone.yaml, '']")]);
    assert_eq!(
        told,
        [
            r#"a.yaml: include[0]: is "gone.yaml": there is no file gone.yaml"#,
            r#"a.yaml: include[1]: is "": the name of a file cannot be blank"#,
        ]
    );
    let told = problems_of(&[("a.yaml", b"\xff\xfe")]);
    assert_eq!(
        told,
        ["a.yaml: cannot be read: stream did not contain valid UTF-8"]
    );
    for path in ["/nonexistent/a.yaml", "/"] {
        let told = lines(&load(Path::new(path)).unwrap_err());
        assert!(
            told[0].starts_with(&format!("{path}: cannot be read: ")),
            "{told:?}"
        );
    }
    one(
        "include: [a.yaml]",
        r#"include: is ["a.yaml"]: a string has no place to include from; load a file instead"#,
    );
}

#[test]
fn files_that_include_each_other_are_named() {
    let told = problems_of(&[
        ("a.yaml", b"include: [b.yaml]"),
        ("b.yaml", b"include: [a.yaml]"),
    ]);
    assert_eq!(
        told,
        ["b.yaml: include: includes itself: a.yaml -> b.yaml -> a.yaml"]
    );
}

#[test]
fn what_a_file_says_goes_before_what_it_includes() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        (
            "a.yaml",
            "include: [b.yaml, c.toml]\npolicy: {child_restart_limit: 1}",
        ),
        (
            "b.yaml",
            "name: b\npolicy: {child_restart_limit: 2, max_backoff_ms: 222}",
        ),
        (
            "c.toml",
            "name = 'c'\n[policy]\nsupervisor_failure_limit = 3",
        ),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let config = SupervisorConfig::load(dir.path().join("a.yaml")).unwrap();
    assert_eq!(config.name, "c");
    assert_eq!(config.policy.child_restart_limit, 1);
    assert_eq!(config.policy.max_backoff_ms, 222);
    assert_eq!(config.policy.supervisor_failure_limit, 3);
}

#[test]
fn what_a_program_changes_is_checked_as_well() {
    let mut config = SupervisorConfig::default();
    config.policy.jitter_ratio = 2.0;
    config.backpressure.critical_threshold_pct = 5;
    let error = config.into_spec(&factories()).unwrap_err();
    assert_eq!(
        lines(&error),
        [
            "(configuration): policy.jitter_ratio: is 2.0, out of range: allowed is a number from 0.0 to 1.0",
            "(configuration): backpressure.warn_threshold_pct: is 80: the warning has to come before critical_threshold_pct: 5",
        ]
    );
}
