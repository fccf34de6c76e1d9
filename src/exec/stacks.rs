//! The thread that tells the status what this worker's requests do at the moment.
//!
//! One per worker, where there is a `wsgi_status`. Not nginx's, because that may be inside the very application
//! that somebody wonders about. It sleeps until a worker asks, needs the GIL for a moment, and lives as long as
//! the process.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::nginx::{Level, entry, log, process};
use crate::py::Interpreter;
use crate::stats::{self, Dump};

static IS_STARTED: AtomicBool = AtomicBool::new(false);

/// Starts the thread, once in a process.
pub fn answer_questions() {
    if IS_STARTED.swap(true, Ordering::Relaxed) {
        return;
    }
    let spawned = process::spawn("wsgi stacks", || {
        while stats::wait_for_question() {
            // Python has started by now, if it will.
            match Interpreter::main() {
                Some(main) => return main.settle(answer_all),
                None => entry::quietly(answer),
            }
        }
    });
    if let Err(error) = spawned {
        let text = format!("wsgi: no thread for the stacks of \"wsgi_status\": {error}");
        log::write_line(Level::Error, text.as_bytes());
    }
}

/// The first question has come.
fn answer_all() {
    loop {
        entry::quietly(answer);
        if !stats::wait_for_question() {
            return;
        }
    }
}

fn answer() {
    let Some(dump) = Dump::begin() else { return };
    let running = dump.running();
    let threads: Vec<u64> = running.iter().map(|running| running.ident).collect();
    // The frames of all interpreters are seen from each.
    let Some(interpreter) = Interpreter::main().filter(|_| !threads.is_empty()) else { return };
    let stacks = interpreter.enter(|py| interpreter.package().stacks(py, &threads));
    for (thread, text) in stacks.unwrap_or_default() {
        for running in running.iter().filter(|running| running.ident == thread) {
            dump.write(*running, &text);
        }
    }
}
