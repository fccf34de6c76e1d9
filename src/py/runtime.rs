//! The start and the end of Python in a worker.
//!
//! Python starts in `init_process`, after the fork, so that the master never holds it and a reload gives
//! fresh interpreters in fresh workers. It is isolated from the environment of the caller and installs
//! no signal handlers. It is never finalised: threads of applications may still run when a worker ends,
//! so the end is close, `atexit`, `exit`.

use core::ffi::{CStr, c_char};
use core::mem::MaybeUninit;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use pyo3::ffi;

use super::Interpreter;
use super::package::LineLogger;

/// What the configuration says about the interpreter.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `wsgi_python_home`: the folder of a whole installation, or of a virtual environment.
    pub home: Option<PathBuf>,
    /// `wsgi_python_executable`: as if this executable ran.
    pub executable: Option<PathBuf>,
    /// `wsgi_python_optimize`: 0, 1 (`-O`) or 2 (`-OO`).
    pub optimize: u8,
    /// `sys.argv`.
    pub argv: Vec<Vec<u8>>,
}

impl Settings {
    /// The executable that Python shall believe to be. CPython finds its library tree, and the
    /// `pyvenv.cfg` of a virtual environment, from it.
    fn effective_executable(&self) -> PathBuf {
        if let Some(executable) = &self.executable {
            return executable.clone();
        }
        match &self.home {
            // CPython fails to start with the home of a virtual environment, but takes its executable.
            Some(home) if is_virtual_environment(home) => home.join("bin/python"),
            Some(home) => home.join("bin/python3"),
            None => PathBuf::from(env!("WSGI_PYTHON_EXECUTABLE")),
        }
    }

    fn effective_home(&self) -> Option<&Path> {
        self.home.as_deref().filter(|home| !is_virtual_environment(home))
    }
}

fn is_virtual_environment(home: &Path) -> bool {
    home.join("pyvenv.cfg").is_file()
}

/// The Python that this module was built for, "3.11" for example.
pub const BUILD_VERSION: &str = env!("WSGI_PYTHON_VERSION");

/// The Python of the virtual environment in the folder `home`, "3.11" for example; `None` if it is none or
/// does not say. `venv` writes `version`, `virtualenv` and `uv` write `version_info`.
pub fn environment_version(home: &Path) -> Option<String> {
    let text = std::fs::read_to_string(home.join("pyvenv.cfg")).ok()?;
    let mut settings = text.lines().filter_map(|line| line.split_once('='));
    let (_, version) =
        settings.find(|(key, _)| matches!(key.trim(), "version" | "version_info"))?;
    let mut parts = version.trim().split('.');
    Some(format!("{}.{}", parts.next()?, parts.next()?))
}

/// The version of the Python library that is loaded, "3.11.2" for example. Needs no interpreter.
pub fn python_version() -> String {
    // SAFETY: Py_GetVersion returns a static C string and may be called before the start.
    let version = unsafe { CStr::from_ptr(ffi::Py_GetVersion()) }.to_string_lossy();
    version.split_whitespace().next().unwrap_or_default().to_owned()
}

/// Starts Python in this process, detached. The calling thread becomes Python's main thread.
///
/// # Errors
/// CPython's own words when it cannot start, for example because the home holds no library.
pub fn start(settings: &Settings, log: LineLogger) -> Result<&'static Interpreter, String> {
    if let Some(interpreter) = Interpreter::main() {
        return Ok(interpreter);
    }
    initialize(settings)?;
    // SAFETY: this thread was attached by the initialisation; from here on it attaches when it needs.
    unsafe { ffi::PyEval_SaveThread() };
    Interpreter::started(log).map_err(|error| error.to_string())
}

fn initialize(settings: &Settings) -> Result<(), String> {
    for name in [c"PYTHONEXECUTABLE", c"__PYVENV_LAUNCHER__"] {
        // CPython lets these two win over the configuration, even when it is isolated.
        // SAFETY: Python has not started, and nginx's own threads read no environment.
        unsafe { libc::unsetenv(name.as_ptr()) };
    }
    // SAFETY: the configuration structures are initialised by CPython's own functions before use and
    // cleared afterwards; strings are NUL-terminated and copied by the setters.
    unsafe {
        let mut preconfig = MaybeUninit::<ffi::PyPreConfig>::uninit();
        ffi::PyPreConfig_InitIsolatedConfig(preconfig.as_mut_ptr());
        let mut preconfig = preconfig.assume_init();
        // Workers have no locale; without UTF-8 mode the file system encoding would be ASCII.
        preconfig.utf8_mode = 1;
        check(ffi::Py_PreInitialize(&preconfig))?;

        let mut config = MaybeUninit::<ffi::PyConfig>::uninit();
        ffi::PyConfig_InitIsolatedConfig(config.as_mut_ptr());
        let mut config = config.assume_init();
        let result =
            fill(&mut config, settings).and_then(|()| check(ffi::Py_InitializeFromConfig(&config)));
        ffi::PyConfig_Clear(&mut config);
        result
    }
}

/// # Safety
/// `config` must have been initialised by CPython, which must be pre-initialised.
unsafe fn fill(config: &mut ffi::PyConfig, settings: &Settings) -> Result<(), String> {
    config.optimization_level = settings.optimize.into();
    config.install_signal_handlers = 0;
    config.parse_argv = 0;
    // stdin, stdout and stderr are made by the package; C's are nginx's.
    config.configure_c_stdio = 0;
    let executable = settings.effective_executable();
    let config: *mut ffi::PyConfig = config;
    // SAFETY: as above; the fields whose addresses are passed belong to `config`.
    unsafe {
        set_path(config, &raw mut (*config).program_name, &executable)?;
        set_path(config, &raw mut (*config).executable, &executable)?;
        if let Some(home) = settings.effective_home() {
            set_path(config, &raw mut (*config).home, home)?;
        }
        let argv: Vec<CString> =
            settings.argv.iter().filter_map(|arg| CString::new(arg.as_slice()).ok()).collect();
        let mut pointers: Vec<*const c_char> = argv.iter().map(|arg| arg.as_ptr()).collect();
        check(ffi::PyConfig_SetBytesArgv(
            config,
            pointers.len() as ffi::Py_ssize_t,
            pointers.as_mut_ptr(),
        ))
    }
}

/// # Safety
/// `config` must be initialised and `field` one of its string fields.
unsafe fn set_path(
    config: *mut ffi::PyConfig,
    field: *mut *mut libc::wchar_t,
    path: &Path,
) -> Result<(), String> {
    use std::os::unix::ffi::OsStrExt;
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: by the contract of this function; the string is copied.
    unsafe { check(ffi::PyConfig_SetBytesString(config, field.cast(), path.as_ptr())) }
}

fn check(status: ffi::PyStatus) -> Result<(), String> {
    // SAFETY: the status came from CPython; its message is null or a static C string.
    unsafe {
        if ffi::PyStatus_Exception(status) == 0 {
            return Ok(());
        }
        if status.err_msg.is_null() {
            return Err(format!("exit status {}", status.exitcode));
        }
        Err(CStr::from_ptr(status.err_msg).to_string_lossy().into_owned())
    }
}

/// Ends Python in this process: `last_work`, then the functions registered with `atexit`, for at most `limit`
/// together; when it is over `on_timeout` is called and the process ends at once. What runs in the event loops of
/// all interpreters gets `patience` of that.
///
/// CPython is not finalised, because threads of applications may still run. They are stopped where they
/// next need the interpreter: this thread keeps it while the process exits.
pub fn stop(
    limit: Duration,
    patience: Duration,
    last_work: impl FnOnce(),
    on_timeout: impl FnOnce() + Send + 'static,
) {
    if Interpreter::main().is_none() {
        return;
    }
    let (done, wait) = mpsc::channel::<()>();
    // Without this guard a function that blocks would keep the worker for ever.
    let guard = thread::Builder::new().spawn(move || {
        if wait.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            on_timeout();
            // SAFETY: ends the process without running destructors, which is the purpose.
            unsafe { libc::_exit(0) };
        }
    });
    last_work();
    let interpreters = Interpreter::all();
    let until = Instant::now() + patience;
    for (done, interpreter) in interpreters.iter().enumerate() {
        // What one does not need is the others'.
        let share =
            until.saturating_duration_since(Instant::now()) / (interpreters.len() - done) as u32;
        interpreter.enter(|py| {
            if let Err(error) = interpreter.package().run_exit_functions(py, share) {
                error.write_unraisable(py, None);
            }
        });
    }
    Interpreter::end_all();
    drop(done);
    // Without a guard, for want of memory, it has ended all the same.
    let _ = guard.map(thread::JoinHandle::join);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_environments() {
        let home = std::env::temp_dir().join(format!("wsgi-environment-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        let version = |text: &str| {
            std::fs::write(home.join("pyvenv.cfg"), text).unwrap();
            environment_version(&home)
        };
        assert_eq!(version("home = /usr/bin\nversion = 3.11.2\n"), Some("3.11".to_owned()));
        assert_eq!(version("version_info=3.13.0.final.0"), Some("3.13".to_owned()));
        assert_eq!(version("home = /usr/bin\n"), None);
        std::fs::remove_dir_all(&home).unwrap();
        assert_eq!(environment_version(&home), None);
    }
}
