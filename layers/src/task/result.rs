use std::convert::Infallible;

use crate::BoxError;

/// What a child's function usually returns; `TaskResult::Ok(())` ends a closure that uses `?`.
pub type TaskResult = Result<(), BoxError>;

/// What a child's function may return: `()`, `!`, `Result<(), E>`, `Result<Infallible, E>` or
/// `Result<!, E>`, with any `E: Into<BoxError>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no outcome of a supervised task",
    label = "this is what the task's future returns",
    note = "return `()`, `!`, `Result<(), E>` or `Result<Infallible, E>` with `E: Into<BoxError>` \
            (any error, `String`, `&str`, `anyhow::Error`)",
    note = "end an async block that uses `?` with `TaskResult::Ok(())`"
)]
pub trait IntoTaskResult {
    /// The error it may carry.
    type Error: Into<BoxError>;

    /// The outcome as a result.
    fn into_task_result(self) -> Result<(), Self::Error>;
}

impl IntoTaskResult for () {
    type Error = Infallible;

    fn into_task_result(self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl<E: Into<BoxError>> IntoTaskResult for Result<(), E> {
    type Error = E;

    fn into_task_result(self) -> Self {
        self
    }
}

impl<E: Into<BoxError>> IntoTaskResult for Result<Infallible, E> {
    type Error = E;

    fn into_task_result(self) -> Result<(), E> {
        self.map(|never| match never {})
    }
}

/// Names the type `!`, which stable Rust lets one write only as a function's return type.
pub trait Returns {
    /// What the function returns.
    type Out;
}

impl<T> Returns for fn() -> T {
    type Out = T;
}

type Never = <fn() -> ! as Returns>::Out;

#[diagnostic::do_not_recommend]
impl IntoTaskResult for Never {
    type Error = Infallible;

    fn into_task_result(self) -> Result<(), Infallible> {
        self
    }
}

#[diagnostic::do_not_recommend]
impl<E: Into<BoxError>> IntoTaskResult for Result<Never, E> {
    type Error = E;

    fn into_task_result(self) -> Result<(), E> {
        match self {
            Ok(never) => never,
            Err(error) => Err(error),
        }
    }
}
