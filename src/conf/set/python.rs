//! Which Python: the interpreter of a worker and what it starts with.

use std::path::Path;

use crate::conf::ext::{ConfExt, FAILED};
use crate::conf::{LocationConf, MainConf};
use crate::nginx::process;
use crate::py;

use super::{DONE, is_duplicate, main_conf, once, path, say, text};

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
