//! Inheritance: what a location takes from the level around it.

use core::ffi::{c_char, c_void};
use core::ptr;
use std::sync::{Arc, OnceLock};

use nginx_sys::{
    NGX_HTTP_UWSGI_TEMP_PATH, ngx_conf_merge_path_value, ngx_conf_t, ngx_http_core_loc_conf_t,
    ngx_http_request_t, ngx_int_t, ngx_path_init_t, ngx_str_t,
};

use crate::exec::Pool;
use crate::handler;
use crate::nginx::{ResponseRules, entry, pool};
use crate::status;
use crate::wsgi::{App, AppKey, Mount, Source, Target};

use super::ext::{ConfExt, FAILED};
use super::set::{TWO_HANDLERS, core_loc_conf, main_conf};
use super::{LocationConf, MainConf, Mechanism, Placed, Service, Threads};

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
    inherit(prev, conf);
    conf.mount = mount(core, prev);
    // `if` and `limit_except` are no locations of their own: they keep the application around them.
    if core.noname() != 0 && conf.target.is_none() {
        conf.target.clone_from(&prev.target);
        if core.lmt_excpt() != 0 && core.handler.is_none() && conf.target.is_some() {
            core.handler = Some(handler::content_handler);
        }
    }
    if let Err(failed) = merge_status(cf, core, prev, conf) {
        return failed;
    }
    match conf.target.clone() {
        None => {
            if conf.temp_path.is_null() {
                conf.temp_path = prev.temp_path;
            }
            ptr::null_mut()
        }
        Some(target) => complete(cf, core, prev, conf, target),
    }
}

/// `limit_except` in a location with `wsgi_status` keeps its handler. Another handler that came after it is
/// refused here, because its directive did not see ours.
fn merge_status(
    cf: &mut ngx_conf_t,
    core: &mut ngx_http_core_loc_conf_t,
    prev: &LocationConf,
    conf: &LocationConf,
) -> Result<(), *mut c_char> {
    if core.lmt_excpt() != 0 && prev.status.is_some() && core.handler.is_none() {
        core.handler = Some(status::content_handler);
    }
    let is_ours = core.handler.is_some_and(|handler| {
        core::ptr::fn_addr_eq(
            handler,
            status::content_handler as unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t,
        )
    });
    match &conf.status {
        Some(status) if !is_ours => Err(cf.error_at(status, TWO_HANDLERS)),
        _ => Ok(()),
    }
}

/// Takes what is not given at this level from the one around it.
fn inherit(prev: &LocationConf, conf: &mut LocationConf) {
    conf.protocol = conf.protocol.or(prev.protocol);
    if !conf.no_outer_middleware {
        conf.middleware.splice(0..0, prev.middleware.iter().cloned());
    }
    conf.script_name = conf.script_name.or(prev.script_name);
    for var in &prev.vars {
        if !conf.vars.iter().any(|own| own.name == var.name) {
            conf.vars.push(var.clone());
        }
    }
    for directory in &prev.python_path {
        if !conf.python_path.contains(directory) {
            conf.python_path.push(directory.clone());
        }
    }
    conf.enable_subinterpreters = conf.enable_subinterpreters.or(prev.enable_subinterpreters);
    // A name further in wins over the main interpreter further out.
    if conf.interpreter.is_none() {
        conf.use_main_interpreter = conf.use_main_interpreter.or(prev.use_main_interpreter);
    }
    conf.interpreter = conf.interpreter.take().or_else(|| prev.interpreter.clone());
    conf.script_reloading = conf.script_reloading.or(prev.script_reloading);
    conf.reload_mechanism = conf.reload_mechanism.or(prev.reload_mechanism);
    conf.pass_authorization = conf.pass_authorization.or(prev.pass_authorization);
    conf.pass_request_body = conf.pass_request_body.or(prev.pass_request_body);
    conf.request_buffering =
        conf.request_buffering.take().or_else(|| prev.request_buffering.clone());
    conf.block_warning = conf.block_warning.or(prev.block_warning);
    conf.threads = conf.threads.take().or_else(|| prev.threads.clone());
    conf.queue_timeout = conf.queue_timeout.or(prev.queue_timeout);
    conf.timeout = conf.timeout.or(prev.timeout);
    conf.slow_log = conf.slow_log.or(prev.slow_log);
    conf.suspend_timeout = conf.suspend_timeout.or(prev.suspend_timeout);
    conf.cancel_on_disconnect = conf.cancel_on_disconnect.or(prev.cancel_on_disconnect);
    conf.intercept_errors = conf.intercept_errors.or(prev.intercept_errors);
    conf.hide_headers = conf.hide_headers.take().or_else(|| prev.hide_headers.clone());
    conf.pass_headers = conf.pass_headers.take().or_else(|| prev.pass_headers.clone());
    conf.ignore_headers = conf.ignore_headers.or(prev.ignore_headers);
    conf.allow_ranges = conf.allow_ranges.or(prev.allow_ranges);
    conf.optimize_send_headers = conf.optimize_send_headers.or(prev.optimize_send_headers);
    conf.output_buffering = conf.output_buffering.or(prev.output_buffering);
    conf.write_buffering = conf.write_buffering.or(prev.write_buffering);
    conf.write_buffer_size = conf.write_buffer_size.or(prev.write_buffer_size);
}

/// Completes a location that has an application.
fn complete(
    cf: &mut ngx_conf_t,
    core: &ngx_http_core_loc_conf_t,
    prev: &LocationConf,
    conf: &mut LocationConf,
    target: Placed<Target>,
) -> *mut c_char {
    if let Some(interpreter) = &conf.interpreter
        && !conf.enable_subinterpreters.is_given()
    {
        let text = "\"wsgi_interpreter\" needs \"wsgi_enable_subinterpreters on\"";
        return cf.error_at(interpreter, text);
    }
    let main = main_conf(cf);
    let interpreter = interpreter(conf, &target.value);
    let middleware = conf.middleware.clone();
    let app = find_or_add(
        main,
        &target,
        AppKey { target: target.value.clone(), interpreter, middleware },
    );
    app.add_directories(&conf.python_path);
    if conf.script_reloading.is_on() {
        app.watch();
    }
    main.reloads_processes |= conf.reloading() == Some(Mechanism::Process);
    let pool = match pool(main, &app, conf.threads.as_ref()) {
        Ok(pool) => pool,
        Err((place, text)) => return cf.error_at(place, &text),
    };
    if let Some(buffering) = conf.request_buffering.as_ref().filter(|placed| !placed.value)
        && pool.is_none()
    {
        let text = "\"wsgi_request_buffering off\" needs \"wsgi_threads\"";
        return cf.error_at(buffering, text);
    }
    conf.service = Some(Arc::new(service(core, conf, app, pool)));
    merge_temp_path(cf, prev, conf)
}

/// What the location serves.
fn service(
    core: &ngx_http_core_loc_conf_t,
    conf: &LocationConf,
    app: Arc<App>,
    pool: Option<Arc<Pool>>,
) -> Service {
    // SAFETY: null or an array of error pages, which the core module has merged before us.
    let error_pages = unsafe { core.error_pages.as_ref().map(|pages| pages.as_slice()) };
    let error_pages = error_pages.filter(|_| conf.intercept_errors.is_on()).unwrap_or_default();
    let vars = conf.vars.iter();
    Service {
        app,
        pool,
        protocol: conf.protocol.unwrap_or_default(),
        reloading: conf.reloading(),
        pass_authorization: conf.pass_authorization.is_on(),
        optimize_send_headers: conf.optimize_send_headers.is_on(),
        output_buffering: conf.output_buffering.is_on(),
        write_buffering: conf.write_buffering.is_on(),
        rules: ResponseRules::new(
            conf.hide_headers.as_deref().unwrap_or_default(),
            conf.pass_headers.as_deref().unwrap_or_default(),
            conf.ignore_headers.unwrap_or_default(),
            error_pages,
        ),
        queue_timeout: conf.queue_timeout.filter(|timeout| *timeout > 0),
        timeout: conf.timeout.filter(|timeout| *timeout > 0),
        slow_log: conf.slow_log.filter(|timeout| *timeout > 0),
        cancel_on_disconnect: conf.cancel_on_disconnect.is_on(),
        vars: vars
            .map(|var| (var.name.clone(), var.value.constant().map(<[u8]>::to_vec)))
            .collect(),
        constants: OnceLock::new(),
        environ: OnceLock::new(),
    }
}

/// The pool of threads that runs `app`; `None` for nginx's own thread.
///
/// # Errors
/// What is wrong with `threads`, and its place.
fn pool<'a>(
    main: &mut MainConf,
    app: &Arc<App>,
    threads: Option<&'a Placed<Threads>>,
) -> Result<Option<Arc<Pool>>, (&'a Placed<Threads>, String)> {
    let Some(placed) = threads else { return Ok(None) };
    let pool = match &placed.value {
        Threads::Inline => return Ok(None),
        Threads::Named(name) => {
            let named = main.pools.iter().find(|pool| pool.value.name() == Some(name.as_str()));
            match named {
                Some(pool) => Arc::clone(&pool.value),
                None => return Err((placed, format!("unknown \"wsgi_thread_pool\" \"{name}\""))),
            }
        }
        Threads::Own { threads, queue } => {
            match main.pools.iter().find(|pool| pool.value.is_of(app)) {
                Some(Placed { value: pool, .. }) if pool.is_like(*threads, *queue) => {
                    Arc::clone(pool)
                }
                Some(other) => {
                    let (file, line) = (&other.file, other.line);
                    let text = format!(
                        "\"wsgi_threads {}\" conflicts with \"wsgi_threads {}\" of {file}:{line}; an \
                         application has one pool of threads, or a \"wsgi_thread_pool\"",
                        Pool::show(*threads, *queue),
                        other.value.shown(),
                    );
                    return Err((placed, text));
                }
                None => {
                    let pool = Arc::new(Pool::of_app(app, *threads, *queue));
                    let (value, file) = (Arc::clone(&pool), placed.file.clone());
                    main.pools.push(Placed { value, file, line: placed.line });
                    pool
                }
            }
        }
    };
    if !main.threaded.iter().any(|(known, _)| Arc::ptr_eq(known, app)) {
        main.threaded.push((Arc::clone(app), Arc::clone(&pool)));
    }
    Ok(Some(pool))
}

/// The sub-interpreter of a location's application; `None` for the main interpreter.
fn interpreter(conf: &LocationConf, target: &Target) -> Option<String> {
    if !conf.enable_subinterpreters.is_on() || conf.use_main_interpreter.is_on() {
        return None;
    }
    if let Some(name) = &conf.interpreter {
        return Some(name.value.clone());
    }
    Some(match &target.source {
        Source::Script(path) => path.clone(),
        // Modules of the same name in different folders are different applications.
        Source::Module(name) => {
            core::iter::once(name).chain(&conf.python_path).cloned().collect::<Vec<_>>().join(":")
        }
    })
}

/// Only a location that may spool gets the default path, so that nginx makes no folder in vain. The
/// default is what NGX_HTTP_WSGI_TEMP_PATH said when the module was built, or else stands beside that of
/// `uwsgi_temp_path`, wherever nginx was built to keep it.
fn merge_temp_path(
    cf: &mut ngx_conf_t,
    prev: &LocationConf,
    conf: &mut LocationConf,
) -> *mut c_char {
    let name = match option_env!("NGX_HTTP_WSGI_TEMP_PATH").filter(|path| !path.is_empty()) {
        Some(path) => path.to_owned(),
        None => NGX_HTTP_UWSGI_TEMP_PATH.to_string_lossy().replace("uwsgi", "wsgi"),
    };
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

/// The application with this key, whichever location named it first.
fn find_or_add(main: &mut MainConf, target: &Placed<Target>, key: AppKey) -> Arc<App> {
    if let Some(app) = main.apps.iter().find(|app| *app.value.key() == key) {
        return Arc::clone(&app.value);
    }
    let (app, file) = (Arc::new(App::new(key)), target.file.clone());
    main.apps.push(Placed { value: Arc::clone(&app), file, line: target.line });
    app
}
