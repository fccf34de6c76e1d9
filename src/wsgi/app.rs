//! An application: its target, and the callable once it has been imported.
//!
//! Made at configuration time and owned by the configuration; imported by each worker when it starts. An
//! import that failed is tried again when a request comes, at most once a second, or at once when the
//! script has changed.

use core::cell::{Cell, RefCell};
use std::fs;
use std::time::{Duration, Instant, SystemTime};

use pyo3::prelude::*;

use crate::error::Error;
use crate::py::{Owned, Package};

use super::target::Target;

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An application of the configuration.
pub struct App {
    target: Target,
    directories: RefCell<Vec<String>>,
    loaded: RefCell<Loaded>,
    warned: Cell<Warned>,
}

/// What has been said once about an application and is not said again.
#[derive(Clone, Copy, Default)]
struct Warned {
    blocking: bool,
    writing: bool,
}

enum Loaded {
    NotYet,
    Ready(Owned<Py<PyAny>>),
    Failed { at: Instant, stamp: Option<Stamp>, reason: String },
}

/// What changes when a file is edited.
#[derive(PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

impl App {
    /// An application that has not been imported.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            directories: RefCell::default(),
            loaded: RefCell::new(Loaded::NotYet),
            warned: Cell::default(),
        }
    }

    /// The target, which names the application in the log.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Adds folders to be put before `sys.path`.
    pub fn add_directories(&self, directories: &[String]) {
        let mut own = self.directories.borrow_mut();
        for directory in directories {
            if !own.contains(directory) {
                own.push(directory.clone());
            }
        }
    }

    /// The callable. Imports the application if that has not succeeded yet and it is time to try.
    ///
    /// # Errors
    /// `Error::Import` if the import was tried and failed, `Error::NotLoaded` if it failed before and is
    /// not tried now.
    pub fn callable<'py>(
        &self,
        py: Python<'py>,
        package: &Package,
    ) -> Result<Bound<'py, PyAny>, Error> {
        if let Loaded::Ready(callable) = &*self.loaded.borrow() {
            return Ok(callable.get(py).bind(py).clone());
        }
        if let Loaded::Failed { at, stamp, reason } = &*self.loaded.borrow()
            && at.elapsed() < RETRY_AFTER
            && *stamp == self.stamp()
        {
            return Err(Error::NotLoaded(reason.clone()));
        }
        self.load(py, package)
    }

    fn load<'py>(&self, py: Python<'py>, package: &Package) -> Result<Bound<'py, PyAny>, Error> {
        // Taken before the import: a change during the import is to be noticed.
        let stamp = self.stamp();
        let Target { callable, is_factory, .. } = &self.target;
        let directories = self.directories.borrow().clone();
        let (script, module) = (self.target.script(), self.target.module());
        match package.load(py, script, module, callable, *is_factory, &directories) {
            Ok(callable) => {
                self.loaded.replace(Loaded::Ready(Owned::new(callable.clone().unbind())));
                Ok(callable)
            }
            Err(error) => {
                let (reason, _) = package.describe(py, &error);
                self.loaded.replace(Loaded::Failed { at: Instant::now(), stamp, reason });
                Err(Error::Import(error))
            }
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        let metadata = fs::metadata(self.target.script()?).ok()?;
        Some(Stamp { modified: metadata.modified().ok(), length: metadata.len() })
    }

    /// True the first time: whether to warn that the application blocks the event loop.
    pub fn warn_of_blocking(&self) -> bool {
        let warned = self.warned.get();
        self.warned.set(Warned { blocking: true, ..warned });
        !warned.blocking
    }

    /// True the first time: whether to warn that the application uses `write()`.
    pub fn warn_of_writing(&self) -> bool {
        let warned = self.warned.get();
        self.warned.set(Warned { writing: true, ..warned });
        !warned.writing
    }
}
