//! How a command fails: with a message, and with an exit code that tells whose turn it is.

use std::process::ExitCode;

use crate::policy::{MissingInterface, PolicyError};

/// The command was not understood or was given something that it cannot work with: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadInput(pub String);

/// 2 if the cause of the failure is what the command was given, else 1.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let bad_input = error.chain().any(|cause| {
        cause.is::<BadInput>()
            || cause.is::<PolicyError>()
            || cause.is::<MissingInterface>()
            || cause.is::<crate::capture::CaptureError>()
    });
    ExitCode::from(if bad_input { 2 } else { 1 })
}

/// Returns early with a [`BadInput`].
#[macro_export]
macro_rules! bad_input {
    ($($message:tt)+) => {
        return Err(anyhow::Error::new($crate::error::BadInput(format!($($message)+))))
    };
}
