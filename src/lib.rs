//! ngx_http_wsgi_module: Python WSGI applications inside nginx's own workers.
//!
//! This file is what nginx sees: the module's statics and its hooks, of a few lines each. `handler` is where a
//! request begins.

// Test binaries hold the rooms without nginx only, where much of them has no caller.
#![cfg_attr(test, allow(dead_code, unused_imports))]

mod block;
mod error;
mod field;
mod handover;
mod life;
mod py;
mod shared;
mod stats;
mod status;
mod workers;
mod wsgi;

// The rooms that call nginx cannot be linked into a test binary.
#[cfg(not(test))]
mod conf;
#[cfg(not(test))]
mod exec;
#[cfg(not(test))]
mod handler;
#[cfg(not(test))]
mod module;
#[cfg(not(test))]
mod nginx;
#[cfg(not(test))]
mod reactor;
#[cfg(not(test))]
mod variables;

#[cfg(not(test))]
pub use module::ngx_http_wsgi_module;
