//! The interpreter, and the one way into it.
//!
//! A worker has one main interpreter, made by `runtime::start` after the fork and kept until the process
//! ends. `Interpreter::enter` is the only place in the crate that attaches a thread to Python.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;

use super::package::{LineLogger, Package};

/// A running interpreter and what belongs to it.
pub struct Interpreter {
    package: OnceLock<Package>,
    has_ended: AtomicBool,
}

static MAIN: OnceLock<Interpreter> = OnceLock::new();

impl Interpreter {
    /// The main interpreter, if this process has started one and not ended it.
    pub fn main() -> Option<&'static Self> {
        MAIN.get().filter(|main| !main.has_ended.load(Ordering::Relaxed))
    }

    /// Notes that the main interpreter runs.
    pub(super) fn started() -> &'static Self {
        MAIN.get_or_init(|| Self { package: OnceLock::new(), has_ended: AtomicBool::new(false) })
    }

    /// Installs the package `ngx_wsgi`.
    pub(super) fn set_up(&self, py: Python<'_>, log: LineLogger) -> PyResult<()> {
        let package = Package::install(py, log)?;
        self.package.get_or_init(|| package);
        Ok(())
    }

    /// Takes the interpreter and keeps it, so that no thread of an application runs while the process
    /// exits. `main` finds no interpreter from now on.
    pub(super) fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
        // SAFETY: the interpreter runs; the state is never released, which is the purpose.
        unsafe { ffi::PyGILState_Ensure() };
    }

    /// The package, present once the start succeeded.
    pub fn package(&self) -> Option<&Package> {
        self.package.get()
    }

    /// Runs `f` attached to this interpreter, and detaches afterwards unless the thread was attached
    /// before.
    // Attaching is forbidden everywhere else (clippy.toml).
    #[allow(clippy::disallowed_methods)]
    pub fn enter<R>(&self, f: impl FnOnce(Python<'_>) -> R) -> R {
        Python::attach(f)
    }
}
