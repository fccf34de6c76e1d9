//! Inheritance: what a location takes from the level around it.

use core::ffi::{c_char, c_void};
use core::ptr;

use nginx_sys::{
    NGX_HTTP_UWSGI_TEMP_PATH, ngx_conf_merge_path_value, ngx_conf_t, ngx_http_core_loc_conf_t,
    ngx_path_init_t, ngx_str_t,
};

use crate::handler;
use crate::nginx::{entry, pool};
use crate::wsgi::{App, Mount, Target};

use super::ext::FAILED;
use super::set::{core_loc_conf, main_conf};
use super::{LocationConf, MainConf};

/// nginx's hook: completes `conf` with what `prev`, the level around it, says.
pub unsafe extern "C" fn merge_loc_conf(
    cf: *mut ngx_conf_t,
    prev: *mut c_void,
    conf: *mut c_void,
) -> *mut c_char {
    entry::guard(FAILED, || {
        // SAFETY: nginx passes our structures of two different levels, the outer one merged already.
        let (cf, prev, conf) =
            unsafe { (&mut *cf, &*prev.cast::<LocationConf>(), &mut *conf.cast::<LocationConf>()) };
        // SAFETY: the context is that of the level being merged.
        let core = unsafe { &mut *core_loc_conf(cf) };
        merge(cf, core, prev, conf)
    })
}

fn merge(
    cf: &mut ngx_conf_t,
    core: &mut ngx_http_core_loc_conf_t,
    prev: &LocationConf,
    conf: &mut LocationConf,
) -> *mut c_char {
    conf.script_name = conf.script_name.or(prev.script_name);
    conf.pass_authorization = conf.pass_authorization.or(prev.pass_authorization);
    conf.block_warning = conf.block_warning.or(prev.block_warning);
    conf.mount = mount(core, prev);
    for directory in &prev.python_path {
        if !conf.python_path.contains(directory) {
            conf.python_path.push(directory.clone());
        }
    }
    // `if` and `limit_except` are no locations of their own: they keep the application around them.
    if core.noname() != 0 && conf.target.is_none() {
        conf.target.clone_from(&prev.target);
        if core.lmt_excpt() != 0 && core.handler.is_none() && conf.target.is_some() {
            core.handler = Some(handler::content_handler);
        }
    }
    match &conf.target {
        None => {
            if conf.temp_path.is_null() {
                conf.temp_path = prev.temp_path;
            }
            ptr::null_mut()
        }
        Some(target) => {
            let app = find_or_add(main_conf(cf), target);
            app.add_directories(&conf.python_path);
            conf.app = app;
            merge_temp_path(cf, prev, conf)
        }
    }
}

/// Only a location that may spool gets the default path, so that nginx makes no folder in vain. The
/// default stands beside that of `uwsgi_temp_path`, wherever nginx was built to keep it.
fn merge_temp_path(
    cf: &mut ngx_conf_t,
    prev: &LocationConf,
    conf: &mut LocationConf,
) -> *mut c_char {
    let name = NGX_HTTP_UWSGI_TEMP_PATH.to_string_lossy().replace("uwsgi", "wsgi");
    let mut init = ngx_path_init_t {
        name: ngx_str_t { len: name.len(), data: ptr::null_mut() },
        level: [1, 2, 0],
    };
    // SAFETY: the name is copied into the pool, as long-lived as the path that will refer to it.
    unsafe {
        // With the NUL that nginx leaves out of the length but relies on.
        let Some(name) = pool::copy(cf.pool, format!("{name}\0").as_bytes()) else { return FAILED };
        init.name.data = name.as_mut_ptr();
        ngx_conf_merge_path_value(cf, &mut conf.temp_path, prev.temp_path, &mut init)
    }
}

fn mount(core: &ngx_http_core_loc_conf_t, prev: &LocationConf) -> Mount {
    #[cfg(ngx_feature = "pcre")]
    let is_regex = !core.regex.is_null();
    #[cfg(not(ngx_feature = "pcre"))]
    let is_regex = false;
    if core.noname() != 0 {
        prev.mount.clone()
    } else if is_regex || core.named() != 0 || core.exact_match() != 0 {
        Mount::Root
    } else {
        Mount::prefix(core.name.as_bytes())
    }
}

/// The application with this target, whichever location named it first.
fn find_or_add<'a>(main: &'a mut MainConf, target: &Target) -> &'a App {
    let index = main.apps.iter().position(|app| app.target() == target).unwrap_or_else(|| {
        main.apps.push(Box::new(App::new(target.clone())));
        main.apps.len() - 1
    });
    &main.apps[index]
}
