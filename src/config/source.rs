use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use confique::{
    Config,
    meta::{FieldKind, Meta},
};
use figment::{
    Figment, Metadata, Profile, Provider,
    providers::Serialized,
    value::{Dict, Map},
};
use rust_config_tree::ConfiqueEnvProvider;
use serde_json::Value;

use super::{ConfigProblem, configurable::SupervisorConfig, schema_check};

/// What one file says, as far as it fits the schema.
pub(super) struct FileValue {
    pub(super) path: PathBuf,
    pub(super) value: Value,
}

impl Provider for FileValue {
    fn metadata(&self) -> Metadata {
        Metadata::from("file", &*self.path)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Serialized::defaults(&self.value).data()
    }
}

/// What the environment says, as far as it fits the schema.
pub(super) struct EnvironmentValue(Value);

impl Provider for EnvironmentValue {
    fn metadata(&self) -> Metadata {
        ConfiqueEnvProvider::new::<SupervisorConfig>().metadata()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Serialized::defaults(&self.0).data()
    }
}

/// The environment, held against the schema; each problem names its variable.
pub(super) fn environment(problems: &mut Vec<ConfigProblem>) -> EnvironmentValue {
    let said = Figment::from(ConfiqueEnvProvider::new::<SupervisorConfig>());
    let mut fitting = Value::Object(serde_json::Map::new());
    for (keys, variable) in variables(&SupervisorConfig::META, &[]) {
        let Ok(mut value) = said.extract_inner::<Value>(&keys.join(".")) else {
            continue;
        };
        if schema_check::check_key(&keys, &mut value, variable, problems) {
            let place = keys.iter().fold(&mut fitting, |at, key| &mut at[*key]);
            *place = value;
        }
    }
    EnvironmentValue(fitting)
}

/// Every key that an environment variable can set, with its name.
fn variables(
    meta: &'static Meta,
    section: &[&'static str],
) -> Vec<(Vec<&'static str>, &'static str)> {
    let keys = |name| [section, &[name]].concat();
    meta.fields
        .iter()
        .flat_map(|field| match field.kind {
            FieldKind::Leaf { env: Some(env), .. } => vec![(keys(field.name), env)],
            FieldKind::Leaf { env: None, .. } => Vec::new(),
            FieldKind::Nested { meta } => variables(meta, &keys(field.name)),
        })
        .collect()
}

/// Which file a key's value came from; `root` where nobody named it.
pub(super) fn source_of(figment: &Figment, key: &str, root: &str) -> Arc<str> {
    let top = key.split('[').next().unwrap_or(key);
    let said = figment.find_metadata(top).and_then(|metadata| {
        if let Some(path) = metadata
            .source
            .as_ref()
            .and_then(|source| source.file_path())
        {
            return Some(shown(path));
        }
        let keys: Vec<_> = top.split('.').collect();
        (metadata.name == "environment variable")
            .then(|| metadata.interpolate(&Profile::Default, &keys))
    });
    said.map_or_else(|| root.into(), Into::into)
}

/// A path as a person in the current directory would write it.
pub(super) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let short = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_path_buf));
    short.as_deref().unwrap_or(path).display().to_string()
}
