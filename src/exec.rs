//! The worker and its executors: who calls Python, and when.
//!
//! A worker is a process that serves. It is set up once, in `init_process`, and torn down in
//! `exit_process`; what it has in Python lives as long as the process.

pub mod inline;
mod parts;
mod report;
mod slice;

use core::cell::RefCell;
use core::ptr;
use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::{Once, OnceLock};

use nginx_sys::ngx_cycle_t;

use crate::conf::MainConf;
use crate::handler::Job;
use crate::nginx::{Level, Log, Request, log, process};
use crate::py::{self, Interpreter, Package, Settings};
use crate::wsgi::{App, Gateway};

use inline::Inline;

/// How long the `atexit` functions of a worker may take.
const EXIT_LIMIT: Duration = Duration::from_secs(10);

/// What a serving process has.
pub struct Worker {
    pub interpreter: &'static Interpreter,
    pub package: &'static Package,
    pub gateway: Gateway<Inline>,
}

static WORKER: OnceLock<Worker> = OnceLock::new();

thread_local! {
    /// The jobs that are between two events, for the end of the process: a fast shutdown does not destroy
    /// the pools of requests.
    static WAITING: RefCell<BTreeSet<*const Job>> = const { RefCell::new(BTreeSet::new()) };
}

/// Starts Python in a process that serves, if there is any application, and imports the applications.
pub fn start_worker(cycle: &ngx_cycle_t) {
    let Some(conf) = MainConf::of_cycle(cycle) else { return };
    if !process::is_serving() || conf.apps.is_empty() {
        return;
    }
    // SAFETY: the cycle's log lives as long as the cycle.
    let log = unsafe { Log::from_ptr(cycle.log) };
    if let Some(worker) = worker(conf) {
        worker.interpreter.enter(|py| {
            for app in &conf.apps {
                if let Err(error) = app.callable(py, worker.package) {
                    report::failed(py, worker, log, Level::Error, app, &error, "");
                }
            }
        });
    }
}

/// The worker; made now if this process has none yet, as after a reload of a single process whose first
/// configuration had no application. `None` if Python could not be started, which is not tried again:
/// CPython makes no promise about a second attempt.
fn worker(conf: &MainConf) -> Option<&'static Worker> {
    static TRIED: Once = Once::new();
    TRIED.call_once(|| match make_worker(conf) {
        Ok(worker) => drop(WORKER.set(worker)),
        Err(error) => {
            let text = format!(
                "wsgi: cannot start Python: {error} (this module needs Python {}; see \
                 wsgi_python_executable and wsgi_python_home)",
                py::BUILD_VERSION
            );
            log::write_line(Level::Error, text.as_bytes());
        }
    });
    WORKER.get()
}

fn make_worker(conf: &MainConf) -> Result<Worker, String> {
    process::reset_sigchld();
    for (name, value) in &conf.env {
        process::set_env(name, value);
    }
    let settings = Settings {
        home: conf.python_home.as_ref().map(|home| home.value.clone()),
        executable: conf.python_executable.as_ref().map(|executable| executable.value.clone()),
        optimize: conf.python_optimize.as_ref().map_or(0, |optimize| optimize.value),
        argv: vec![process::program_name()],
    };
    let interpreter = py::start(&settings, log::python_line)?;
    let package = interpreter.package().ok_or("the package ngx_wsgi is missing")?;
    let gateway = interpreter.enter(Gateway::new).map_err(|error| error.to_string())?;
    Ok(Worker { interpreter, package, gateway })
}

/// The worker of this process, as seen from a request.
fn worker_of_request() -> Option<&'static Worker> {
    WORKER.get().or_else(|| worker(MainConf::of_cycle(Request::cycle())?))
}

/// Ends the exchanges that are left, then runs the `atexit` functions.
pub fn stop_worker() {
    if WORKER.get().is_none() {
        return;
    }
    py::stop(EXIT_LIMIT, close_waiting, || {
        let text = b"wsgi: the atexit functions did not end within 10 seconds, the worker exits without them";
        log::write_line(Level::Error, text);
    });
}

fn close_waiting() {
    for job in WAITING.take() {
        // SAFETY: a job is forgotten by its drop, so those in the set are alive.
        inline::abandon(unsafe { &*job });
    }
}

/// Notes a job that outlives the event it came from.
pub fn keep_in_mind(job: &Job) {
    WAITING.with_borrow_mut(|waiting| waiting.insert(ptr::from_ref(job)));
}

/// Forgets a job that ends.
pub fn forget(job: &Job) {
    WAITING.with_borrow_mut(|waiting| {
        if !waiting.is_empty() {
            waiting.remove(&ptr::from_ref(job));
        }
    });
}

/// How an application is called in the log.
fn name(app: &App) -> String {
    format!("application \"{}\"", app.target())
}
