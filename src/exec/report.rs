//! What the error log is told of an application that fails.

use pyo3::{PyErr, Python};

use crate::error::Error;
use crate::wsgi::App;

use super::{Domain, name};

/// What is to be said of a failure.
pub struct Failure {
    pub text: String,
    pub traceback: Vec<String>,
    /// It was ended by the watchdog, which has said so.
    pub is_timeout: bool,
}

impl Failure {
    /// One without a traceback.
    pub fn new(text: String) -> Self {
        Self { text, traceback: Vec::new(), is_timeout: false }
    }
}

/// An application failed, while it was imported or while it served a request.
pub fn describe(py: Python<'_>, domain: &Domain, app: &App, error: &Error) -> Failure {
    let name = name(app);
    let package = domain.interpreter.package();
    match error {
        Error::Raised(raised) => {
            let is_timeout = package.is_timeout(py, raised);
            let raised = package.describe(py, raised);
            let text = format!("wsgi: {name} raised {}", raised.summary);
            Failure { text, traceback: raised.traceback, is_timeout }
        }
        Error::Import(raised) | Error::Middleware(_, raised) => {
            let middleware = match error {
                Error::Middleware(middleware, _) => format!("middleware \"{middleware}\" of "),
                _ => String::new(),
            };
            let raised = package.describe(py, raised);
            // A refusal says everything, and where it happened is not where the remedy is.
            let traceback = if raised.is_refusal { Vec::new() } else { raised.traceback };
            let text = format!("wsgi: cannot load {middleware}{name}: {}", raised.summary);
            Failure { text, traceback, is_timeout: false }
        }
        error => Failure::new(format!("wsgi: {name} {error}")),
    }
}

/// The same for `close()`.
pub fn describe_close(py: Python<'_>, domain: &Domain, app: &App, raised: &PyErr) -> Failure {
    let raised = domain.interpreter.package().describe(py, raised);
    let text = format!("wsgi: close() of {} raised {}", name(app), raised.summary);
    Failure { text, traceback: raised.traceback, is_timeout: false }
}
