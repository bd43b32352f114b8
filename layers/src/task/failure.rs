use std::{
    any::Any,
    cell::RefCell,
    error::Error,
    fmt::{self, Write as _},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tower::{load_shed::error::Overloaded, timeout::error::Elapsed};

use super::TaskExit;
use crate::BoxError;

/// What sort of failure a [`TaskFailure`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// The child returned an error.
    Error,
    /// The child panicked.
    Panic,
    /// A timeout around the run elapsed, or the child did not start in time.
    Timeout,
    /// A load-shedding layer refused the run.
    Overloaded,
    /// No heartbeat for too long.
    Unhealthy,
    /// Asked to stop, the run did not, and was dropped.
    Aborted,
    /// A blown fuse ended the child's life.
    GaveUp,
    /// The supervisor's intensity is exceeded.
    IntensityExceeded,
    /// A child could not be started.
    StartFailed,
}

/// Where and with what words a panic happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanicSite {
    /// The panic's message; a placeholder if its payload was no string.
    pub message: String,
    /// `file:line:column`, unless another panic hook replaced the one that notes it.
    pub location: Option<String>,
}

impl fmt::Display for PanicSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(location) => write!(f, "panicked at {location}: {}", self.message),
            None => write!(f, "panicked: {}", self.message),
        }
    }
}

impl Error for PanicSite {}

/// Why a run or a life failed: a kind, the source error, and whether a restart could help at all.
///
/// ```
/// use supervisor_layers::{TaskContext, TaskFailure, TaskResult};
///
/// async fn consume(ctx: TaskContext) -> TaskResult {
///     let schema_version = 3;
///     if schema_version < 4 {
///         // No restart mends this: the child stays down, visible.
///         return Err(TaskFailure::fatal("schema 3 is too old").into());
///     }
///     Ok(())
/// }
/// ```
///
/// Found again under any wrapping that keeps [`Error::source`], anyhow's included.
#[derive(Clone)]
pub struct TaskFailure {
    kind: FailureKind,
    fatal: bool,
    message: Arc<str>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl TaskFailure {
    /// A failure of `kind`, said in words.
    pub fn new(kind: FailureKind, message: impl Into<Arc<str>>) -> Self {
        Self {
            kind,
            fatal: false,
            message: message.into(),
            source: None,
        }
    }

    /// A failure that no restart can mend: whatever its restart type, the child stays down.
    pub fn fatal(source: impl Into<BoxError>) -> Self {
        Self {
            fatal: true,
            ..Self::of(source.into())
        }
    }

    /// Recognises an error: a `TaskFailure` anywhere in its chain of sources keeps its kind and its
    /// fatality; tower's `Elapsed` is a timeout, `Overloaded` a failure of its own kind.
    ///
    /// An error whose `Display` or `source` panics is a failure like any other and says so.
    pub fn of(error: BoxError) -> Self {
        RunFailure::of(error).share()
    }

    /// How a run that failed with `error` ended.
    pub(crate) fn exit_of(error: &(dyn Error + 'static)) -> TaskExit {
        exit(classify(error).0)
    }

    /// A caught panic.
    pub fn panic(site: PanicSite) -> Self {
        Self {
            kind: FailureKind::Panic,
            fatal: false,
            message: site.to_string().into(),
            source: Some(Arc::new(site)),
        }
    }

    pub(crate) fn with_source(mut self, source: Arc<dyn Error + Send + Sync>) -> Self {
        self.source = Some(source);
        self
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// No restart can help.
    pub fn is_fatal(&self) -> bool {
        self.fatal
    }

    /// The failure in words, without its sources.
    pub fn message(&self) -> &Arc<str> {
        &self.message
    }

    /// Where the child panicked, if it did.
    pub fn panic_site(&self) -> Option<&PanicSite> {
        self.find()
    }

    /// The first error of type `E` in the chain of sources.
    pub fn find<E: Error + 'static>(&self) -> Option<&E> {
        let mut link: Option<&(dyn Error + 'static)> =
            self.source.as_deref().map(|source| source as _);
        while let Some(cause) = link {
            if let Some(found) = cause.downcast_ref::<E>() {
                return Some(found);
            }
            link = cause.source();
        }
        None
    }

    /// How a run that failed so ended.
    pub fn exit(&self) -> TaskExit {
        exit(self.kind)
    }
}

/// The failure of a run, most of which are forgotten as soon as it runs again: its error stays the box that it
/// came in until somebody keeps it.
pub(crate) struct RunFailure {
    failure: TaskFailure,
    source: Option<BoxError>,
}

impl RunFailure {
    /// As [`TaskFailure::of`].
    pub(crate) fn of(error: BoxError) -> Self {
        let error = match error.downcast::<TaskFailure>() {
            Ok(own) => return (*own).into(),
            Err(other) => other,
        };
        let read = super::catch_panic(|| (classify(error.as_ref()), words(error.as_ref())));
        match read {
            Ok(((kind, fatal), message)) => Self {
                failure: TaskFailure {
                    kind,
                    fatal,
                    message,
                    source: None,
                },
                source: Some(error),
            },
            // The error is dropped under a catch of its own: who panics when read may panic when dropped.
            Err(panic) => {
                let _ = super::catch_panic(move || drop(error));
                let message = format!("an error that cannot be displayed ({})", panic.message());
                TaskFailure::new(FailureKind::Error, message).into()
            }
        }
    }

    /// What there is to tell of it.
    pub(crate) fn failure(&self) -> &TaskFailure {
        &self.failure
    }

    /// To be kept, with the error that it came of.
    pub(crate) fn share(mut self) -> TaskFailure {
        if let Some(source) = self.source {
            self.failure.source = Some(Arc::from(source));
        }
        self.failure
    }
}

impl From<TaskFailure> for RunFailure {
    fn from(failure: TaskFailure) -> Self {
        Self {
            failure,
            source: None,
        }
    }
}

fn exit(kind: FailureKind) -> TaskExit {
    match kind {
        FailureKind::Panic => TaskExit::Panicked,
        FailureKind::Timeout => TaskExit::TimedOut,
        FailureKind::Unhealthy => TaskExit::Unhealthy,
        FailureKind::Aborted => TaskExit::Aborted,
        _ => TaskExit::Failed,
    }
}

/// What an error says. A crash loop says the same again and again: that takes no memory each time.
fn words(error: &(dyn Error + 'static)) -> Arc<str> {
    thread_local! {
        static LAST: RefCell<(String, Option<Arc<str>>)> = const { RefCell::new((String::new(), None)) };
    }
    // Its own code may come here again, with an error of its own.
    LAST.with(|last| match last.try_borrow_mut() {
        Ok(mut last) => {
            let (buffer, before) = &mut *last;
            buffer.clear();
            if write!(buffer, "{error}").is_err() {
                return "an error that cannot be displayed".into();
            }
            match before {
                Some(before) if **before == **buffer => before.clone(),
                _ => before.insert(buffer.as_str().into()).clone(),
            }
        }
        Err(_) => error.to_string().into(),
    })
}

/// Kind and fatality by the first link that says; tower's errors have sources of no interest.
fn classify(error: &(dyn Error + 'static)) -> (FailureKind, bool) {
    let mut link = Some(error);
    while let Some(cause) = link {
        if let Some(own) = cause.downcast_ref::<TaskFailure>() {
            return (own.kind, own.fatal);
        } else if cause.is::<Elapsed>() {
            return (FailureKind::Timeout, false);
        } else if cause.is::<Overloaded>() {
            return (FailureKind::Overloaded, false);
        }
        link = cause.source();
    }
    (FailureKind::Error, false)
}

impl fmt::Debug for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskFailure")
            .field("kind", &self.kind)
            .field("fatal", &self.fatal)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for TaskFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// The words of a panic's payload.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "(a payload that is no string)".to_owned()
    }
}
