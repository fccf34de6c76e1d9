//! What this worker knows of itself, and the functions that tell it what happens.

use core::cell::RefCell;

use nginx_sys::ngx_cycle_t;

use crate::conf::MainConf;
use crate::nginx::{Level, Log, process, zone};
use crate::shared::Memory;

use super::admission::Admission;
use super::heap;
use super::replacement::{Reason, Replacement};
use super::table::{Member, Stage, Table};

thread_local! {
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

/// This process, in an nginx with a master.
pub(super) struct Worker {
    pub member: Member,
    pub replacement: Replacement,
    pub admission: Admission,
}

/// Calls `f` with this worker, if it has joined.
pub(super) fn with(f: impl FnOnce(&mut Worker)) {
    WORKER.with_borrow_mut(|worker| {
        if let Some(worker) = worker {
            f(worker);
        }
    });
}

/// Asks for the memory of the table, in the process that has read a configuration, before it is accepted.
///
/// # Errors
/// Memory ran out.
pub fn ask_for_table(cycle: &ngx_cycle_t) -> Result<(), ()> {
    match MainConf::of_cycle(cycle) {
        // Always of the same size, so that it outlives a reload.
        Some(conf) if !conf.apps.is_empty() => zone::add(
            cycle,
            "ngx_wsgi_workers",
            Memory::space::<Table>(1),
            |cycle, mut memory, _| {
                let table = memory.take(1).map(|table| &table[0]);
                if let Some(conf) = MainConf::of_cycle(cycle) {
                    conf.workers.set(table);
                }
            },
        ),
        _ => Ok(()),
    }
}

/// Takes the place of this worker among the others. Without a master there are no others, and nobody would
/// replace this one.
pub fn join(cycle: &ngx_cycle_t, conf: &MainConf) {
    if !process::has_master() {
        return warn_of_no_master(cycle, conf);
    }
    let (pid, index) = process::identity();
    let workers = process::worker_processes(cycle);
    let member = conf.workers.get().and_then(|table| Member::join(table, index, workers, pid));
    WORKER.set(member.map(|member| Worker {
        member,
        replacement: Replacement::new(conf.max_requests, conf.max_memory),
        admission: Admission::new(!conf.admission.is_off() && workers > 1),
    }));
}

/// The applications have been imported, or not: from now on this worker answers.
pub fn start_serving() {
    with(|worker| {
        worker.member.reach(Stage::Serving);
        worker.replacement.look_at_start();
    });
}

/// This process ends.
pub fn end() {
    with(|worker| worker.member.reach(Stage::Leaving));
}

/// Has this worker replaced: it quits gracefully as soon as no other one is being replaced. May be said
/// again.
pub fn replace(reason: Reason) {
    with(|worker| worker.replacement.ask(reason, &worker.member));
}

/// An application is to answer a request.
pub fn request_begins() {
    with(|worker| worker.replacement.request_begins(&worker.member));
}

/// A request to an application has ended.
pub fn request_ends() {
    heap::request_ends();
    with(|worker| worker.replacement.request_ends(&worker.member));
}

/// So many threads of this worker's pools, together, have nothing to do, of so many. To be told whenever
/// that changes.
pub fn note_threads(idle: usize, threads: usize) {
    with(|worker| worker.admission.note_threads(idle, threads, &worker.member));
}

fn warn_of_no_master(cycle: &ngx_cycle_t, conf: &MainConf) {
    // SAFETY: the cycle's log lives as long as the cycle.
    let log = unsafe { Log::from_ptr(cycle.log) };
    let given = [
        ("wsgi_max_requests", conf.max_requests.is_some_and(|most| most.number > 0)),
        ("wsgi_max_memory", conf.max_memory.is_some_and(|most| most > 0)),
    ];
    for (name, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
        let text = format!("wsgi: \"{name}\" needs a master process, this process is not replaced");
        log.write(Level::Warn, text);
    }
}
