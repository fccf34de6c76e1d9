//! What the error log is told of an application that fails.

use pyo3::Python;

use crate::error::Error;
use crate::nginx::{Level, Log};
use crate::wsgi::App;

use super::{Worker, name};

/// An application failed, while it was imported or while it served a request; `suffix` says what became of
/// the response.
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
    let (text, traceback) = match error {
        Error::Raised(raised) => {
            let (summary, traceback) = worker.package.describe(py, raised);
            (format!("wsgi: {name} raised {summary}{suffix}"), traceback)
        }
        Error::Import(raised) => {
            let (summary, traceback) = worker.package.describe(py, raised);
            (format!("wsgi: cannot load {name}: {summary}"), traceback)
        }
        error => (format!("wsgi: {name} {error}"), Vec::new()),
    };
    log.write(level, text);
    lines(log, level, &traceback);
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
