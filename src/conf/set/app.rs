//! Which application: its code, where it runs, what it is told, when it is read again.

use core::ffi::c_char;

use nginx_sys::{ngx_conf_t, ngx_str_t};

use crate::conf::ext::{ConfExt, FAILED};
use crate::conf::{ComplexValue, LocationConf, MainConf, Mechanism, Var};
use crate::handler;
use crate::status;
use crate::wsgi::{Mount, Naming, Protocol, Source, Target};

use super::{
    DONE, choice, core_loc_conf, full_name, is_duplicate, main_conf, milliseconds, say, text,
};

setter! {
    /// `wsgi_pass TARGET [callable]`
    pass(cf, conf: LocationConf) {
        if conf.target.is_some() {
            return is_duplicate();
        }
        let target = match target(cf, Naming::Pass) {
            Ok(target) => target,
            Err(error) => return cf.error(&error),
        };
        if conf.status.is_some() {
            return cf.error(TWO_HANDLERS);
        }
        conf.target = Some(cf.placed(target));
        become_handler(cf);
        DONE
    }
}

setter! {
    /// `wsgi_middleware MODULE [callable]`, `wsgi_middleware off`
    middleware(cf, conf: LocationConf) {
        if cf.args()[1].as_bytes().eq_ignore_ascii_case(b"off") {
            if cf.args().len() > 2 {
                return cf.error("\"wsgi_middleware off\" takes no callable");
            }
            if conf.no_outer_middleware || !conf.middleware.is_empty() {
                return cf.error("\"wsgi_middleware off\" must come first");
            }
            conf.no_outer_middleware = true;
            return DONE;
        }
        match target(cf, Naming::Middleware) {
            Ok(target) => conf.middleware.push(target),
            Err(error) => return cf.error(&error),
        }
        DONE
    }
}

setter! {
    /// `wsgi_protocol wsgi|wsgi2`
    protocol(cf, conf: LocationConf) {
        if conf.protocol.is_some() {
            return is_duplicate();
        }
        conf.protocol = choice(cf, &[("wsgi", Protocol::Wsgi), ("wsgi2", Protocol::Wsgi2)]);
        if conf.protocol.is_some() { DONE } else { FAILED }
    }
}

setter! {
    /// `wsgi_interpreter NAME`
    interpreter(cf, conf: LocationConf) {
        if conf.interpreter.is_some() {
            return is_duplicate();
        }
        match text(cf, 1) {
            Some(name) if name.contains('$') => {
                return cf.error("\"wsgi_interpreter\" takes no variables");
            }
            Some(name) if !name.is_empty() => conf.interpreter = Some(cf.placed(name)),
            _ => return cf.error("\"wsgi_interpreter\" takes a name"),
        }
        check_interpreter(cf, conf)
    }
}

setter! {
    /// `wsgi_use_main_interpreter on|off`
    use_main_interpreter(cf, conf: LocationConf) {
        if conf.use_main_interpreter.is_given() {
            return is_duplicate();
        }
        let Some(value) = choice(cf, &[("on", true), ("off", false)]) else { return FAILED };
        conf.use_main_interpreter = value.into();
        check_interpreter(cf, conf)
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
    /// `wsgi_var NAME value [if_not_empty]`
    var(cf, conf: LocationConf) {
        let name = cf.args()[1].as_bytes().to_vec();
        let shown = cf.args()[1].to_string();
        if name.is_empty() || name.contains(&b'$') {
            return cf.error(&format!("invalid name \"{shown}\" in \"wsgi_var\""));
        }
        let is_ours = name.starts_with(b"wsgi.") || name.starts_with(b"ngx.");
        if is_ours && name != b"wsgi.url_scheme" {
            return cf.error(&format!("\"{shown}\" in \"wsgi_var\" belongs to the module"));
        }
        if conf.vars.iter().any(|var| var.name == name) {
            return cf.error(&format!("duplicate name \"{shown}\" in \"wsgi_var\""));
        }
        let if_not_empty = match cf.args().get(3) {
            None => false,
            Some(word) if word.as_bytes() == b"if_not_empty" => true,
            Some(word) => {
                let word = word.to_string();
                return cf.error(&format!("invalid parameter \"{word}\" in \"wsgi_var\""));
            }
        };
        // SAFETY: cf is being read; its words are in its pool.
        let value = unsafe { ComplexValue::compile(cf, (*cf.args).elts.cast::<ngx_str_t>().add(2)) };
        let Some(value) = value else { return FAILED };
        conf.vars.push(Var { name, value, if_not_empty });
        DONE
    }
}

setter! {
    /// `wsgi_reload_mechanism module|process`
    reload_mechanism(cf, conf: LocationConf) {
        if conf.reload_mechanism.is_some() {
            return is_duplicate();
        }
        let choices = [("module", Mechanism::Module), ("process", Mechanism::Process)];
        conf.reload_mechanism = choice(cf, &choices);
        if conf.reload_mechanism.is_some() { DONE } else { FAILED }
    }
}

setter! {
    /// `wsgi_preflight_timeout time`
    preflight_timeout(cf, conf: MainConf) {
        if conf.preflight_timeout.is_some() {
            return is_duplicate();
        }
        conf.preflight_timeout = milliseconds(cf, 1);
        if conf.preflight_timeout.is_some() { DONE } else { say(c"takes a time above 0") }
    }
}

setter! {
    /// `wsgi_block_warning time|off`
    block_warning(cf, conf: LocationConf) {
        if conf.block_warning.is_some() {
            return is_duplicate();
        }
        conf.block_warning = match cf.args()[1].as_bytes() {
            b"off" => Some(None),
            _ => milliseconds(cf, 1).map(Some),
        };
        if conf.block_warning.is_some() { DONE } else { say(c"takes a time above 0 or \"off\"") }
    }
}

setter! {
    /// `wsgi_status`
    status(cf, conf: LocationConf) {
        if conf.status.is_some() {
            return is_duplicate();
        }
        // SAFETY: inside a location the context has the core module's configuration for it.
        let core = unsafe { &mut *core_loc_conf(cf) };
        if core.handler.is_some() {
            return cf.error(TWO_HANDLERS);
        }
        core.handler = Some(status::content_handler);
        conf.status = Some(cf.placed(()));
        main_conf(cf).has_status = true;
        DONE
    }
}

/// nginx itself would take the one that comes last.
pub(in crate::conf) const TWO_HANDLERS: &str =
    "\"wsgi_status\" must be the only handler of its location";

/// On one level there is either a name or the main interpreter.
fn check_interpreter(cf: &mut ngx_conf_t, conf: &LocationConf) -> *mut c_char {
    match &conf.interpreter {
        Some(name) if conf.use_main_interpreter.is_on() => cf
            .error_at(name, "\"wsgi_interpreter\" conflicts with \"wsgi_use_main_interpreter on\""),
        _ => DONE,
    }
}

/// The target that the directive being read names, a script with its absolute path.
fn target(cf: &ngx_conf_t, naming: Naming) -> Result<Target, String> {
    let directive = cf.args()[0].to_string();
    let (words, callable) = (text(cf, 1), text(cf, 2));
    let Some(words) = words else { return Err(format!("\"{directive}\" is not UTF-8")) };
    let mut target =
        Target::parse(naming, &words, callable.as_deref()).map_err(|error| error.to_string())?;
    if let Source::Script(path) = &mut target.source {
        *path = full_name(cf, path);
        check_script(&directive, path)?;
    }
    Ok(target)
}

fn check_script(directive: &str, path: &str) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            Err(format!("\"{path}\" of \"{directive}\" is a directory, a script is expected"))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(format!("script \"{path}\" of \"{directive}\" does not exist"))
        }
        Err(error) => Err(format!("script \"{path}\" of \"{directive}\": {error}")),
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
