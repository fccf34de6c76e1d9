//! What the error log is told of an application that fails.

use pyo3::Python;

use crate::error::Error;
use crate::nginx::{Level, Log};
use crate::wsgi::App;

use super::{Worker, name};

/// An application failed while it served a request; `suffix` says what became of the response.
pub fn failed(
    py: Python<'_>,
    worker: &Worker,
    log: Log<'_>,
    level: Level,
    app: &App,
    error: &Error,
    suffix: &str,
) {
    let name = name(app);
    match error {
        Error::Raised(raised) => {
            let (summary, traceback) = worker.package.describe(py, raised);
            log.write(level, format!("wsgi: {name} raised {summary}{suffix}"));
            lines(log, level, &traceback);
        }
        error => log.write(level, format!("wsgi: {name} {error}")),
    }
}

/// An application could not be imported.
pub fn not_loaded(py: Python<'_>, worker: &Worker, log: Log<'_>, app: &App, error: &Error) {
    let name = name(app);
    match error {
        Error::Raised(raised) => {
            let (summary, traceback) = worker.package.describe(py, raised);
            log.write(Level::Error, format!("wsgi: cannot load {name}: {summary}"));
            lines(log, Level::Error, &traceback);
        }
        error => log.write(Level::Error, format!("wsgi: {name} {error}")),
    }
}

/// `close()` raised.
pub fn close_failed(
    py: Python<'_>,
    worker: &Worker,
    log: Log<'_>,
    app: &App,
    raised: &pyo3::PyErr,
) {
    let (summary, traceback) = worker.package.describe(py, raised);
    log.write(Level::Error, format!("wsgi: close() of {} raised {summary}", name(app)));
    lines(log, Level::Error, &traceback);
}

/// The first line carries the request; these follow it without.
fn lines(log: Log<'_>, level: Level, lines: &[String]) {
    for line in lines {
        log.write_plain(level, format!("wsgi: {line}"));
    }
}
