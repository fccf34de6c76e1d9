//! An application: its target, and the callable once it has been imported.
//!
//! Made at configuration time and owned by the configuration; imported by each worker when it starts, into
//! the interpreter that it belongs to, and wrapped in its middleware. An import that failed is tried again
//! when a request comes, at most once a second, or at once when the file has changed.

use core::sync::atomic::{AtomicBool, Ordering};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use crate::error::{Error, a};
use crate::py::{Guarded, Interpreter, Owned, Stamp, Wanted};

use super::target::Target;

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What makes an application another one: locations that agree on all of it share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppKey {
    pub target: Target,
    /// The sub-interpreter it runs in; `None` for the main interpreter.
    pub interpreter: Option<String>,
    /// The first one gets the request first.
    pub middleware: Vec<Target>,
}

/// An application of the configuration.
pub struct App {
    key: AppKey,
    directories: Mutex<Vec<String>>,
    /// Whether some location looks at every request whether the file has changed.
    is_watched: AtomicBool,
    loaded: Guarded<Loaded>,
    /// Held while the application is imported: threads that come meanwhile wait for the result.
    loading: Mutex<()>,
    /// What has been said once and is not said again.
    has_warned_of_blocking: AtomicBool,
    has_warned_of_writing: AtomicBool,
}

/// What a request finds.
enum Known<'py> {
    Callable(Bound<'py, PyAny>),
    /// An import is to be tried; `renew`: the file may have changed.
    Nothing {
        renew: bool,
    },
}

enum Loaded {
    NotYet,
    Ready { callable: Owned<Py<PyAny>>, origin: Origin },
    Failed { at: Instant, origin: Origin, reason: String, is_final: bool },
}

/// The file that the code comes from, and how it looked before it was read.
#[derive(Clone, Default)]
struct Origin {
    file: Option<PathBuf>,
    stamp: Option<Stamp>,
}

impl Origin {
    fn of(file: Option<&Path>) -> Self {
        Self { file: file.map(Path::to_owned), stamp: file.and_then(stamp) }
    }

    /// A file that is not there for the moment, as some editors have it, has not changed.
    fn has_changed(&self) -> bool {
        self.file.as_deref().and_then(stamp).is_some_and(|now| self.stamp != Some(now))
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let data = fs::metadata(file).ok()?;
    Some((data.mtime() * 1_000_000_000 + data.mtime_nsec(), data.len(), data.ino()))
}

impl App {
    /// An application that has not been imported.
    pub fn new(key: AppKey) -> Self {
        Self {
            key,
            directories: Mutex::default(),
            is_watched: AtomicBool::new(false),
            loaded: Guarded::new(Loaded::NotYet),
            loading: Mutex::default(),
            has_warned_of_blocking: AtomicBool::new(false),
            has_warned_of_writing: AtomicBool::new(false),
        }
    }

    /// What it consists of.
    pub fn key(&self) -> &AppKey {
        &self.key
    }

    /// The target, which names the application in the log.
    pub fn target(&self) -> &Target {
        &self.key.target
    }

    /// Adds folders to be put before `sys.path`.
    pub fn add_directories(&self, directories: &[String]) {
        let mut own = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        for directory in directories {
            if !own.contains(directory) {
                own.push(directory.clone());
            }
        }
    }

    /// Notes that a location looks whether the file has changed.
    pub fn watch(&self) {
        self.is_watched.store(true, Ordering::Relaxed);
    }

    /// Whether the file has changed since it was imported.
    pub fn has_changed(&self, py: Python<'_>) -> bool {
        self.loaded.with(
            py,
            |loaded| matches!(loaded, Loaded::Ready { origin, .. } if origin.has_changed()),
        )
    }

    /// The file that the code comes from, once that is known.
    pub fn file(&self, py: Python<'_>) -> Option<PathBuf> {
        self.loaded.with(py, |loaded| match loaded {
            Loaded::Ready { origin, .. } | Loaded::Failed { origin, .. } => origin.file.clone(),
            Loaded::NotYet => self.target().script().map(PathBuf::from),
        })
    }

    /// The callable. Imports the application if that has not succeeded yet and it is time to try. `renew`:
    /// imports it again if its file has changed.
    ///
    /// # Errors
    /// `Error::Import` or `Error::Middleware` if an import was tried and failed, `Error::NotLoaded` if it
    /// failed before and is not tried now.
    pub fn callable<'py>(
        &self,
        py: Python<'py>,
        interpreter: &'static Interpreter,
        renew: bool,
    ) -> Result<Bound<'py, PyAny>, Error> {
        if let Known::Callable(callable) = self.known(py, renew)? {
            return Ok(callable);
        }
        let _loading = self.loading.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        // Another thread may have done it meanwhile.
        let renew = match self.known(py, renew)? {
            Known::Callable(callable) => return Ok(callable),
            Known::Nothing { renew } => renew,
        };
        let mut origin = Origin::of(self.file(py).as_deref());
        match self.load(py, interpreter, renew, &mut origin) {
            Ok(callable) => {
                let owned = Owned::new(interpreter, callable.clone().unbind());
                let before = self.loaded.replace(py, Loaded::Ready { callable: owned, origin });
                // Its destructors may come back here.
                drop(before);
                Ok(callable)
            }
            Err(error) => Err(self.note_failure(py, interpreter, origin, error)),
        }
    }

    /// What is known without an import.
    fn known<'py>(&self, py: Python<'py>, renew: bool) -> Result<Known<'py>, Error> {
        self.loaded.with(py, |loaded| match loaded {
            Loaded::Ready { callable, origin } if !(renew && origin.has_changed()) => {
                Ok(Known::Callable(callable.get(py).bind(py).clone()))
            }
            Loaded::Failed { at, origin, reason, is_final }
                if (*is_final || at.elapsed() < RETRY_AFTER) && !origin.has_changed() =>
            {
                Err(Error::NotLoaded(reason.clone()))
            }
            // The module may have been imported for another callable in it.
            Loaded::Failed { origin, .. } => {
                Ok(Known::Nothing { renew: renew || origin.has_changed() })
            }
            _ => Ok(Known::Nothing { renew }),
        })
    }

    /// Notes that an import has failed. The same failure again is no news.
    fn note_failure(
        &self,
        py: Python<'_>,
        interpreter: &Interpreter,
        origin: Origin,
        error: Error,
    ) -> Error {
        let (Error::Import(raised) | Error::Middleware(_, raised)) = &error else { return error };
        let described = interpreter.package().describe(py, raised);
        let (at, reason) = (Instant::now(), described.summary);
        let is_known = self.loaded.with(py, |loaded| {
            matches!(loaded, Loaded::Failed { origin: last, reason: known, .. }
                if last.stamp == origin.stamp && *known == reason)
        });
        let is_final = described.is_refusal;
        let failed = Loaded::Failed { at, origin, reason: reason.clone(), is_final };
        let before = self.loaded.replace(py, failed);
        drop(before);
        if is_known { Error::NotLoaded(reason) } else { error }
    }

    /// Imports the application and wraps it, the last middleware first.
    fn load<'py>(
        &self,
        py: Python<'py>,
        interpreter: &Interpreter,
        renew: bool,
        origin: &mut Origin,
    ) -> Result<Bound<'py, PyAny>, Error> {
        let directories = self.directories.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let package = interpreter.package();
        let wanted =
            wanted(self.target(), &directories, renew || self.is_watched.load(Ordering::Relaxed));
        let loaded = package.load(py, &wanted).map_err(Error::Import)?;
        *origin = Origin { file: loaded.file, stamp: loaded.stamp };
        let mut callable = loaded.callable;
        for middleware in self.key.middleware.iter().rev() {
            let failed = |error| Error::Middleware(middleware.to_string(), error);
            let wanted = self::wanted(middleware, &directories, false);
            let wrap = package.load(py, &wanted).map_err(failed)?.callable;
            callable = wrap.call1((callable,)).map_err(failed)?;
            if !callable.is_callable() {
                let kind = callable.get_type().qualname().map_err(failed)?.to_string();
                let (name, source) = (&middleware.callable, &middleware.source);
                let text = format!("\"{name}\" in {source} returned {}, not a callable", a(&kind));
                return Err(failed(PyTypeError::new_err(text)));
            }
        }
        Ok(callable)
    }

    /// True the first time: whether to warn that the application blocks the event loop.
    pub fn warn_of_blocking(&self) -> bool {
        !self.has_warned_of_blocking.swap(true, Ordering::Relaxed)
    }

    /// True the first time: whether to warn that the application uses `write()`.
    pub fn warn_of_writing(&self) -> bool {
        !self.has_warned_of_writing.swap(true, Ordering::Relaxed)
    }
}

fn wanted<'a>(target: &'a Target, directories: &'a [String], renew: bool) -> Wanted<'a> {
    Wanted {
        script: target.script(),
        module: target.module(),
        attribute: &target.callable,
        is_factory: target.is_factory,
        directories,
        renew,
    }
}
