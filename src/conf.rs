//! The configuration: what the directives of an nginx.conf come to.
//!
//! One `MainConf` per configuration, one `LocationConf` per location (and `if`, and `limit_except`), in the
//! pool of the cycle; a reload makes new ones.

mod commands;
mod ext;
mod merge;
mod set;
mod value;

use std::ffi::CString;
use std::path::PathBuf;

use core::cell::RefCell;

use nginx_sys::{ngx_cycle_t, ngx_http_conf_ctx_t, ngx_http_module, ngx_msec_t, ngx_path_t};

use crate::nginx::Request;
use crate::py::Owned;
use crate::wsgi::{App, Environ, Mount, Target};

pub use commands::COMMANDS;
pub use merge::merge_loc_conf;
pub use value::ComplexValue;

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
    /// Boxed, because locations point to them.
    #[allow(clippy::vec_box)]
    pub apps: Vec<Box<App>>,
}

/// What a location says. Options are `None` where a directive was not given; merging fills them.
pub struct LocationConf {
    pub target: Option<Target>,
    /// Set by merging where there is an application.
    pub app: *const App,
    pub mount: Mount,
    pub script_name: Option<ComplexValue>,
    pub pass_authorization: Option<bool>,
    /// Milliseconds; `Some(None)` is `off`.
    pub block_warning: Option<Option<ngx_msec_t>>,
    pub python_path: Vec<String>,
    pub temp_path: *mut ngx_path_t,
    /// Which of the directives that are kept in `MainConf` stand at this level, to refuse a second one.
    pub seen: Seen,
    /// The worker's template of environ, made at the first request.
    pub environ: RefCell<Option<Owned<Environ>>>,
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
            app: core::ptr::null(),
            mount: Mount::Root,
            script_name: None,
            pass_authorization: None,
            block_warning: None,
            python_path: Vec::new(),
            temp_path: core::ptr::null_mut(),
            seen: Seen::default(),
            environ: RefCell::new(None),
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

impl LocationConf {
    /// The configuration of the location that `r` is in.
    pub fn of_request<'r>(r: Request<'r>) -> &'r Self {
        // SAFETY: ours is an HTTP module, and its location configurations are LocationConfs.
        unsafe { &*r.loc_conf(&raw const ngx_http_wsgi_module).cast() }
    }

    /// The application of this location.
    pub fn app(&self) -> Option<&App> {
        // SAFETY: null, or an App that the MainConf of the same cycle owns.
        unsafe { self.app.as_ref() }
    }
}
