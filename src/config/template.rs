use rust_config_tree::template_for_path;

use super::{configurable::SupervisorConfig, schema_check::schema};

/// The JSON Schema of a configuration file, for editors; checked in as
/// `examples/config/supervisor.schema.json`.
pub fn json_schema() -> String {
    format!("{:#}\n", schema())
}

/// A configuration file with every key, its meaning and its default; checked in as
/// `examples/config/supervisor.template.yaml`.
pub fn template_yaml() -> String {
    let template = template_for_path::<SupervisorConfig>("supervisor.yaml").unwrap_or_default();
    let mut lines = vec!["# yaml-language-server: $schema=supervisor.schema.json".to_owned()];
    let mut is_default = false;
    for line in template.lines() {
        let text = line.trim_start();
        if is_default {
            // In effect it says the same, and there it can be edited.
            lines.push(line.replacen('#', "", 1));
        } else if let Some((indent, variable)) = line.split_once(ENVIRONMENT) {
            lines.push(format!(
                "{indent}# Environment: {}",
                variable.replace(['`', '.'], "")
            ));
        } else if text != "#" && !text.starts_with(DEFAULT) {
            lines.push(line.to_owned());
        }
        is_default = text.starts_with(DEFAULT);
        if lines.last().is_some_and(|line| line == "children: []") {
            lines.push(CHILDREN.to_owned());
        }
    }
    lines.join("\n") + "\n"
}

/// How confique begins the line before a default.
const DEFAULT: &str = "# Default value:";
/// How confique names an environment variable.
const ENVIRONMENT: &str = "# Can also be specified via environment variable ";

/// What confique cannot show of a list.
const CHILDREN: &str = r"#children:
#  # All keys but name and factory can be left out.
#  - name: consumer
#    kind: worker
#    factory: consumer
#    settings: {queue: orders}
#    restart_policy: permanent
#    significant: false
#    readiness: explicit
#    heartbeat: true
#    depends_on: [storage]
#    replicas: 4
#    tags: [orders]
#    policy: {initial_backoff_ms: 50, max_backoff_ms: 10000}
#    shutdown: {graceful_timeout_ms: 20000}
#  # A supervisor has children of its own; they inherit what it does not say from the top.
#  - name: storage
#    kind: supervisor
#    supervisor: {strategy: RestForOne}
#    children:
#      - {name: database, factory: database}
#      - {name: export, kind: blocking, factory: export}";
