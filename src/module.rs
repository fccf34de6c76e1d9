//! The module as nginx sees it: its statics and its hooks.

use core::ffi::{c_char, c_void};
use core::ptr;

use nginx_sys::{
    NGX_CORE_MODULE, NGX_HTTP_MODULE, ngx_conf_t, ngx_core_module_t, ngx_cycle_t,
    ngx_http_module_t, ngx_int_t, ngx_module_t, ngx_str_t, ngx_uint_t,
};

use crate::conf::{self, LocationConf, MainConf};
use crate::exec;
use crate::nginx::capture::{
    self, ngx_http_wsgi_capture_filter_module, ngx_http_wsgi_early_capture_filter_module,
};
use crate::nginx::{self, Level, Log, entry, pool, process};
use crate::py;
use crate::{stats, status, variables, workers};

static CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: Some(preconfiguration),
    postconfiguration: Some(capture::init_outermost),
    create_main_conf: Some(create_conf::<MainConf>),
    init_main_conf: None,
    create_srv_conf: None,
    merge_srv_conf: None,
    create_loc_conf: Some(create_conf::<LocationConf>),
    merge_loc_conf: Some(conf::merge_loc_conf),
};

/// The module. nginx writes its index and its place among the HTTP modules into it.
#[allow(non_upper_case_globals)]
pub static mut ngx_http_wsgi_module: ngx_module_t = ngx_module_t {
    ctx: ptr::from_ref(&CONTEXT).cast_mut().cast(),
    commands: (&raw mut conf::COMMANDS).cast(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    init_module: Some(init_module),
    init_process: Some(init_process),
    exit_process: Some(exit_process),
    ..ngx_module_t::default()
};

static mut PREFLIGHT_CONTEXT: ngx_core_module_t =
    ngx_core_module_t { name: ngx_str_t::empty(), create_conf: None, init_conf: Some(preflight) };

/// A module of its own, because only those of the core are asked when a configuration has been read as a
/// whole, `user` included, and can still be refused.
#[allow(non_upper_case_globals)]
pub static mut ngx_wsgi_preflight_module: ngx_module_t = ngx_module_t {
    ctx: (&raw mut PREFLIGHT_CONTEXT).cast(),
    type_: NGX_CORE_MODULE as ngx_uint_t,
    ..ngx_module_t::default()
};

/// Before a configuration is read.
unsafe extern "C" fn preconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    entry::guard(nginx::ERROR, || {
        // SAFETY: nginx passes the configuration that is about to be read.
        let cf = unsafe { &mut *cf };
        capture::settle(cf);
        variables::add(cf)
    })
}

/// In the process that has read a configuration, before it is accepted.
unsafe extern "C" fn preflight(cycle: *mut ngx_cycle_t, _conf: *mut c_void) -> *mut c_char {
    entry::guard(conf::FAILED, || {
        // SAFETY: nginx passes the new cycle.
        let cycle = unsafe { &*cycle };
        let reserved = status::reserve(cycle).and_then(|()| workers::ask_for_table(cycle));
        match reserved.and_then(|()| exec::preflight::run(cycle)) {
            Ok(()) => ptr::null_mut(),
            Err(()) => conf::FAILED,
        }
    })
}

/// What `load_module` looks for: the modules, their names, and the order of the filters, all ended by null. The
/// place of the main module and of that of the core does not matter.
#[allow(non_upper_case_globals)]
#[unsafe(no_mangle)]
pub static mut ngx_modules: [*const ngx_module_t; 5] = [
    &raw const ngx_http_wsgi_capture_filter_module,
    &raw const ngx_http_wsgi_early_capture_filter_module,
    &raw const ngx_http_wsgi_module,
    &raw const ngx_wsgi_preflight_module,
    ptr::null(),
];
#[allow(non_upper_case_globals)]
#[unsafe(no_mangle)]
pub static mut ngx_module_names: [*const c_char; 5] = [
    capture::ORDERED_NAME.as_ptr(),
    capture::EARLY_NAME.as_ptr(),
    c"ngx_http_wsgi_module".as_ptr(),
    c"ngx_wsgi_preflight_module".as_ptr(),
    ptr::null(),
];
#[allow(non_upper_case_globals)]
#[unsafe(no_mangle)]
pub static mut ngx_module_order: [*const c_char; capture::ORDER.len() + 1] = {
    let mut order = [ptr::null(); capture::ORDER.len() + 1];
    let mut index = 0;
    while index < capture::ORDER.len() {
        order[index] = capture::ORDER[index].as_ptr();
        index += 1;
    }
    order
};

/// A new configuration structure in the pool of the cycle, dropped with it.
unsafe extern "C" fn create_conf<T: Default>(cf: *mut ngx_conf_t) -> *mut c_void {
    entry::guard(ptr::null_mut(), || {
        // SAFETY: nginx passes the configuration being read; its pool lives as long as the cycle.
        let conf = unsafe { pool::place((*cf).pool, T::default()) };
        conf.map_or(ptr::null_mut(), |conf| ptr::from_mut(conf).cast())
    })
}

/// In the master (or the single process) when a configuration has been accepted: says who we are, once.
unsafe extern "C" fn init_module(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    entry::guard(nginx::ERROR, || {
        // SAFETY: nginx passes the new cycle.
        let (cycle, log) = unsafe { (&*cycle, Log::from_ptr((*cycle).log)) };
        if process::is_starting(cycle) {
            let (own, python) = (env!("CARGO_PKG_VERSION"), py::python_version());
            let nginx = process::NGINX_VERSION.to_string_lossy();
            let text = format!("wsgi: nginx mod_wsgi {own}, {nginx}, Python {python}");
            log.write(Level::Notice, text);
            if let Some(library) = py::unoptimised_library() {
                let text = format!(
                    "wsgi: {} was built without --enable-optimizations and is slower than it could be: see \
                     docs/python.md",
                    library.display()
                );
                log.write(Level::Notice, text);
            }
        }
        status::reload_single_process(cycle);
        nginx::OK
    })
}

/// In a process that is to serve: starts Python and imports the applications. Never fails, because nginx
/// does not replace a worker that failed here.
unsafe extern "C" fn init_process(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    entry::guard(nginx::OK, || {
        // SAFETY: nginx passes the cycle of this process.
        let cycle = unsafe { &*cycle };
        status::start_worker(cycle);
        exec::start_worker(cycle);
        nginx::OK
    })
}

/// In a process that ends: closes what is open and runs the `atexit` functions.
unsafe extern "C" fn exit_process(_cycle: *mut ngx_cycle_t) {
    entry::quietly(exec::stop_worker);
    entry::quietly(stats::leave);
}
