use std::{
    any::Any,
    cell::RefCell,
    future::Future,
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::Once,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::failure::{PanicSite, TaskFailure, panic_message};
use crate::{BoxError, TaskContext};

thread_local! {
    /// What the hook noted of this thread's last panic.
    static LAST_PANIC: RefCell<Option<PanicSite>> = const { RefCell::new(None) };
}

/// Runs `f`; a panic comes back as a failure with message and location.
///
/// A payload whose own drop panics is forgotten, not dropped: it must not take the supervisor along.
pub fn catch_panic<T>(f: impl FnOnce() -> T) -> Result<T, TaskFailure> {
    note_locations();
    panic::catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let message = panic_message(payload.as_ref());
        // The hook's note belongs to this panic only if the words agree: a payload may have been thrown
        // again with `resume_unwind`, which calls no hook. Taken first: a bomb below leaves a note, too.
        let noted = LAST_PANIC.try_with(RefCell::take).ok().flatten();
        let noted = noted.filter(|site| site.message == message);
        if let Err(bomb) = panic::catch_unwind(AssertUnwindSafe(move || drop(payload))) {
            std::mem::forget::<Box<dyn Any + Send>>(bomb);
        }
        TaskFailure::panic(noted.unwrap_or(PanicSite {
            message,
            location: None,
        }))
    })
}

/// Installs, once per process and before whatever hook is there, one that notes where a panic happened.
fn note_locations() {
    static INSTALLED: Once = Once::new();
    // A thread that unwinds must not touch the hook; it would abort the process.
    if INSTALLED.is_completed() || std::thread::panicking() {
        return;
    }
    INSTALLED.call_once(|| {
        let next = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let site = PanicSite {
                message: panic_message(info.payload()),
                location: info.location().map(ToString::to_string),
            };
            // A panic while the thread's locals are torn down has nowhere to be noted.
            let _ = LAST_PANIC.try_with(|last| last.replace(Some(site)));
            next(info);
        }));
    });
}

/// Turns a panic of the service inside into an error of kind [`Panic`](crate::FailureKind::Panic).
///
/// [`service_fn`](crate::service_fn) has this built in; a service of one's own gets it from the default
/// stack. Without it a panic still never leaves a `RestartLayer`.
#[derive(Debug, Clone)]
pub struct CatchPanic<S> {
    inner: S,
}

impl<S> CatchPanic<S> {
    /// Around `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S> Service<TaskContext> for CatchPanic<S>
where
    S: Service<TaskContext, Response = ()>,
    S::Error: Into<BoxError>,
{
    type Response = ();
    type Error = BoxError;
    type Future = CatchPanicFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match catch_panic(|| self.inner.poll_ready(cx).map_err(Into::into)) {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(Err(panic.into())),
        }
    }

    fn call(&mut self, ctx: TaskContext) -> Self::Future {
        CatchPanicFuture::new(catch_panic(|| self.inner.call(ctx)))
    }
}

pin_project! {
    /// The run of a [`CatchPanic`] service.
    #[derive(Debug)]
    pub struct CatchPanicFuture<F> {
        #[pin]
        run: Run<F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = RunProjection]
    enum Run<F> {
        Lives { #[pin] run: F },
        /// It is over, or was never made: with what is still to be told.
        Over { panic: Option<Box<TaskFailure>> },
    }
}

impl<F> CatchPanicFuture<F> {
    #[inline]
    pub(super) fn new(run: Result<F, TaskFailure>) -> Self {
        let run = match run {
            Ok(run) => Run::Lives { run },
            Err(panic) => Run::Over {
                panic: Some(Box::new(panic)),
            },
        };
        Self { run }
    }
}

impl<F, E> Future for CatchPanicFuture<F>
where
    F: Future<Output = Result<(), E>>,
    E: Into<BoxError>,
{
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let run = match this.run.as_mut().project() {
            RunProjection::Lives { run } => run,
            RunProjection::Over { panic } => match panic.take() {
                Some(panic) => return Poll::Ready(Err(panic)),
                None => panic!("polled after completion"),
            },
        };
        let result = match catch_panic(|| run.poll(cx).map_err(Into::into)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => result,
            Err(panic) => Err(panic.into()),
        };
        // Dropped here and not with this future, so that a panic in a destructor is this run's exit.
        match catch_panic(|| this.run.set(Run::Over { panic: None })) {
            Ok(()) => Poll::Ready(result),
            Err(panic) => Poll::Ready(result.and(Err(panic.into()))),
        }
    }
}
