//! Environment variables, in a process of their own: a `.env` file changes all of it.

use std::fs;

use rust_supervisor::SupervisorConfig;

#[test]
fn the_environment_goes_before_the_files_and_is_checked_like_them() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("supervisor.yaml");
    let environment = |text| fs::write(dir.path().join(".env"), text).unwrap();
    fs::write(
        &file,
        "name: from_file\npolicy: {child_restart_limit: 1, initial_backoff_ms: 10}",
    )
    .unwrap();
    environment("SUPERVISOR_NAME=from_environment\nSUPERVISOR_POLICY_MAX_BACKOFF_MS=250");
    let config = SupervisorConfig::load(&file).unwrap();
    assert_eq!(config.name, "from_environment");
    assert_eq!(config.policy.max_backoff_ms, 250);
    assert_eq!(config.policy.child_restart_limit, 1);

    environment("SUPERVISOR_POLICY_JITTER_RATIO=7\nSUPERVISOR_DASHBOARD_PATH=x.sock");
    let error = SupervisorConfig::load(&file).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the configuration has 2 problems:
  SUPERVISOR_POLICY_JITTER_RATIO: policy.jitter_ratio: is 7, out of range: allowed is a number from 0.0 to 1.0
  SUPERVISOR_DASHBOARD_PATH: dashboard.path: is "x.sock": the path has to be absolute"#
    );
}
