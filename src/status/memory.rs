//! The memory of the statistics: asked of nginx for a configuration with `wsgi_status`.

use nginx_sys::ngx_cycle_t;

use crate::conf::MainConf;
use crate::exec;
use crate::nginx::zone::{self, Before};
use crate::nginx::{Level, Log, process};
use crate::shared::Memory;
use crate::stats::{self, AppName, Capacity, Table};

/// The name of the zone.
const ZONE: &str = "ngx_wsgi_status";

/// What a configuration has in the table.
pub struct Plan {
    pub table: Table,
    /// The rows of its applications, in their order.
    pub rows: Vec<usize>,
    pub workers: usize,
}

/// Asks for the memory, if some location is to show the status.
///
/// # Errors
/// Memory ran out.
pub fn reserve(cycle: &ngx_cycle_t) -> Result<(), ()> {
    match MainConf::of_cycle(cycle) {
        Some(conf) if conf.has_status => {}
        _ => return Ok(()),
    }
    let before = zone::before(cycle, ZONE);
    let len = match before.and_then(|memory| Some((memory, Table::open(memory)?))) {
        None => capacity(cycle, None).len(),
        Some((memory, table)) => {
            if table.has_room_for(&names(cycle), process::configured_workers(cycle)) {
                memory.len()
            } else {
                // Not the same size, which would be the same memory.
                capacity(cycle, Some(&table)).len().max(memory.len() + 1)
            }
        }
    };
    zone::add(cycle, ZONE, len, made)
}

/// Room for this configuration and for what the one before has counted.
fn capacity(cycle: &ngx_cycle_t, before: Option<&Table>) -> Capacity {
    let mut apps = names(cycle);
    if before.is_some() {
        apps.extend(names_before(cycle));
        apps.sort();
        apps.dedup();
    }
    let own = Capacity::of(apps.len(), process::configured_workers(cycle));
    before.map_or(own, |before| own.and(before.capacity()))
}

/// The memory is there.
fn made(cycle: &ngx_cycle_t, memory: Memory, before: Before) {
    let Some(conf) = MainConf::of_cycle(cycle) else { return };
    let names = names(cycle);
    let table = match before {
        Before::Same => Table::open(memory),
        Before::Nothing => Table::create(memory, capacity(cycle, None)),
        Before::Other(old) => {
            let old = Table::open(old);
            let table = Table::create(memory, capacity(cycle, old.as_ref()));
            if let (Some(table), Some(old)) = (&table, &old) {
                let current = names_before(cycle);
                table.continue_from(old, |name| {
                    names.iter().chain(&current).any(|other| other == name)
                });
            }
            table
        }
    };
    let Some(table) = table else { return };
    let rows = names.iter().filter_map(|name| table.find_or_add(name)).collect();
    let workers = process::configured_workers(cycle);
    let _ = conf.stats.set(Plan { table, rows, workers });
}

/// The applications of a configuration, as the table names them.
fn names(cycle: &ngx_cycle_t) -> Vec<String> {
    let apps = MainConf::of_cycle(cycle).map_or(&[][..], |conf| &conf.apps);
    let name = |target: &crate::wsgi::App| {
        let key = target.key();
        AppName {
            target: key.target.to_string(),
            interpreter: key.interpreter.clone().unwrap_or_default(),
            middleware: key.middleware.iter().map(ToString::to_string).collect(),
        }
    };
    apps.iter().map(|app| name(&app.value).to_text()).collect()
}

/// Those of the configuration before. To be called only where its memory has been found, which shows that it
/// is a configuration of this very module.
fn names_before(cycle: &ngx_cycle_t) -> Vec<String> {
    process::old_cycle(cycle).map_or_else(Vec::new, names)
}

/// In a process that begins to serve: takes its place in the table.
pub fn start_worker(cycle: &ngx_cycle_t) {
    let Some(conf) = MainConf::of_cycle(cycle) else { return };
    let Some(plan) = conf.stats.get().filter(|_| process::is_serving()) else { return };
    if !stats::join(plan.table, process::worker_index()) {
        let text = "wsgi: so many workers of earlier configurations live that \"wsgi_status\" has no room for this one";
        // SAFETY: the cycle's log lives as long as the cycle.
        unsafe { Log::from_ptr(cycle.log) }.write(Level::Notice, text);
    }
    exec::answer_questions();
}

/// In a single process a new configuration comes without a new process.
pub fn reload_single_process(cycle: &ngx_cycle_t) {
    if !process::has_master() && process::old_cycle(cycle).is_some() {
        start_worker(cycle);
    }
}
