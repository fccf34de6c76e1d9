//! The way in: every function that nginx calls passes one of these guards.
//!
//! A panic must not unwind into C. It is logged, the caller answers as if an error had happened, and
//! the worker goes on.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::panic_text;

use super::log::{Level, write_line};

/// Runs `f`; a panic is logged and gives `fallback`.
pub fn guard<R>(fallback: R, f: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        report(&payload);
        fallback
    })
}

/// Runs `f` where there is nobody to tell of a panic but the log.
pub fn quietly(f: impl FnOnce()) {
    guard((), f);
}

fn report(payload: &Box<dyn Any + Send>) {
    let text = format!("wsgi: internal error, panicked: {}", panic_text(payload));
    write_line(Level::Error, text.as_bytes());
}
