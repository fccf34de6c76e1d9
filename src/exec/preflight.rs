//! Preflight: whether the applications of a new configuration can be imported, before it is accepted.
//!
//! A child of the process that reads the configuration becomes like a worker, starts Python, imports every
//! application and reports. The master never has Python, and a configuration that fails changes nothing: the
//! old workers go on.

use std::fs::File;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nginx_sys::{ngx_cycle_t, ngx_msec_t};

use crate::conf::{MainConf, Placed};
use crate::nginx::child::{Child, Ended, Said};
use crate::nginx::{Level, Log, process};
use crate::py::Interpreter;
use crate::wsgi::App;

use super::{domains, main_domain, name, report};

const TIMEOUT: ngx_msec_t = 30_000;

/// What the child says, a line for each: a letter, then text.
const NEXT: &str = "N";
const FAILED: &str = "F";
const TRACEBACK: &str = "T";
const DONE: &str = "D";

/// Runs it, if the configuration of `cycle` asks for it.
///
/// # Errors
/// An application cannot be imported, which has been logged.
pub fn run(cycle: &ngx_cycle_t) -> Result<(), ()> {
    let Some(conf) = MainConf::of_cycle(cycle) else { return Ok(()) };
    if !conf.preflight.is_on() || conf.apps.is_empty() || process::is_signaller() {
        return Ok(());
    }
    // SAFETY: the cycle's log lives as long as the cycle.
    let log = unsafe { Log::from_ptr(cycle.log) };
    if Interpreter::main().is_some() {
        let text = "wsgi: \"wsgi_preflight\" is skipped at a reload of a single process, which has Python already";
        log.write(Level::Warn, text);
        return Ok(());
    }
    let child = Child::fork(|pipe| rehearse(cycle, conf, pipe));
    let is_good = child.and_then(|child| listen(log, conf, child)).unwrap_or_else(|error| {
        match error.kind() {
            io::ErrorKind::Interrupted => {
                log.write(Level::Notice, "wsgi: preflight given up, nginx is to end");
            }
            _ => log.write(Level::Emerg, format!("wsgi: preflight failed: {error}")),
        }
        false
    });
    if is_good { Ok(()) } else { Err(()) }
}

/// In the child: imports everything.
fn rehearse(cycle: &ngx_cycle_t, conf: &MainConf, pipe: File) {
    // Not to be closed: an import may have closed all descriptors.
    let mut pipe = ManuallyDrop::new(pipe);
    // Nobody listens any more if this fails.
    let mut say = |kind: &str, text: &str| drop(writeln!(pipe, "{kind}{text}"));
    if let Err(error) = process::become_worker(cycle) {
        return say(FAILED, &format!("wsgi: preflight failed: {error}"));
    }
    if let Err(error) = main_domain(conf) {
        return say(FAILED, &format!("wsgi: {error}"));
    }
    let domains = domains(conf);
    if domains.len() < conf.apps.len() {
        return say(FAILED, "wsgi: preflight failed: an interpreter is missing");
    }
    for (app, domain) in domains {
        let index = conf.apps.iter().position(|known| Arc::ptr_eq(&known.value, &app));
        say(NEXT, &index.unwrap_or_default().to_string());
        domain.interpreter.enter(|py| {
            if let Err(error) = app.callable(py, domain.interpreter, false) {
                let report::Failure { text, traceback, .. } =
                    report::describe(py, domain, &app, &error);
                say(FAILED, &text);
                for line in &traceback {
                    say(TRACEBACK, line);
                }
            }
        });
    }
    drop(writeln!(pipe, "{DONE}"));
}

/// In the parent: logs what the child says. True if it had nothing to complain about.
fn listen(log: Log<'_>, conf: &MainConf, mut child: Child) -> io::Result<bool> {
    let limit = Duration::from_millis(conf.preflight_timeout.unwrap_or(TIMEOUT) as u64);
    let deadline = Instant::now() + limit;
    let mut app = &conf.apps[0];
    let mut is_good = true;
    loop {
        let text = match child.listen(deadline)? {
            Said::Line(line) if line == DONE => return Ok(is_good),
            Said::Line(line) => {
                let (kind, text) = line.split_at_checked(1).unwrap_or_default();
                match kind {
                    NEXT => {
                        app = text
                            .parse()
                            .ok()
                            .and_then(|i: usize| conf.apps.get(i))
                            .map_or(app, |app| app)
                    }
                    FAILED => {
                        emerg(log, app, text);
                        is_good = false;
                    }
                    _ => log.write(Level::Emerg, format!("wsgi: {text}")),
                }
                continue;
            }
            Said::NotYet => too_slow(app, limit),
            Said::Nothing if !is_good => return Ok(false),
            Said::Nothing => match child.ended(deadline) {
                Ended::Signal(libc::SIGKILL) if Instant::now() >= deadline => too_slow(app, limit),
                ended => {
                    format!("wsgi: importing {} ended the process ({ended})", name(&app.value))
                }
            },
        };
        emerg(log, app, &text);
        return Ok(false);
    }
}

fn too_slow(app: &Placed<Arc<App>>, limit: Duration) -> String {
    let (name, seconds) = (name(&app.value), limit.as_secs_f64());
    format!("wsgi: {name} was not imported within {seconds} s (wsgi_preflight_timeout)")
}

/// Logs with the place of the application's `wsgi_pass`.
fn emerg(log: Log<'_>, app: &Placed<Arc<App>>, text: &str) {
    log.write(Level::Emerg, format!("{text} in {}:{}", app.file, app.line));
}
