//! The table of directives.

use core::ffi::CStr;
use core::mem::offset_of;
use core::ptr;

use nginx_sys::{
    NGX_CONF_1MORE, NGX_CONF_FLAG, NGX_CONF_NOARGS, NGX_CONF_TAKE1, NGX_CONF_TAKE2,
    NGX_CONF_TAKE12, NGX_CONF_TAKE23, NGX_CONF_TAKE1234, NGX_HTTP_LIF_CONF, NGX_HTTP_LMT_CONF,
    NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET,
    NGX_HTTP_SRV_CONF, ngx_command_t, ngx_conf_set_flag_slot, ngx_conf_set_path_slot, ngx_str_t,
    ngx_uint_t,
};

use super::set::{self, Setter};
use super::{LocationConf, MainConf};

const EVERYWHERE: u32 = NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF;
const PASS: u32 = NGX_HTTP_LOC_CONF | NGX_HTTP_LIF_CONF | NGX_HTTP_LMT_CONF;

/// A directive that is kept in the LocationConf.
const fn command(name: &'static CStr, kind: u32, set: Setter) -> ngx_command_t {
    ngx_command_t {
        // nginx compares it as a C string.
        name: ngx_str_t { len: name.to_bytes().len(), data: name.as_ptr().cast_mut().cast() },
        type_: kind as ngx_uint_t,
        set: Some(set),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    }
}

/// A directive that is kept in the MainConf, for `http` only.
const fn main_command(name: &'static CStr, kind: u32, set: Setter) -> ngx_command_t {
    ngx_command_t {
        conf: NGX_HTTP_MAIN_CONF_OFFSET,
        ..command(name, NGX_HTTP_MAIN_CONF | kind, set)
    }
}

/// A `Flag` of the LocationConf, at `offset`.
const fn flag(name: &'static CStr, offset: usize) -> ngx_command_t {
    ngx_command_t { offset, ..command(name, EVERYWHERE | NGX_CONF_FLAG, ngx_conf_set_flag_slot) }
}

/// nginx's view of the directives; docs/directives.md is the users'.
pub static mut COMMANDS: [ngx_command_t; 44] = [
    // Which application.
    command(c"wsgi_pass", PASS | NGX_CONF_TAKE12, set::pass),
    command(c"wsgi_protocol", EVERYWHERE | NGX_CONF_TAKE1, set::protocol),
    command(c"wsgi_middleware", EVERYWHERE | NGX_CONF_TAKE12, set::middleware),
    command(c"wsgi_script_name", EVERYWHERE | NGX_CONF_TAKE1, set::script_name),
    command(c"wsgi_var", EVERYWHERE | NGX_CONF_TAKE23, set::var),
    // Which Python.
    command(c"wsgi_python_home", EVERYWHERE | NGX_CONF_TAKE1, set::python_home),
    command(c"wsgi_python_executable", EVERYWHERE | NGX_CONF_TAKE1, set::python_executable),
    command(c"wsgi_python_optimize", EVERYWHERE | NGX_CONF_TAKE1, set::python_optimize),
    command(c"wsgi_python_path", EVERYWHERE | NGX_CONF_1MORE, set::python_path),
    main_command(c"wsgi_env", NGX_CONF_TAKE2, set::env),
    flag(c"wsgi_enable_subinterpreters", offset_of!(LocationConf, enable_subinterpreters)),
    command(c"wsgi_use_main_interpreter", EVERYWHERE | NGX_CONF_FLAG, set::use_main_interpreter),
    command(c"wsgi_interpreter", EVERYWHERE | NGX_CONF_TAKE1, set::interpreter),
    // When its code is read.
    flag(c"wsgi_script_reloading", offset_of!(LocationConf, script_reloading)),
    command(c"wsgi_reload_mechanism", EVERYWHERE | NGX_CONF_TAKE1, set::reload_mechanism),
    ngx_command_t {
        offset: offset_of!(MainConf, preflight),
        ..main_command(c"wsgi_preflight", NGX_CONF_FLAG, ngx_conf_set_flag_slot)
    },
    main_command(c"wsgi_preflight_timeout", NGX_CONF_TAKE1, set::preflight_timeout),
    // The workers.
    main_command(c"wsgi_max_requests", NGX_CONF_TAKE12, set::max_requests),
    main_command(c"wsgi_max_memory", NGX_CONF_TAKE1, set::max_memory),
    ngx_command_t {
        offset: offset_of!(MainConf, admission),
        ..main_command(c"wsgi_admission", NGX_CONF_FLAG, ngx_conf_set_flag_slot)
    },
    // The request.
    flag(c"wsgi_pass_authorization", offset_of!(LocationConf, pass_authorization)),
    flag(c"wsgi_pass_request_body", offset_of!(LocationConf, pass_request_body)),
    command(c"wsgi_request_buffering", EVERYWHERE | NGX_CONF_FLAG, set::request_buffering),
    main_command(c"wsgi_body_memory", NGX_CONF_TAKE1, set::body_memory),
    command(c"wsgi_block_warning", EVERYWHERE | NGX_CONF_TAKE1, set::block_warning),
    command(c"wsgi_suspend_timeout", EVERYWHERE | NGX_CONF_TAKE1, set::suspend_timeout),
    // Threads.
    command(c"wsgi_threads", EVERYWHERE | NGX_CONF_TAKE12, set::threads),
    main_command(c"wsgi_thread_pool", NGX_CONF_TAKE23, set::thread_pool),
    command(c"wsgi_queue_timeout", EVERYWHERE | NGX_CONF_TAKE1, set::queue_timeout),
    command(c"wsgi_timeout", EVERYWHERE | NGX_CONF_TAKE1, set::timeout),
    command(c"wsgi_slow_log", EVERYWHERE | NGX_CONF_TAKE1, set::slow_log),
    flag(c"wsgi_cancel_on_disconnect", offset_of!(LocationConf, cancel_on_disconnect)),
    // The response.
    flag(c"wsgi_intercept_errors", offset_of!(LocationConf, intercept_errors)),
    command(c"wsgi_hide_header", EVERYWHERE | NGX_CONF_TAKE1, set::hide_header),
    command(c"wsgi_pass_header", EVERYWHERE | NGX_CONF_TAKE1, set::pass_header),
    command(c"wsgi_ignore_headers", EVERYWHERE | NGX_CONF_1MORE, set::ignore_headers),
    flag(c"wsgi_allow_ranges", offset_of!(LocationConf, allow_ranges)),
    flag(c"wsgi_optimize_send_headers", offset_of!(LocationConf, optimize_send_headers)),
    flag(c"wsgi_output_buffering", offset_of!(LocationConf, output_buffering)),
    flag(c"wsgi_write_buffering", offset_of!(LocationConf, write_buffering)),
    command(c"wsgi_write_buffer_size", EVERYWHERE | NGX_CONF_TAKE1, set::write_buffer_size),
    ngx_command_t {
        offset: offset_of!(LocationConf, temp_path),
        ..command(c"wsgi_temp_path", EVERYWHERE | NGX_CONF_TAKE1234, ngx_conf_set_path_slot)
    },
    // What the workers do.
    command(c"wsgi_status", NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS, set::status),
    ngx_command_t::empty(),
];
