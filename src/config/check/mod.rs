//! What a schema cannot say: how values stand to each other, and names to what they name.

mod children;
mod dependencies;
mod sections;

use serde_json::Value;

use super::{ConfigProblem, ProblemKind, configurable::SupervisorConfig};
use crate::spec::check_id;

/// Something wrong, and the path of its key.
pub(super) struct Finding {
    pub(super) key: String,
    pub(super) kind: ProblemKind,
    /// Other keys that it rests upon, or the ends of their paths where a key is inherited.
    relating: Vec<String>,
}

impl Finding {
    /// It rests upon these keys too.
    fn relating(&mut self, keys: &[&str]) {
        self.relating = keys.iter().map(|&key| key.to_owned()).collect();
    }

    /// Whether it may be there only because what was wrong at another key was left out: this finding's
    /// own key, one it rests upon, or one that may be a misspelling of those.
    pub(super) fn follows(&self, problem: &ConfigProblem) -> bool {
        let unknown = matches!(problem.kind, ProblemKind::UnknownKey { .. });
        let rests_upon = |key: &String| {
            let (wrong, key) = match unknown {
                true => (parent(&problem.key), parent(key)),
                false => (&*problem.key, &**key),
            };
            wrong
                .strip_suffix(key)
                .is_some_and(|owner| self.key.starts_with(owner.trim_end_matches('.')))
        };
        self.key.starts_with(&problem.key) || self.relating.iter().any(rests_upon)
    }
}

/// `children[2].policy` for `children[2].policy.max_backoff_ms`, `children` for `children[2]`.
fn parent(key: &str) -> &str {
    key.rfind(['.', '[']).map_or("", |end| &key[..end])
}

/// Everything whose meaning cannot stand.
pub(super) fn meaning(config: &SupervisorConfig) -> Vec<Finding> {
    let mut findings = Findings::default();
    findings.name("name", &config.name);
    let release = config.policy.quarantine_release_after_ms;
    sections::policy(&mut findings, "policy", &config.policy, release);
    sections::observability(&mut findings, &config.observability);
    sections::audit(&mut findings, &config.audit);
    sections::backpressure(&mut findings, &config.backpressure);
    sections::dashboard(&mut findings, &config.dashboard);
    children::of_root(&mut findings, config);
    findings.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn note(&mut self, key: impl Into<String>, kind: ProblemKind) -> &mut Finding {
        self.0.push(Finding {
            key: key.into(),
            kind,
            relating: Vec::new(),
        });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    fn invalid(
        &mut self,
        key: impl Into<String>,
        value: impl Into<Value>,
        reason: impl Into<String>,
    ) -> &mut Finding {
        let (value, reason) = (value.into(), reason.into());
        self.note(key, ProblemKind::Invalid { value, reason })
    }

    fn name(&mut self, key: &str, name: &str) {
        if check_id(name).is_err() {
            let reason = "a name is not blank, has no slash, and no white space around it";
            self.invalid(key, name, reason);
        }
    }
}
