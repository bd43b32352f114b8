use std::{collections::BTreeMap, fmt, future::Future, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use supervisor_layers::{IntoTaskResult, TaskContext, TaskFactory, task::catch_panic};

use super::{ProblemKind, configurable::ChildKind};
use crate::spec::ChildSpec;

/// What a program can run, by the names under which a configuration asks for it.
///
/// A factory takes a child's `settings` as a type of its own and makes what runs. It is called before
/// anything starts, once per child and once per replica of a pool; a panic in it is a problem of the
/// configuration. Settings that are absent are an empty map or nothing, whichever the type understands.
///
/// ```
/// use rust_supervisor::{TaskContext, TaskResult, config::Factories};
///
/// #[derive(Clone, serde::Deserialize)]
/// struct GatewaySettings {
///     port: u16,
/// }
///
/// async fn gateway(ctx: TaskContext, settings: GatewaySettings) -> TaskResult {
///     println!("listening on {}", settings.port);
///     ctx.cancelled().await;
///     Ok(())
/// }
///
/// Factories::new()
///     .worker("gateway", |settings: GatewaySettings| move |ctx| gateway(ctx, settings.clone()))
///     .blocking("export", |(): ()| |ctx| while !ctx.is_cancelled() {});
/// ```
#[derive(Clone, Default)]
pub struct Factories {
    known: Arc<BTreeMap<String, Factory>>,
    twice: Vec<String>,
}

#[derive(Clone)]
struct Factory {
    kind: ChildKind,
    make: Arc<Make>,
}

/// Makes a child of a name and settings.
type Make = dyn Fn(&str, &Value) -> Result<ChildSpec, BadSettings> + Send + Sync;

/// Settings that a factory does not understand.
struct BadSettings {
    key: String,
    reason: String,
}

impl Factories {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asynchronous work, as [`ChildSpec::worker`] takes it; for children of kind `worker`.
    #[must_use]
    pub fn worker<T, B, F, Fut>(self, name: impl Into<String>, build: B) -> Self
    where
        T: DeserializeOwned + 'static,
        B: Fn(T) -> F + Send + Sync + 'static,
        F: Fn(TaskContext) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: IntoTaskResult,
    {
        self.with(name.into(), ChildKind::Worker, move |id, settings| {
            Ok(ChildSpec::worker(id, build(read(settings)?)))
        })
    }

    /// A plain function, as [`ChildSpec::blocking`] takes it; for children of kind `blocking`.
    #[must_use]
    pub fn blocking<T, B, F, R>(self, name: impl Into<String>, build: B) -> Self
    where
        T: DeserializeOwned + 'static,
        B: Fn(T) -> F + Send + Sync + 'static,
        F: Fn(TaskContext) -> R + Send + Sync + 'static,
        R: IntoTaskResult + Send + 'static,
    {
        self.with(name.into(), ChildKind::Blocking, move |id, settings| {
            Ok(ChildSpec::blocking(id, build(read(settings)?)))
        })
    }

    /// A service, as [`ChildSpec::service`] takes it; for children of kind `worker`.
    #[must_use]
    pub fn service<T, B, S>(self, name: impl Into<String>, build: B) -> Self
    where
        T: DeserializeOwned + 'static,
        B: Fn(T) -> S + Send + Sync + 'static,
        S: TaskFactory,
    {
        self.with(name.into(), ChildKind::Worker, move |id, settings| {
            Ok(ChildSpec::service(id, build(read(settings)?)))
        })
    }

    fn with(
        mut self,
        name: String,
        kind: ChildKind,
        make: impl Fn(&str, &Value) -> Result<ChildSpec, BadSettings> + Send + Sync + 'static,
    ) -> Self {
        let make = Arc::new(make);
        if Arc::make_mut(&mut self.known)
            .insert(name.clone(), Factory { kind, make })
            .is_some()
        {
            self.twice.push(name);
        }
        self
    }

    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(String::as_str)
    }

    /// Names under which more than one is registered.
    pub(super) fn ambiguous(&self) -> &[String] {
        &self.twice
    }

    /// What kind of child the factory of that name makes; `None` where there is none.
    pub(super) fn kind(&self, name: &str) -> Option<ChildKind> {
        self.known.get(name).map(|factory| factory.kind)
    }

    /// A child of that name and settings. The error comes with the key beneath the child's.
    pub(super) fn make(
        &self,
        name: &str,
        id: &str,
        settings: &Value,
    ) -> Option<Result<ChildSpec, (String, ProblemKind)>> {
        let factory = self.known.get(name)?;
        let made = catch_panic(|| (factory.make)(id, settings));
        Some(match made {
            Ok(Ok(child)) => Ok(child),
            Ok(Err(bad)) => Err((
                bad.key,
                ProblemKind::Settings {
                    factory: name.to_owned(),
                    reason: bad.reason,
                },
            )),
            Err(panic) => Err((
                "factory".to_owned(),
                ProblemKind::FactoryPanicked {
                    factory: name.to_owned(),
                    reason: panic.to_string(),
                },
            )),
        })
    }
}

/// The settings as the factory's type.
fn read<T: DeserializeOwned>(settings: &Value) -> Result<T, BadSettings> {
    if settings.is_null()
        && let Ok(nothing) = T::deserialize(Value::Null)
    {
        return Ok(nothing);
    }
    let settings = match settings {
        Value::Null => Value::Object(Map::new()),
        settings => settings.clone(),
    };
    serde_path_to_error::deserialize(settings).map_err(|error| {
        let path = error.path().to_string();
        BadSettings {
            key: match path.as_str() {
                "." => "settings".to_owned(),
                path if path.starts_with('[') => format!("settings{path}"),
                path => format!("settings.{path}"),
            },
            reason: error.into_inner().to_string(),
        }
    })
}

impl fmt::Debug for Factories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self
            .known
            .iter()
            .map(|(name, factory)| (name, factory.kind));
        f.debug_map().entries(kinds).finish()
    }
}
