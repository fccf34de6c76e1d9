//! The thread that runs an application for a request, as seen by who may have to interrupt it.
//!
//! One for each request in a thread, and for each request of a location with time limits; shared with the
//! watchdog.

use core::ffi::c_ulong;
use std::sync::Mutex;

use pyo3::prelude::*;

use crate::handover::{Clock, lock};
use crate::py::{self, Interruption};

use super::Domain;

/// A run of an application.
#[derive(Default)]
pub struct Runner {
    /// How long it has run.
    pub clock: Clock,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    /// The thread, while it is inside the application.
    thread: Option<c_ulong>,
    /// Whether an exception has been sent to it.
    is_interrupted: bool,
    /// Whether it is in close().
    is_closing: bool,
}

impl Runner {
    /// The calling thread begins to run the application.
    pub fn begin(&self, _py: Python<'_>) {
        let mut inside = lock(&self.inside);
        *inside = Inside { thread: Some(py::this_thread()), ..Inside::default() };
        self.clock.start();
    }

    /// Runs `f`, which waits for nginx. The clock stands meanwhile, if it is the application's own thread that
    /// waits, and not one that it has started.
    pub fn pause<R>(&self, f: impl FnOnce() -> R) -> R {
        let thread = lock(&self.inside).thread;
        if thread != Some(py::this_thread()) {
            return f();
        }
        self.clock.stop();
        let result = f();
        self.clock.start();
        result
    }

    /// It goes on with close(), which is to be spared: the client's leaving is no reason to cut it short, and
    /// an exception that has not come yet comes too late. A limit of time counts on.
    pub fn closes(&self, py: Python<'_>) {
        let mut inside = lock(&self.inside);
        inside.is_closing = true;
        if core::mem::take(&mut inside.is_interrupted) {
            py::forget_interruption(py);
        }
    }

    /// It has done. An exception that comes too late is taken back, so that it hits nothing else.
    pub fn end(&self, py: Python<'_>) {
        self.clock.stop();
        let mut inside = lock(&self.inside);
        if core::mem::take(&mut *inside).is_interrupted {
            py::forget_interruption(py);
        }
    }

    /// Raises an exception in the thread, unless it is outside of the application, or waits for nginx and will
    /// find out by itself. To be called attached to the application's interpreter.
    pub fn interrupt(&self, py: Python<'_>, domain: &Domain, interruption: Interruption) -> bool {
        // `begin` and `end` are called attached as well, so nothing changes meanwhile.
        let mut inside = lock(&self.inside);
        let is_spared = inside.is_closing && interruption == Interruption::Disconnected;
        let is_inside = |_: &c_ulong| self.clock.read().1 && !is_spared;
        let Some(thread) = inside.thread.filter(is_inside) else { return false };
        inside.is_interrupted = true;
        domain.interpreter.package().interrupt(py, thread, interruption);
        true
    }

    /// The lines of the thread's Python stack, none if it is outside of the application. To be called attached
    /// to the application's interpreter.
    pub fn stack(&self, py: Python<'_>, domain: &Domain) -> Vec<String> {
        let thread = lock(&self.inside).thread;
        let Some(thread) = thread else { return Vec::new() };
        let stacks = domain.interpreter.package().stacks(py, &[thread]).unwrap_or_default();
        let lines = stacks.iter().flat_map(|(_, text)| text.lines());
        lines.map(str::to_owned).collect()
    }
}
