//! The setters: what a directive's words mean. Raw pointers become references in the first lines.
//!
//! Directives that take `on` or `off` have nginx's own setter (commands.rs).

use core::ffi::{CStr, c_char, c_void};
use core::ptr;
use std::path::PathBuf;

use nginx_sys::{
    ngx_command_t, ngx_conf_full_name, ngx_conf_t, ngx_msec_t, ngx_parse_time, ngx_str_t,
};

use crate::ngx_http_wsgi_module;

use super::ext::ConfExt;
use super::{MainConf, Placed};

/// Defines a setter: a guarded C function around a body in safe Rust.
macro_rules! setter {
    ($(#[$doc:meta])* $name:ident($cf:ident, $conf:ident: $type:ty) $body:block) => {
        $(#[$doc])*
        pub unsafe extern "C" fn $name(
            cf: *mut nginx_sys::ngx_conf_t,
            _command: *mut nginx_sys::ngx_command_t,
            conf: *mut core::ffi::c_void,
        ) -> *mut core::ffi::c_char {
            crate::nginx::entry::guard($crate::conf::ext::FAILED, || {
                // SAFETY: nginx passes the configuration being read and, as the table says, our
                // configuration structure of this level; nothing else refers to them meanwhile.
                let ($cf, $conf) = unsafe { (&mut *cf, &mut *conf.cast::<$type>()) };
                $body
            })
        }
    };
}

mod app;
mod python;
mod response;
mod threads;
mod workers;

pub(super) use app::TWO_HANDLERS;
pub use app::{
    block_warning, interpreter, middleware, pass, preflight_timeout, protocol, reload_mechanism,
    script_name, status, use_main_interpreter, var,
};
pub use python::{env, python_executable, python_home, python_optimize, python_path};
pub use response::{hide_header, ignore_headers, pass_header, write_buffer_size};
pub use threads::{
    queue_timeout, request_buffering, slow_log, suspend_timeout, thread_pool, threads, timeout,
};
pub use workers::{body_memory, max_memory, max_requests};

/// A setter as nginx calls it: null is success, a text is completed by nginx with file and line, and
/// `FAILED` says that the error has been logged.
pub type Setter =
    unsafe extern "C" fn(*mut ngx_conf_t, *mut ngx_command_t, *mut c_void) -> *mut c_char;

const DONE: *mut c_char = ptr::null_mut();

fn is_duplicate() -> *mut c_char {
    say(c"is duplicate")
}

/// nginx prints `"name" directive TEXT in FILE:LINE`.
fn say(text: &'static CStr) -> *mut c_char {
    text.as_ptr().cast_mut()
}

/// The core module's configuration of the location being read or merged.
pub(super) fn core_loc_conf(cf: &ngx_conf_t) -> *mut nginx_sys::ngx_http_core_loc_conf_t {
    // SAFETY: while HTTP configuration is read or merged, ctx is its context.
    unsafe {
        let ctx = cf.ctx.cast::<nginx_sys::ngx_http_conf_ctx_t>();
        (*(*ctx).loc_conf.add(nginx_sys::ngx_http_core_module.ctx_index)).cast()
    }
}

/// Our main configuration.
pub(super) fn main_conf<'a>(cf: &ngx_conf_t) -> &'a mut MainConf {
    // SAFETY: as above; nothing else refers to it while a directive is read or a location merged.
    unsafe {
        let ctx = cf.ctx.cast::<nginx_sys::ngx_http_conf_ctx_t>();
        &mut *(*(*ctx).main_conf.add(ngx_http_wsgi_module.ctx_index)).cast::<MainConf>()
    }
}

/// Sets what there can be one of. The same value again is no conflict.
fn once<T: PartialEq>(
    cf: &mut ngx_conf_t,
    slot: &mut Option<Placed<T>>,
    value: T,
    show: impl Fn(&T) -> String,
) -> *mut c_char {
    match slot {
        Some(first) if first.value != value => {
            let name = cf.args()[0].to_string();
            let (new, old) = (show(&value), show(&first.value));
            let (file, line) = (&first.file, first.line);
            let text = format!(
                "\"{name}\" {new} conflicts with {old} in {file}:{line}; there is one Python in a worker"
            );
            cf.error(&text)
        }
        Some(_) => DONE,
        None => {
            *slot = Some(cf.placed(value));
            DONE
        }
    }
}

/// An argument of one of these words; logs what is wrong with it.
fn choice<T: Copy>(cf: &mut ngx_conf_t, choices: &[(&str, T)]) -> Option<T> {
    let value = cf.args()[1].to_string();
    let found = choices.iter().find(|(word, _)| value.eq_ignore_ascii_case(word));
    if found.is_none() {
        let name = cf.args()[0].to_string();
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let words = words.join(" or ");
        let text = format!("invalid value \"{value}\" in \"{name}\" directive, it must be {words}");
        cf.error(&text);
    }
    found.map(|(_, choice)| *choice)
}

/// An argument as milliseconds above 0.
fn milliseconds(cf: &ngx_conf_t, index: usize) -> Option<ngx_msec_t> {
    time(cf, index).filter(|milliseconds| *milliseconds > 0)
}

/// An argument as milliseconds.
fn time(cf: &ngx_conf_t, index: usize) -> Option<ngx_msec_t> {
    let mut value = cf.args()[index];
    // SAFETY: parses the bytes of the string.
    let milliseconds = unsafe { ngx_parse_time(&mut value, 0) };
    ngx_msec_t::try_from(milliseconds).ok()
}

fn text(cf: &ngx_conf_t, index: usize) -> Option<String> {
    cf.args().get(index)?.to_str().ok().map(str::to_owned)
}

/// An argument as an absolute path; logs what is wrong with it.
fn path(cf: &mut ngx_conf_t, index: usize) -> Option<PathBuf> {
    match text(cf, index) {
        Some(path) if !path.is_empty() => Some(PathBuf::from(full_name(cf, &path))),
        _ => {
            let name = cf.args()[0].to_string();
            cf.error(&format!("\"{name}\" takes a path"));
            None
        }
    }
}

/// `path` made absolute with nginx's prefix.
fn full_name(cf: &ngx_conf_t, path: &str) -> String {
    let mut name = ngx_str_t { len: path.len(), data: path.as_ptr().cast_mut() };
    // SAFETY: nginx reads the string, and points it to a new one in the cycle's pool if it is relative.
    unsafe {
        ngx_conf_full_name(cf.cycle, &mut name, 0);
    }
    name.to_string()
}
