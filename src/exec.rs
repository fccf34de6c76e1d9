//! The worker and its executors: who calls Python, and when.
//!
//! A worker is a process that serves. It is set up once, in `init_process`, and torn down in
//! `exit_process`. What it has in Python, a domain for each interpreter, lives as long as the process.

pub mod inline;
mod line;
mod parts;
pub mod preflight;
mod report;
pub mod runner;
mod sending;
mod slice;
mod stacks;
mod stay;
pub mod threads;
pub mod watchdog;
mod writing;

use core::cell::RefCell;
use core::ptr;
use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use nginx_sys::ngx_cycle_t;

use crate::conf::MainConf;
use crate::handler::Job;
use crate::nginx::{Level, Log, Request, log, process};
use crate::py::{self, Interpreter, Settings};
use crate::reactor;
use crate::workers;
use crate::wsgi::{App, Gateway};

pub use threads::{DEFAULT_QUEUE, Pool};

use inline::Inline;
use threads::Threaded;

/// How long the `atexit` functions of a worker may take.
const EXIT_LIMIT: Duration = Duration::from_secs(10);

/// How long threads that are still inside applications may take when the worker ends, and the functions
/// after them if they do not end: nginx's master kills a worker a second after SIGTERM.
const BUSY_LIMIT: Duration = Duration::from_millis(300);

/// What a serving process has for one interpreter.
pub struct Domain {
    pub interpreter: &'static Interpreter,
    pub gateway: Gateway<Inline>,
    /// That of the threads.
    pub threaded: Gateway<Threaded>,
}

impl Domain {
    fn new(interpreter: &'static Interpreter) -> Result<Self, String> {
        let gateways = interpreter.enter(|py| {
            reactor::install(py, interpreter)?;
            Ok((Gateway::new(py)?, Gateway::new(py)?))
        });
        let (gateway, threaded) = gateways.map_err(|error: pyo3::PyErr| error.to_string())?;
        Ok(Self { interpreter, gateway, threaded })
    }
}

/// That of the main interpreter, or why there is none.
static MAIN: OnceLock<Result<Domain, String>> = OnceLock::new();

thread_local! {
    /// Those of sub-interpreters by name, `None` for one that could not be made.
    static SUBS: RefCell<Vec<(String, Option<&'static Domain>)>> = const { RefCell::new(Vec::new()) };

    /// The jobs that are between two events, for the end of the process: a fast shutdown does not destroy
    /// the pools of requests.
    static WAITING: RefCell<BTreeSet<*const Job>> = const { RefCell::new(BTreeSet::new()) };
}

pub use stacks::answer_questions;

/// Starts Python in a process that serves, if there is any application, and imports the applications.
pub fn start_worker(cycle: &ngx_cycle_t) {
    let Some(conf) = MainConf::of_cycle(cycle) else { return };
    if !process::is_serving() || conf.apps.is_empty() {
        return;
    }
    if conf.threaded.is_empty() {
        process::keep_freed_memory();
    }
    workers::join(cycle, conf);
    reactor::open();
    // Others may leave when this one serves.
    if !start(cycle, conf) {
        workers::start_serving();
    }
}

/// True if a thread goes on with imports.
fn start(cycle: &ngx_cycle_t, conf: &MainConf) -> bool {
    // SAFETY: the cycle's log lives as long as the cycle.
    let log = unsafe { Log::from_ptr(cycle.log) };
    if conf.reloads_processes && !process::has_master() {
        log.write(
            Level::Warn,
            "wsgi: \"wsgi_reload_mechanism process\" needs a master process, scripts are reloaded as \
             with \"module\"",
        );
    }
    if main_domain(conf).is_err() {
        return false;
    }
    // Those that run in threads are imported there: nginx's thread does not wait for them.
    let is_threaded =
        |app: &Arc<App>| conf.threaded.iter().any(|(known, _)| Arc::ptr_eq(known, app));
    let (threaded, inline): (Vec<_>, Vec<_>) =
        domains(conf).into_iter().partition(|(app, _)| is_threaded(app));
    for (app, domain) in inline {
        domain.interpreter.enter(|py| {
            if let Err(error) = app.callable(py, domain.interpreter, false) {
                let failure = report::describe(py, domain, &app, &error);
                log.write_all(Level::Error, &failure.text, &failure.traceback);
            }
        });
    }
    threads::start(conf, threaded)
}

/// The applications with their domains. All interpreters are made before anything is imported, because each
/// begins with a copy of the environment, which applications change. Those of the main interpreter come
/// first: many extension modules stay with the interpreter that imports them first.
fn domains(conf: &MainConf) -> Vec<(Arc<App>, &'static Domain)> {
    let mut apps: Vec<_> = conf.apps.iter().map(|app| Arc::clone(&app.value)).collect();
    apps.sort_by_key(|app| app.key().interpreter.is_some());
    apps.into_iter().filter_map(|app| domain(&app).map(|domain| (app, domain))).collect()
}

/// The domain that `app` runs in; made now if this is the first time. `None` if it could not be made, which
/// has been logged and is not tried again.
pub fn domain(app: &App) -> Option<&'static Domain> {
    let main = match MAIN.get() {
        Some(main) => main.as_ref().ok()?,
        None => {
            reactor::open();
            main_domain(MainConf::of_cycle(Request::cycle())?).ok()?
        }
    };
    let Some(name) = &app.key().interpreter else { return Some(main) };
    let known = SUBS.with_borrow(|subs| {
        subs.iter().find(|(known, _)| known == name).map(|(_, domain)| *domain)
    });
    known.unwrap_or_else(|| {
        let made = py::Interpreter::new_sub(log::python_line).and_then(Domain::new);
        let domain = made.inspect_err(|error| {
            let text = format!("wsgi: cannot make the sub-interpreter \"{name}\": {error}");
            log::write_line(Level::Error, text.as_bytes());
        });
        let domain = domain.ok().map(|domain| &*Box::leak(Box::new(domain)));
        SUBS.with_borrow_mut(|subs| subs.push((name.clone(), domain)));
        domain
    })
}

/// The domain of the main interpreter; made now if this process has none yet, as after a reload of a single
/// process whose first configuration had no application.
///
/// # Errors
/// Why Python could not be started, which has been logged. It is not tried again: CPython makes no promise
/// about a second attempt.
fn main_domain(conf: &MainConf) -> Result<&'static Domain, &'static str> {
    let made = MAIN.get_or_init(|| {
        let domain = start_python(conf).and_then(Domain::new).map_err(|error| {
            format!(
                "cannot start Python: {error} (this module needs Python {}; see \
                 wsgi_python_executable and wsgi_python_home)",
                py::BUILD_VERSION
            )
        });
        domain.inspect_err(|error| {
            log::write_line(Level::Error, format!("wsgi: {error}").as_bytes());
        })
    });
    made.as_ref().map_err(String::as_str)
}

fn start_python(conf: &MainConf) -> Result<&'static Interpreter, String> {
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
    py::start(&settings, log::python_line)
}

/// Ends the exchanges that are left, then runs the `atexit` functions.
pub fn stop_worker() {
    workers::end();
    if MAIN.get().is_none() {
        return;
    }
    // Those in threads first: what they wait for does not come any more, so they close what is open.
    for job in &WAITING.with_borrow(BTreeSet::clone) {
        // SAFETY: a job is forgotten by its drop, so those in the set are alive.
        threads::abandon(unsafe { &**job });
    }
    let is_quiet = threads::quiesce(BUSY_LIMIT);
    let limit = if is_quiet { EXIT_LIMIT } else { BUSY_LIMIT };
    let patience =
        if process::is_terminating() { Duration::from_millis(500) } else { EXIT_LIMIT / 2 };
    py::stop(limit, patience, close_waiting, move || {
        let text = if is_quiet {
            "wsgi: the atexit functions did not end within 10 seconds, the worker exits without them"
        } else {
            "wsgi: a thread does not end, the worker exits without it"
        };
        log::write_line(Level::Error, text.as_bytes());
    });
}

fn close_waiting() {
    for job in WAITING.take() {
        // SAFETY: a job is forgotten by its drop, so those in the set are alive.
        abandon(unsafe { &*job });
    }
}

/// Ends what a job has in Python, whatever state it is in: its request's pool is being destroyed, or the
/// process ends.
pub fn abandon(job: &Job) {
    if job.task.get().is_some() {
        threads::abandon(job);
        let blocks = job.output.borrow_mut().surrender();
        job.let_go(blocks);
    } else {
        inline::abandon(job);
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
pub fn name(app: &App) -> String {
    format!("application \"{}\"", app.target())
}
