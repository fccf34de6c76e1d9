//! The setters: what a directive's words mean. Raw pointers become references in the first lines.

use core::ffi::{CStr, c_char, c_void};
use core::ptr;
use std::path::{Path, PathBuf};

use nginx_sys::{ngx_command_t, ngx_conf_full_name, ngx_conf_t, ngx_parse_time, ngx_str_t};

use crate::nginx::{entry, process};
use crate::py;
use crate::wsgi::{Mount, Source, Target};
use crate::{handler, ngx_http_wsgi_module};

use super::ext::{ConfExt, FAILED};
use super::value::ComplexValue;
use super::{LocationConf, MainConf, Placed};

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

/// Defines a setter: a guarded C function around a body in safe Rust.
macro_rules! setter {
    ($(#[$doc:meta])* $name:ident($cf:ident, $conf:ident: $type:ty) $body:block) => {
        $(#[$doc])*
        pub unsafe extern "C" fn $name(
            cf: *mut ngx_conf_t,
            _command: *mut ngx_command_t,
            conf: *mut c_void,
        ) -> *mut c_char {
            entry::guard(FAILED, || {
                // SAFETY: nginx passes the configuration being read and, as the table says, our
                // configuration structure of this level; nothing else refers to them meanwhile.
                let ($cf, $conf) = unsafe { (&mut *cf, &mut *conf.cast::<$type>()) };
                $body
            })
        }
    };
}

setter! {
    /// `wsgi_pass TARGET [callable]`
    pass(cf, conf: LocationConf) {
        if conf.target.is_some() {
            return is_duplicate();
        }
        let (target, callable) = match (text(cf, 1), text(cf, 2)) {
            (Some(target), callable) => (target, callable),
            (None, _) => return cf.error("\"wsgi_pass\" is not UTF-8"),
        };
        let mut target = match Target::parse(&target, callable.as_deref()) {
            Ok(target) => target,
            Err(error) => return cf.error(&error.to_string()),
        };
        if let Source::Script(path) = &mut target.source {
            *path = full_name(cf, path);
            if let Err(error) = check_script(path) {
                return cf.error(&error);
            }
        }
        conf.target = Some(target);
        become_handler(cf);
        DONE
    }
}

setter! {
    /// `wsgi_python_home dir`
    python_home(cf, conf: LocationConf) {
        if core::mem::replace(&mut conf.seen.python_home, true) {
            return is_duplicate();
        }
        let Some(home) = path(cf, 1) else { return FAILED };
        if !home.is_dir() {
            return cf.error(&format!("\"wsgi_python_home\" {home:?} is not a directory"));
        }
        if let Err(error) = check_virtual_environment(&home) {
            return cf.error(&error);
        }
        let main = main_conf(cf);
        once(cf, &mut main.python_home, home, |home| format!("{home:?}"))
    }
}

setter! {
    /// `wsgi_python_executable path`
    python_executable(cf, conf: LocationConf) {
        if core::mem::replace(&mut conf.seen.python_executable, true) {
            return is_duplicate();
        }
        let Some(executable) = path(cf, 1) else { return FAILED };
        if !is_executable(&executable) {
            let text = format!("\"wsgi_python_executable\" {executable:?} is not an executable file");
            return cf.error(&text);
        }
        // bin/python of an environment.
        let environment = executable.parent().and_then(Path::parent);
        if let Some(Err(error)) = environment.map(check_virtual_environment) {
            return cf.error(&error);
        }
        let main = main_conf(cf);
        once(cf, &mut main.python_executable, executable, |executable| format!("{executable:?}"))
    }
}

setter! {
    /// `wsgi_python_optimize 0|1|2`
    python_optimize(cf, conf: LocationConf) {
        if core::mem::replace(&mut conf.seen.python_optimize, true) {
            return is_duplicate();
        }
        let level = match cf.args()[1].as_bytes() {
            b"0" => 0,
            b"1" => 1,
            b"2" => 2,
            _ => return say(c"takes 0, 1 or 2"),
        };
        let main = main_conf(cf);
        once(cf, &mut main.python_optimize, level, |level| format!("\"{level}\""))
    }
}

setter! {
    /// `wsgi_python_path dir ...`
    python_path(cf, conf: LocationConf) {
        if core::mem::replace(&mut conf.seen.python_path, true) {
            return is_duplicate();
        }
        for index in 1..cf.args().len() {
            let Some(directory) = path(cf, index) else { return FAILED };
            if !directory.is_dir() {
                return cf.error(&format!("\"wsgi_python_path\" {directory:?} is not a directory"));
            }
            conf.python_path.push(directory.to_string_lossy().into_owned());
        }
        DONE
    }
}

setter! {
    /// `wsgi_env NAME value`
    env(cf, conf: MainConf) {
        let (Some(name), Some(value)) = (text(cf, 1), text(cf, 2)) else {
            return cf.error("\"wsgi_env\" is not UTF-8");
        };
        if name.is_empty() || name.contains('=') {
            return cf.error(&format!("invalid name \"{name}\" in \"wsgi_env\""));
        }
        let name = process::c_string(&name);
        if conf.env.iter().any(|(other, _)| *other == name) {
            return cf.error(&format!("duplicate name {name:?} in \"wsgi_env\""));
        }
        conf.env.push((name, process::c_string(&value)));
        DONE
    }
}

setter! {
    /// `wsgi_script_name value`
    script_name(cf, conf: LocationConf) {
        if conf.script_name.is_some() {
            return is_duplicate();
        }
        // SAFETY: cf is being read; its words are in its pool.
        let value = unsafe { ComplexValue::compile(cf, (*cf.args).elts.cast::<ngx_str_t>().add(1)) };
        let Some(value) = value else { return FAILED };
        if let Some(Err(error)) = value.constant().map(|name| Mount::split_at(name, b"/")) {
            return cf.error(&error);
        }
        conf.script_name = Some(value);
        DONE
    }
}

setter! {
    /// `wsgi_pass_authorization on|off`
    pass_authorization(cf, conf: LocationConf) {
        if conf.pass_authorization.is_some() {
            return is_duplicate();
        }
        conf.pass_authorization = match cf.args()[1].as_bytes().to_ascii_lowercase().as_slice() {
            b"on" => Some(true),
            b"off" => Some(false),
            _ => {
                let value = cf.args()[1].to_string();
                return cf.error(&format!(
                    "invalid value \"{value}\" in \"wsgi_pass_authorization\" directive, it must be \
                     \"on\" or \"off\""
                ));
            }
        };
        DONE
    }
}

setter! {
    /// `wsgi_block_warning time|off`
    block_warning(cf, conf: LocationConf) {
        if conf.block_warning.is_some() {
            return is_duplicate();
        }
        let mut value = cf.args()[1];
        if value.as_bytes() == b"off" {
            conf.block_warning = Some(None);
            return DONE;
        }
        // SAFETY: parses the bytes of the string.
        let milliseconds = unsafe { ngx_parse_time(&mut value, 0) };
        match usize::try_from(milliseconds) {
            Ok(milliseconds) if milliseconds > 0 => {
                conf.block_warning = Some(Some(milliseconds));
                DONE
            }
            _ => say(c"takes a time above 0 or \"off\""),
        }
    }
}

/// Makes our handler the content handler of the location being read.
fn become_handler(cf: &mut ngx_conf_t) {
    // SAFETY: inside a location the context has the core module's configuration for it.
    unsafe {
        let core = core_loc_conf(cf);
        (*core).handler = Some(handler::content_handler);
        // As the other _pass directives: "/app" is redirected to "/app/".
        if (*core).name.as_bytes().ends_with(b"/") {
            (*core).set_auto_redirect(1);
        }
    }
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
                "\"{name}\" {new} conflicts with {old} in {file}:{line}; there is one interpreter per worker"
            );
            cf.error(&text)
        }
        Some(_) => DONE,
        None => {
            let (file, line) = cf.place();
            *slot = Some(Placed { value, file, line });
            DONE
        }
    }
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

fn check_script(path: &str) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            Err(format!("\"{path}\" of \"wsgi_pass\" is a directory, a script is expected"))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(format!("script \"{path}\" of \"wsgi_pass\" does not exist"))
        }
        Err(error) => Err(format!("script \"{path}\" of \"wsgi_pass\": {error}")),
    }
}

/// An environment of another Python would start without any of its packages, which is hard to understand.
fn check_virtual_environment(home: &Path) -> Result<(), String> {
    match py::environment_version(home) {
        Some(version) if version != py::BUILD_VERSION => Err(format!(
            "the virtual environment {home:?} is of Python {version}, this module was built for Python {}",
            py::BUILD_VERSION
        )),
        _ => Ok(()),
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
