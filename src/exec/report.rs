//! What the error log is told of an application that fails.

use pyo3::{PyErr, Python};

use crate::error::Error;
use crate::wsgi::App;

use super::{Domain, name};

/// The words for an application that failed, while it was imported or while it served a request, and the
/// lines of the traceback.
pub fn describe(
    py: Python<'_>,
    domain: &Domain,
    app: &App,
    error: &Error,
) -> (String, Vec<String>) {
    let name = name(app);
    let package = domain.interpreter.package();
    match error {
        Error::Raised(raised) => {
            let raised = package.describe(py, raised);
            (format!("wsgi: {name} raised {}", raised.summary), raised.traceback)
        }
        Error::Import(raised) | Error::Middleware(_, raised) => {
            let middleware = match error {
                Error::Middleware(middleware, _) => format!("middleware \"{middleware}\" of "),
                _ => String::new(),
            };
            let raised = package.describe(py, raised);
            // A refusal says everything, and where it happened is not where the remedy is.
            let traceback = if raised.is_refusal { Vec::new() } else { raised.traceback };
            (format!("wsgi: cannot load {middleware}{name}: {}", raised.summary), traceback)
        }
        error => (format!("wsgi: {name} {error}"), Vec::new()),
    }
}

/// The same for `close()`.
pub fn describe_close(
    py: Python<'_>,
    domain: &Domain,
    app: &App,
    raised: &PyErr,
) -> (String, Vec<String>) {
    let raised = domain.interpreter.package().describe(py, raised);
    (format!("wsgi: close() of {} raised {}", name(app), raised.summary), raised.traceback)
}
