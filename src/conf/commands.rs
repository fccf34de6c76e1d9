//! The table of directives.

use core::ffi::CStr;
use core::mem::offset_of;
use core::ptr;

use nginx_sys::{
    NGX_CONF_1MORE, NGX_CONF_FLAG, NGX_CONF_TAKE1, NGX_CONF_TAKE2, NGX_CONF_TAKE12,
    NGX_CONF_TAKE1234, NGX_HTTP_LIF_CONF, NGX_HTTP_LMT_CONF, NGX_HTTP_LOC_CONF,
    NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET, NGX_HTTP_SRV_CONF,
    ngx_command_t, ngx_conf_set_path_slot, ngx_str_t, ngx_uint_t,
};

use super::LocationConf;
use super::set::{self, Setter};

const EVERYWHERE: u32 = NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF;
const PASS: u32 = NGX_HTTP_LOC_CONF | NGX_HTTP_LIF_CONF | NGX_HTTP_LMT_CONF;

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

/// nginx's view of the directives; docs/directives.md is the users'.
pub static mut COMMANDS: [ngx_command_t; 11] = [
    command(c"wsgi_pass", PASS | NGX_CONF_TAKE12, set::pass),
    command(c"wsgi_python_home", EVERYWHERE | NGX_CONF_TAKE1, set::python_home),
    command(c"wsgi_python_executable", EVERYWHERE | NGX_CONF_TAKE1, set::python_executable),
    command(c"wsgi_python_optimize", EVERYWHERE | NGX_CONF_TAKE1, set::python_optimize),
    command(c"wsgi_python_path", EVERYWHERE | NGX_CONF_1MORE, set::python_path),
    ngx_command_t {
        conf: NGX_HTTP_MAIN_CONF_OFFSET,
        ..command(c"wsgi_env", NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE2, set::env)
    },
    command(c"wsgi_script_name", EVERYWHERE | NGX_CONF_TAKE1, set::script_name),
    command(c"wsgi_pass_authorization", EVERYWHERE | NGX_CONF_FLAG, set::pass_authorization),
    command(c"wsgi_block_warning", EVERYWHERE | NGX_CONF_TAKE1, set::block_warning),
    ngx_command_t {
        offset: offset_of!(LocationConf, temp_path),
        ..command(c"wsgi_temp_path", EVERYWHERE | NGX_CONF_TAKE1234, ngx_conf_set_path_slot)
    },
    ngx_command_t::empty(),
];
