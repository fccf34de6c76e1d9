//! The watchdog: time limits of applications, and exceptions that end what runs too long.
//!
//! Two threads of a worker, started where a location asks for it. The timer never takes the GIL, so that no
//! application can hold it up; it answers the client, and has the worker replaced. The inspector takes the GIL,
//! which may take long, to log stacks and to raise exceptions.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Instant;

use nginx_sys::ngx_msec_t;

use crate::conf::Service;
use crate::handover::lock;
use crate::nginx::{Level, log, process};
use crate::py::{Interpreter, Interruption};
use crate::stats;

use super::runner::Runner;
use super::threads::{self, Task};
use super::{Domain, name};

/// The least time for somebody who may be held up by others: an application whose exception could not be
/// raised for want of the GIL, and nginx's own thread, which keeps its worker from everything.
const GRACE: Duration = Duration::from_secs(2);

/// A clock that stands is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A run that is watched.
struct Watched {
    runner: Arc<Runner>,
    service: Arc<Service>,
    domain: &'static Domain,
    /// "GET /x HTTP/1.1".
    request: String,
    /// The name of the thread.
    thread: String,
    /// In a thread; `None` inline.
    task: Option<Arc<Task>>,
    stats: stats::App,
    stage: Mutex<Stage>,
}

/// What has been done about a run, and how long it had run by then.
#[derive(Clone, Copy, Debug, Default)]
struct Stage {
    is_slow: bool,
    late: Option<Duration>,
    /// The exception has been raised, for which the GIL was needed.
    raised: Option<Duration>,
    stuck: Option<Duration>,
    /// It has ended: nothing more is to be done about it.
    is_over: bool,
}

/// What the inspector is to do.
enum Inspection {
    Slow(Arc<Watched>),
    Late(Arc<Watched>),
    Left(Arc<Task>),
}

struct Watchdog {
    runs: Mutex<Runs>,
    changed: Condvar,
    inspector: Sender<Inspection>,
}

#[derive(Default)]
struct Runs {
    all: Vec<Arc<Watched>>,
    /// When the timer looks again.
    next: Option<Instant>,
}

/// How many runs of this worker do not end.
static STUCK: AtomicUsize = AtomicUsize::new(0);

/// Whether an application of this worker does not end.
pub fn is_anyone_stuck() -> bool {
    STUCK.load(Ordering::Relaxed) > 0
}

static WATCHDOG: OnceLock<Option<Watchdog>> = OnceLock::new();

/// While it lives the run is watched.
pub struct Watch(Arc<Watched>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.set_stage(|stage| {
            stage.is_over = true;
            if stage.stuck.is_some() {
                STUCK.fetch_sub(1, Ordering::Relaxed);
            }
        });
        if let Some(Some(watchdog)) = WATCHDOG.get() {
            let mut runs = lock(&watchdog.runs);
            runs.all.retain(|run| !Arc::ptr_eq(run, &self.0));
        }
    }
}

/// Watches a run, if its location has limits.
pub fn watch(
    runner: &Arc<Runner>,
    service: &Arc<Service>,
    domain: &'static Domain,
    task: Option<&Arc<Task>>,
    stats: stats::App,
    request: impl FnOnce() -> String,
) -> Option<Watch> {
    if service.timeout.is_none() && service.slow_log.is_none() {
        return None;
    }
    let watchdog = watchdog()?;
    let watched = Arc::new(Watched {
        runner: Arc::clone(runner),
        service: Arc::clone(service),
        domain,
        request: request(),
        task: task.cloned(),
        stats,
        // As Python calls it.
        thread: match (task, thread::current().name()) {
            (Some(_), Some(name)) => name.to_owned(),
            _ => "MainThread".to_owned(),
        },
        stage: Mutex::default(),
    });
    let mut runs = lock(&watchdog.runs);
    runs.all.push(Arc::clone(&watched));
    let first = watched.limits().into_iter().flatten().min();
    let deadline = first.map(|limit| Instant::now() + limit);
    if deadline.is_some_and(|deadline| runs.next.is_none_or(|next| deadline < next)) {
        watchdog.changed.notify_one();
    }
    drop(runs);
    Some(Watch(watched))
}

/// The client of a request in a thread has left: raises in the thread, if the location wants that.
pub fn client_left(task: &Arc<Task>) {
    if task.service.cancel_on_disconnect
        && let Some(watchdog) = watchdog()
    {
        // The inspector lives as long as the process.
        let _ = watchdog.inspector.send(Inspection::Left(Arc::clone(task)));
    }
}

fn watchdog() -> Option<&'static Watchdog> {
    WATCHDOG.get_or_init(start).as_ref()
}

fn start() -> Option<Watchdog> {
    let (inspector, inspections) = mpsc::channel();
    let main = Interpreter::main()?;
    let inspect_all = move || main.settle(|| inspections.into_iter().for_each(inspect));
    let started = process::spawn("wsgi-inspector", inspect_all)
        .and_then(|()| process::spawn("wsgi-timer", keep_time));
    match started {
        Ok(()) => Some(Watchdog { runs: Mutex::default(), changed: Condvar::new(), inspector }),
        Err(error) => {
            let text =
                format!("wsgi: the watchdog cannot start, there are no time limits: {error}");
            log::write_line(Level::Error, text.as_bytes());
            None
        }
    }
}

/// The timer's life.
fn keep_time() {
    let Some(watchdog) = watchdog() else { return };
    let mut runs = lock(&watchdog.runs);
    loop {
        let due: Vec<_> = runs.all.iter().filter(|run| run.is_due()).cloned().collect();
        drop(runs);
        for run in due {
            run.act(&watchdog.inspector);
        }
        runs = lock(&watchdog.runs);
        let wait = runs.all.iter().filter_map(|run| run.time_left()).min();
        runs.next = wait.map(|wait| Instant::now() + wait);
        runs = match wait {
            Some(wait) => {
                let woken = watchdog.changed.wait_timeout(runs, wait);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
            None => watchdog.changed.wait(runs).unwrap_or_else(PoisonError::into_inner),
        };
    }
}

impl Watched {
    fn stage(&self) -> Stage {
        *lock(&self.stage)
    }

    /// Changes it. False, and nothing is changed, if the run is over.
    fn set_stage(&self, change: impl FnOnce(&mut Stage)) -> bool {
        let mut stage = lock(&self.stage);
        if !stage.is_over {
            change(&mut stage);
            return true;
        }
        false
    }

    /// The limits that are still ahead: `wsgi_slow_log`; `wsgi_timeout`, the same time again after the
    /// exception was raised, and inline once more.
    fn limits(&self) -> [Option<Duration>; 2] {
        let (stage, service) = (self.stage(), &self.service);
        let milliseconds = |limit: ngx_msec_t| Duration::from_millis(limit as u64);
        let timeout = service.timeout.map(milliseconds);
        let late = timeout.and_then(|timeout| match stage {
            Stage { late: None, .. } => Some(timeout),
            // A thread that is stuck is left alone.
            Stage { stuck: Some(at), .. } => {
                let may_exit = self.task.is_none() && process::has_master();
                may_exit.then(|| at + timeout.max(GRACE))
            }
            Stage { raised: Some(at), .. } => Some(at + timeout),
            Stage { late: Some(at), .. } => Some(at + timeout.max(GRACE)),
        });
        [service.slow_log.filter(|_| !stage.is_slow).map(milliseconds), late]
    }

    fn is_due(&self) -> bool {
        let (ran, is_running) = self.runner.clock.read();
        is_running && self.limits().into_iter().flatten().any(|limit| limit <= ran)
    }

    /// How long until it may be due, `None` if it never will be.
    fn time_left(&self) -> Option<Duration> {
        let (ran, is_running) = self.runner.clock.read();
        let left =
            self.limits().into_iter().flatten().map(|limit| limit.saturating_sub(ran)).min()?;
        Some(if is_running { left } else { left.max(LOOK_AGAIN) })
    }

    /// Does what is due.
    fn act(self: Arc<Self>, inspector: &Sender<Inspection>) {
        let (ran, _) = self.runner.clock.read();
        let [slow, late] = self.limits();
        if slow.is_some_and(|limit| limit <= ran) && self.set_stage(|stage| stage.is_slow = true) {
            let _ = inspector.send(Inspection::Slow(Arc::clone(&self)));
        }
        if late.is_none_or(|limit| limit > ran) {
            return;
        }
        match self.stage() {
            Stage { late: None, .. } => {
                if !self.set_stage(|stage| stage.late = Some(ran)) {
                    return;
                }
                self.stats.timed_out();
                let _ = inspector.send(Inspection::Late(Arc::clone(&self)));
                if let Some(task) = &self.task {
                    threads::time_out(task);
                }
            }
            Stage { stuck: None, .. } => {
                let is_stuck = self.set_stage(|stage| {
                    stage.stuck = Some(ran);
                    STUCK.fetch_add(1, Ordering::Relaxed);
                });
                if !is_stuck {
                    return;
                }
                let name = name(&self.service.app);
                let text = format!(
                    "wsgi: {name} does not end after its wsgi_timeout, this worker is replaced, request: \"{}\"",
                    self.request
                );
                log::write_line(Level::Error, text.as_bytes());
                threads::replace_worker();
            }
            // nginx's thread has not come back for the third time.
            Stage { .. } => {
                log::write_line(
                    Level::Error,
                    b"wsgi: the event loop stands still, this worker exits",
                );
                process::exit_at_once();
            }
        }
    }

    /// Logs that it runs, and where.
    fn describe(&self, level: Level, limit: &str, stack: &[String]) {
        let (ran, _) = self.runner.clock.read();
        let text = format!(
            "wsgi: {} runs for {:.1} s ({limit}), request: \"{}\", in thread \"{}\"",
            name(&self.service.app),
            ran.as_secs_f64(),
            self.request,
            self.thread,
        );
        let log = log::process_log();
        log.write_plain(level, text);
        log.write_lines(level, stack);
    }
}

/// What needs the GIL.
fn inspect(inspection: Inspection) {
    match inspection {
        Inspection::Slow(run) => run.domain.interpreter.enter(|py| {
            run.describe(Level::Warn, "wsgi_slow_log", &run.runner.stack(py, run.domain));
        }),
        Inspection::Late(run) => run.domain.interpreter.enter(|py| {
            run.describe(Level::Error, "wsgi_timeout", &run.runner.stack(py, run.domain));
            run.runner.interrupt(py, run.domain, Interruption::Timeout);
            let (ran, _) = run.runner.clock.read();
            run.set_stage(|stage| stage.raised = Some(ran));
        }),
        Inspection::Left(task) => task.domain.interpreter.enter(|py| {
            task.runner.interrupt(py, task.domain, Interruption::Disconnected);
        }),
    }
}
