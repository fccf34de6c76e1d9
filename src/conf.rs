//! The configuration: what the directives of an nginx.conf come to.
//!
//! One `MainConf` per configuration, one `LocationConf` per location (and `if`, and `limit_except`), in the
//! pool of the cycle; a reload makes new ones.

mod commands;
mod ext;
mod merge;
mod service;
mod set;
mod value;

use std::ffi::CString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use core::cell::{Cell, OnceCell};

use nginx_sys::{ngx_cycle_t, ngx_http_conf_ctx_t, ngx_http_module, ngx_msec_t, ngx_path_t};

use crate::error::Error;
use crate::exec::Pool;
use crate::nginx::{Ignored, Request, Roomy};
use crate::stats;
use crate::status::Plan;
use crate::workers::Table;
use crate::wsgi::{App, Mount, Protocol, Target};

pub use commands::COMMANDS;
pub use ext::FAILED;
pub use merge::merge_loc_conf;
pub use service::{Constants, Service};
pub use value::{ComplexValue, Flag, Var};

use crate::ngx_http_wsgi_module;

/// A value and the place in the configuration that gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    pub value: T,
    pub file: String,
    pub line: usize,
}

/// What there is once: the interpreter's settings and the applications.
#[derive(Default)]
pub struct MainConf {
    pub python_home: Option<Placed<PathBuf>>,
    pub python_executable: Option<Placed<PathBuf>>,
    pub python_optimize: Option<Placed<u8>>,
    pub env: Vec<(CString, CString)>,
    pub preflight: Flag,
    pub preflight_timeout: Option<ngx_msec_t>,
    /// Each with the place of the first `wsgi_pass` that names it.
    pub apps: Vec<Placed<Arc<App>>>,
    /// Pools of threads, each with the place of its `wsgi_thread_pool` or of the first `wsgi_threads`.
    pub pools: Vec<Placed<Arc<Pool>>>,
    /// Applications that run in threads, with the pool that imports them.
    pub threaded: Vec<(Arc<App>, Arc<Pool>)>,
    pub max_requests: Option<MaxRequests>,
    /// Bytes; 0 is `off`.
    pub max_memory: Option<u64>,
    pub admission: Flag,
    /// How many bytes of bodies a worker holds in memory; 0 is `off`.
    pub body_memory: Option<u64>,
    /// What the workers know of each other, if there are applications.
    pub workers: Cell<Option<&'static Table>>,
    /// Whether a changed script is to end its worker, somewhere.
    pub reloads_processes: bool,
    /// Whether some location shows the status.
    pub has_status: bool,
    /// What the configuration has in the memory for it, which is made when everything has been read.
    pub stats: OnceCell<Plan>,
}

impl Drop for MainConf {
    /// The cycle goes, and with it the threads that worked for it.
    fn drop(&mut self) {
        for pool in &self.pools {
            pool.value.close();
        }
    }
}

/// After how many requests a worker is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxRequests {
    /// 0 is `off`.
    pub number: u64,
    /// Up to so many more, another number for each worker.
    pub jitter: u64,
}

/// How a changed script is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The module is imported again.
    Module,
    /// The worker is replaced.
    Process,
}

/// What a location says. Options are `None`, and flags unset, where a directive was not given; merging
/// fills them.
pub struct LocationConf {
    pub target: Option<Placed<Target>>,
    /// Set by merging where there is an application.
    pub service: Option<Arc<Service>>,
    pub protocol: Option<Protocol>,
    /// After merging also those of outer levels, before the own ones.
    pub middleware: Vec<Target>,
    pub no_outer_middleware: bool,
    pub mount: Mount,
    pub script_name: Option<ComplexValue>,
    pub vars: Vec<Var>,
    pub python_path: Vec<String>,
    pub enable_subinterpreters: Flag,
    pub use_main_interpreter: Flag,
    pub interpreter: Option<Placed<String>>,
    pub script_reloading: Flag,
    pub reload_mechanism: Option<Mechanism>,
    pub pass_authorization: Flag,
    pub pass_request_body: Flag,
    /// Whether nginx reads the body before the application is called.
    pub request_buffering: Option<Placed<bool>>,
    /// Milliseconds; `Some(None)` is `off`.
    pub block_warning: Option<Option<ngx_msec_t>>,
    pub threads: Option<Placed<Threads>>,
    /// Milliseconds, as all times; 0 is `off`.
    pub queue_timeout: Option<ngx_msec_t>,
    pub timeout: Option<ngx_msec_t>,
    pub suspend_timeout: Option<ngx_msec_t>,
    pub slow_log: Option<ngx_msec_t>,
    pub cancel_on_disconnect: Flag,
    pub intercept_errors: Flag,
    /// In lower case, as are those to be passed.
    pub hide_headers: Option<Vec<Vec<u8>>>,
    pub pass_headers: Option<Vec<Vec<u8>>>,
    pub ignore_headers: Option<Ignored>,
    pub allow_ranges: Flag,
    pub optimize_send_headers: Flag,
    pub output_buffering: Flag,
    pub write_buffering: Flag,
    /// Bytes.
    pub write_buffer_size: Option<usize>,
    pub temp_path: *mut ngx_path_t,
    /// Which of the directives that are kept in `MainConf` stand at this level, to refuse a second one.
    pub seen: Seen,
    /// `wsgi_status`, with its place.
    pub status: Option<Placed<()>>,
    /// What its requests have instead of it, if their bodies are to stay in memory.
    pub roomy: Roomy,
    /// What the worker counts for the application; looked up at the first request.
    stats: OnceCell<stats::App>,
}

/// `wsgi_threads`: who runs the applications of a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Threads {
    /// nginx's own thread.
    Inline,
    /// A pool of the application's own.
    Own { threads: usize, queue: usize },
    /// A `wsgi_thread_pool`.
    Named(String),
}

/// Directives given at one level.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub python_home: bool,
    pub python_executable: bool,
    pub python_optimize: bool,
    pub python_path: bool,
}

impl Default for LocationConf {
    fn default() -> Self {
        Self {
            target: None,
            service: None,
            protocol: None,
            middleware: Vec::new(),
            no_outer_middleware: false,
            mount: Mount::Root,
            script_name: None,
            vars: Vec::new(),
            python_path: Vec::new(),
            enable_subinterpreters: Flag::default(),
            use_main_interpreter: Flag::default(),
            interpreter: None,
            script_reloading: Flag::default(),
            reload_mechanism: None,
            pass_authorization: Flag::default(),
            pass_request_body: Flag::default(),
            request_buffering: None,
            block_warning: None,
            threads: None,
            queue_timeout: None,
            timeout: None,
            suspend_timeout: None,
            slow_log: None,
            cancel_on_disconnect: Flag::default(),
            intercept_errors: Flag::default(),
            hide_headers: None,
            pass_headers: None,
            ignore_headers: None,
            allow_ranges: Flag::default(),
            optimize_send_headers: Flag::default(),
            output_buffering: Flag::default(),
            write_buffering: Flag::default(),
            write_buffer_size: None,
            temp_path: core::ptr::null_mut(),
            seen: Seen::default(),
            status: None,
            roomy: Roomy::default(),
            stats: OnceCell::new(),
        }
    }
}

impl MainConf {
    /// The configuration of `cycle`; `None` if it has no `http` block.
    pub fn of_cycle(cycle: &ngx_cycle_t) -> Option<&Self> {
        // SAFETY: the HTTP module's slot is null or its context, in which every HTTP module has a main
        // configuration; ours is a MainConf.
        unsafe {
            let ctx: *const ngx_http_conf_ctx_t =
                (*cycle.conf_ctx.add(ngx_http_module.index)).cast();
            let conf = *ctx.as_ref()?.main_conf.add(ngx_http_wsgi_module.ctx_index);
            conf.cast::<Self>().as_ref()
        }
    }
}

impl MainConf {
    /// `wsgi_body_memory` of this worker.
    pub fn body_memory() -> u64 {
        let conf = Self::of_cycle(Request::cycle());
        conf.map_or(0, |conf| conf.body_memory.unwrap_or(16 << 20))
    }

    /// What counts for an application. To be called once for each.
    pub fn stats_of(&self, app: &Arc<App>) -> stats::App {
        let index = self.apps.iter().position(|own| Arc::ptr_eq(&own.value, app));
        let row = index.and_then(|index| self.stats.get()?.rows.get(index).copied());
        row.map_or_else(stats::App::default, stats::App::of_row)
    }
}

impl LocationConf {
    /// The configuration of the location that `r` is in.
    pub fn of_request<'r>(r: Request<'r>) -> &'r Self {
        // SAFETY: ours is an HTTP module, and its location configurations are LocationConfs.
        unsafe { &*r.loc_conf(&raw const ngx_http_wsgi_module).cast() }
    }

    /// What is said outside of all servers; `None` if `cycle` has no `http` block.
    pub fn of_http(cycle: &ngx_cycle_t) -> Option<&Self> {
        // SAFETY: as in `MainConf::of_cycle`, for the configurations of locations.
        unsafe {
            let ctx: *const ngx_http_conf_ctx_t =
                (*cycle.conf_ctx.add(ngx_http_module.index)).cast();
            let conf = *ctx.as_ref()?.loc_conf.add(ngx_http_wsgi_module.ctx_index);
            conf.cast::<Self>().as_ref()
        }
    }

    /// For how long Python may hold the event loop before that is logged; `None`: it is not.
    pub fn block_limit(&self) -> Option<Duration> {
        let limit = self.block_warning.unwrap_or(Some(100))?;
        Some(Duration::from_millis(limit as u64))
    }

    /// What a change of the application's file leads to; `None` if nobody looks.
    fn reloading(&self) -> Option<Mechanism> {
        let mechanism = self.reload_mechanism.unwrap_or(Mechanism::Module);
        self.script_reloading.is_on().then_some(mechanism)
    }

    /// What counts for the application of this location; nothing without `wsgi_status`.
    pub fn stats(&self) -> stats::App {
        *self.stats.get_or_init(|| {
            let conf = MainConf::of_cycle(Request::cycle());
            let app = self.service.as_ref().map(|service| &service.app);
            conf.zip(app).map(|(conf, app)| conf.stats_of(app)).unwrap_or_default()
        })
    }

    /// Whether the application is called while the body still arrives.
    pub fn streams_body(&self) -> bool {
        let is_buffered = self.request_buffering.as_ref().is_none_or(|placed| placed.value);
        !is_buffered && !self.pass_request_body.is_off()
    }

    /// What this location serves.
    ///
    /// # Errors
    /// It has no application; the content handler refuses its requests.
    pub fn service(&self) -> Result<&Arc<Service>, Error> {
        self.service.as_ref().ok_or_else(|| Error::Nginx)
    }
}
