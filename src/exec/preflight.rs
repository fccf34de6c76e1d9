//! Preflight: whether the applications of a new configuration can be imported, before it is accepted.
//!
//! A child of the process that reads the configuration becomes like a worker, starts Python, imports every
//! application and reports. The process itself never has Python, and a configuration that fails changes
//! nothing: the old workers go on.

use std::fs::File;
use std::io::Write;
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
const NEXT: char = 'N';
const FAILED: char = 'F';
const TRACEBACK: char = 'T';
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
    child.map_err(|error| error.to_string()).and_then(|child| listen(log, conf, child)).map_err(
        |error| {
            if !error.is_empty() {
                log.write(Level::Emerg, format!("wsgi: preflight failed: {error}"));
            }
        },
    )
}

/// In the child: imports everything.
fn rehearse(cycle: &ngx_cycle_t, conf: &MainConf, mut pipe: File) {
    // Nobody listens any more if this fails.
    let mut say = |kind: char, text: &str| drop(writeln!(pipe, "{kind}{text}"));
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
    for (index, (app, domain)) in domains.into_iter().enumerate() {
        say(NEXT, &index.to_string());
        domain.interpreter.enter(|py| {
            if let Err(error) = app.callable(py, domain.interpreter, false) {
                let (text, traceback) = report::describe(py, domain, app, &error, "");
                say(FAILED, &text);
                for line in &traceback {
                    say(TRACEBACK, line);
                }
            }
        });
    }
    drop(writeln!(pipe, "{DONE}"));
}

/// In the parent: logs what the child says. The error is empty if everything has been said.
fn listen(log: Log<'_>, conf: &MainConf, mut child: Child) -> Result<(), String> {
    let limit = Duration::from_millis(conf.preflight_timeout.unwrap_or(TIMEOUT) as u64);
    let deadline = Instant::now() + limit;
    let mut app = &*conf.apps[0];
    let mut result = Ok(());
    loop {
        match child.listen(deadline).map_err(|error| error.to_string())? {
            Said::Line(line) if line == DONE => {
                child.end(true);
                return result;
            }
            Said::Line(line) => {
                let mut text = line.chars();
                match text.next() {
                    Some(NEXT) => {
                        let index = text.as_str().parse::<usize>().unwrap_or_default();
                        app = conf.apps.get(index).map_or(app, |app| app);
                    }
                    Some(FAILED) => {
                        emerg(log, app, text.as_str());
                        result = Err(String::new());
                    }
                    _ => log.write(Level::Emerg, format!("wsgi: {}", text.as_str())),
                }
            }
            Said::NotYet => {
                child.end(true);
                let (app_name, seconds) = (name(&app.value), limit.as_secs_f64());
                let text = format!(
                    "wsgi: {app_name} was not imported within {seconds} s (wsgi_preflight_timeout)"
                );
                emerg(log, app, &text);
                return Err(String::new());
            }
            Said::Nothing => {
                let how = match child.end(false) {
                    Ended::Signal(signal) => format!("signal {signal}"),
                    Ended::Exit(code) => format!("exit code {code}"),
                };
                // It has said why.
                if result.is_ok() {
                    let app_name = name(&app.value);
                    emerg(
                        log,
                        app,
                        &format!("wsgi: importing {app_name} ended the process ({how})"),
                    );
                }
                return Err(String::new());
            }
        }
    }
}

/// Logs with the place of the application's `wsgi_pass`.
fn emerg(log: Log<'_>, app: &Placed<App>, text: &str) {
    log.write(Level::Emerg, format!("{text} in {}:{}", app.file, app.line));
}
