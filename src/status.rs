//! `wsgi_status`: what the workers do, as a page, as JSON, and for Prometheus.
//!
//! `stats` counts, in memory that nginx gives here to all workers; any worker answers for all of them. The
//! formats are made of a `Snapshot` and know no nginx.

mod format;
mod json;
mod page;
mod prometheus;

#[cfg(not(test))]
mod handler;
#[cfg(not(test))]
mod memory;

#[cfg(not(test))]
pub use handler::content_handler;
#[cfg(not(test))]
pub use memory::{Plan, reload_single_process, reserve, start_worker};

/// The versions that a status tells.
#[derive(Clone, Copy, Debug)]
pub struct Versions<'a> {
    pub module: &'a str,
    pub nginx: &'a str,
    pub python: &'a str,
}
