use std::{
    convert::Infallible,
    path::{Path, PathBuf},
};

use figment::Figment;
use rust_config_tree::{
    ConfigFormat, ConfigSource, ConfigTreeError, ConfigTreeOptions, IncludeOrder,
    build_config_figment, load_config_from_figment, resolve_include_path,
};
use serde_json::Value;

use super::{
    ConfigError, ConfigProblem, ProblemKind, check,
    configurable::{ChildConfig, SupervisorConfig},
    parse::parse,
    schema_check,
    source::{FileValue, environment, shown, source_of},
};

/// What a configuration from a string is called where a file's name would stand.
const TEXT: &str = "(text)";

impl SupervisorConfig {
    /// Reads a file and what it includes, with the environment on top, and checks all of it.
    ///
    /// The format goes by the name: `.toml`, `.json`, everything else is YAML. A `.env` file beside it or
    /// above it sets environment variables that are not set yet.
    ///
    /// # Errors
    ///
    /// Everything that is wrong in any of the files, at once.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let root = shown(path);
        let mut problems = Vec::new();
        let files = read_tree(path, &mut problems);
        if !problems.is_empty() {
            let figment = files.into_iter().fold(Figment::new(), Figment::merge);
            let figment = figment.merge(environment(&mut problems));
            return finish(&figment, &root, problems);
        }
        let figment = build_config_figment::<Self>(path).map_err(|error| refused(&root, &error))?;
        // Only now: the step before has read the `.env` file.
        let fitting = environment(&mut problems);
        if !problems.is_empty() {
            let files = files.into_iter().fold(Figment::new(), Figment::merge);
            return finish(&files.merge(fitting), &root, problems);
        }
        finish(&figment, &root, problems)
    }

    /// The same from a string, without includes and without the environment.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at once.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let value = read_text(TEXT, ConfigFormat::Yaml, text, &mut problems);
        if !includes(&value).is_empty() {
            let kind = ProblemKind::Invalid {
                value: value["include"].clone(),
                reason: "a string has no place to include from; load a file instead".to_owned(),
            };
            problems.push(ConfigProblem::new(TEXT, "include", kind));
        }
        let path = PathBuf::from(TEXT);
        finish(&Figment::from(FileValue { path, value }), TEXT, problems)
    }
}

impl ChildConfig {
    /// A declaration of one child, as an item of `children` has it; for
    /// [`add_child`](crate::SupervisorHandle::add_child).
    ///
    /// # Errors
    ///
    /// Everything that is wrong with its form, at once. What it means shows where it is added.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        let value = parse(ConfigFormat::Yaml, text)
            .map_err(|kind| ConfigProblem::new(DECLARATION, "", kind))?;
        read_child(value)
    }
}

/// What a declaration is called where a file's name would stand.
const DECLARATION: &str = "(declaration)";

/// A child of a value that nobody has looked at.
pub(super) fn read_child(child: Value) -> Result<ChildConfig, ConfigError> {
    if !child.is_object() {
        let expected = "a child as in children: a map with a name".to_owned();
        let kind = ProblemKind::WrongType {
            value: child,
            expected,
        };
        return Err(ConfigProblem::new(DECLARATION, "", kind).into());
    }
    let mut problems = Vec::new();
    let mut value = serde_json::json!({ "children": [child] });
    schema_check::check(&mut value, DECLARATION, &mut problems);
    if !problems.is_empty() {
        return Err(of_child(ConfigError::of(problems)));
    }
    let child = serde_json::from_value(value["children"][0].take());
    let mut child: ChildConfig = child.map_err(|error| {
        let reason = error.to_string();
        ConfigProblem::new(DECLARATION, "", ProblemKind::Refused { reason })
    })?;
    child.declared_in(&DECLARATION.into());
    Ok(child)
}

/// The same problems, told of a child that stands in no list.
pub(super) fn of_child(error: ConfigError) -> ConfigError {
    let mut problems = error.problems().to_vec();
    for problem in &mut problems {
        if let Some(key) = problem.key.strip_prefix("children[0]") {
            problem.key = key.trim_start_matches('.').to_owned();
        }
    }
    ConfigError::of(problems)
}

/// Extracts the configuration, looks at what a schema cannot say, and tells everything found so far.
fn finish(
    figment: &Figment,
    root: &str,
    mut problems: Vec<ConfigProblem>,
) -> Result<SupervisorConfig, ConfigError> {
    let config = load_config_from_figment::<SupervisorConfig>(figment);
    let mut config = config.map_err(|error| {
        if problems.is_empty() {
            problems.push(refused(root, &error));
        }
        ConfigError::of(std::mem::take(&mut problems))
    })?;
    let declared_in = source_of(figment, "children", root);
    for child in &mut config.children {
        child.declared_in(&declared_in);
    }
    let file = |key: &str| source_of(figment, key, root).to_string();
    with_meaning(&mut problems, &config, file);
    if problems.is_empty() {
        return Ok(config);
    }
    Err(ConfigError::of(problems))
}

/// Adds what only the meaning shows, unless it may come from what is known to be wrong.
fn with_meaning(
    problems: &mut Vec<ConfigProblem>,
    config: &SupervisorConfig,
    file: impl Fn(&str) -> String,
) {
    let mut found = check::meaning(config);
    found.retain(|finding| !problems.iter().any(|known| finding.follows(known)));
    problems.extend(
        found
            .into_iter()
            .map(|finding| ConfigProblem::new(file(&finding.key), finding.key, finding.kind)),
    );
}

fn refused(file: &str, error: &rust_config_tree::ConfigError) -> ConfigProblem {
    let reason = error.to_string();
    ConfigProblem::new(file, "", ProblemKind::Refused { reason })
}

/// Every file that the include tree reaches, each held against the schema; the root last, as it counts most.
fn read_tree(path: &Path, problems: &mut Vec<ConfigProblem>) -> Vec<FileValue> {
    let options = ConfigTreeOptions::default().include_order(IncludeOrder::Reverse);
    let mut files = Vec::new();
    let walked = options.load(path, |path| -> Result<_, Infallible> {
        let (value, includes) = read_file(path, problems);
        files.push(FileValue {
            path: path.to_owned(),
            value,
        });
        Ok(ConfigSource::new((), includes))
    });
    match walked {
        Ok(_) => {}
        Err(ConfigTreeError::IncludeCycle { chain }) => {
            let chain: Vec<_> = chain.iter().map(|path| shown(path)).collect();
            let file = chain.iter().rev().nth(1).cloned().unwrap_or_default();
            problems.push(ConfigProblem::new(
                file,
                "include",
                ProblemKind::IncludeCycle { chain },
            ));
        }
        Err(error) => {
            let reason = error.to_string();
            problems.push(ConfigProblem::new(
                shown(path),
                "",
                ProblemKind::Refused { reason },
            ));
        }
    }
    files.reverse();
    files
}

/// A file's value, and those of its includes that exist.
fn read_file(path: &Path, problems: &mut Vec<ConfigProblem>) -> (Value, Vec<PathBuf>) {
    let file = shown(path);
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let reason = error.to_string();
            problems.push(ConfigProblem::new(
                file,
                "",
                ProblemKind::Unreadable { reason },
            ));
            return (Value::Object(serde_json::Map::new()), Vec::new());
        }
    };
    let value = read_text(&file, ConfigFormat::from_path(path), &text, problems);
    let mut there = Vec::new();
    for (index, include) in includes(&value).into_iter().enumerate() {
        let resolved = resolve_include_path(path, &include);
        if !include.as_os_str().is_empty() && resolved.exists() {
            there.push(include);
            continue;
        }
        let key = format!("include[{index}]");
        // A blank one stands for what was refused already.
        if problems
            .iter()
            .any(|known| known.file == file && known.key == key)
        {
            continue;
        }
        let kind = ProblemKind::Invalid {
            value: include.display().to_string().into(),
            reason: if include.as_os_str().is_empty() {
                "the name of a file cannot be blank".to_owned()
            } else {
                format!("there is no file {}", shown(&resolved))
            },
        };
        problems.push(ConfigProblem::new(&*file, key, kind));
    }
    (value, there)
}

fn read_text(
    file: &str,
    format: ConfigFormat,
    text: &str,
    problems: &mut Vec<ConfigProblem>,
) -> Value {
    let mut value = parse(format, text).unwrap_or_else(|kind| {
        problems.push(ConfigProblem::new(file, "", kind));
        Value::Object(serde_json::Map::new())
    });
    schema_check::check(&mut value, file, problems);
    value
}

fn includes(value: &Value) -> Vec<PathBuf> {
    let list = value.get("include").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(PathBuf::from)
        .collect()
}

/// The same check for a configuration that no file was read for.
pub(super) fn recheck(config: &SupervisorConfig) -> Vec<ConfigProblem> {
    const ITSELF: &str = "(configuration)";
    let mut problems = Vec::new();
    match serde_json::to_value(config) {
        Ok(mut value) => schema_check::check(&mut value, ITSELF, &mut problems),
        Err(error) => {
            let reason = error.to_string();
            problems.push(ConfigProblem::new(
                ITSELF,
                "",
                ProblemKind::Refused { reason },
            ));
        }
    }
    let declared_in = config.children.first().and_then(|child| child.file.clone());
    with_meaning(&mut problems, config, |key| match &declared_in {
        Some(file) if key.starts_with("children[") => file.to_string(),
        _ => ITSELF.to_owned(),
    });
    problems
}
