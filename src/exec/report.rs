//! What the error log is told of an application that fails.

use pyo3::Python;

use crate::error::Error;
use crate::nginx::{Level, Log};
use crate::wsgi::App;

use super::{Domain, name};

/// An application failed, while it was imported or while it served a request; `suffix` says what became of
/// the response.
pub fn failed(
    py: Python<'_>,
    domain: &Domain,
    log: Log<'_>,
    level: Level,
    app: &App,
    error: &Error,
    suffix: &str,
) {
    let (text, traceback) = describe(py, domain, app, error, suffix);
    log.write(level, text);
    lines(log, level, &traceback);
}

/// The words for it, and the lines of the traceback.
pub fn describe(
    py: Python<'_>,
    domain: &Domain,
    app: &App,
    error: &Error,
    suffix: &str,
) -> (String, Vec<String>) {
    let name = name(app);
    let package = domain.interpreter.package();
    match error {
        Error::Raised(raised) => {
            let raised = package.describe(py, raised);
            (format!("wsgi: {name} raised {}{suffix}", raised.summary), raised.traceback)
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

/// `close()` raised.
pub fn close_failed(
    py: Python<'_>,
    domain: &Domain,
    log: Log<'_>,
    app: &App,
    raised: &pyo3::PyErr,
) {
    let raised = domain.interpreter.package().describe(py, raised);
    log.write(Level::Error, format!("wsgi: close() of {} raised {}", name(app), raised.summary));
    lines(log, Level::Error, &raised.traceback);
}

/// The first line carries the request; these follow it without.
fn lines(log: Log<'_>, level: Level, lines: &[String]) {
    for line in lines {
        log.write_plain(level, format!("wsgi: {line}"));
    }
}
