//! The package `ngx_wsgi`: the Python half of the module, embedded in it, and what it needs of Rust.
//!
//! Made once per interpreter and kept with it.

use core::ffi::{CStr, c_long, c_ulong};
use std::path::PathBuf;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyModule, PyString};
use pyo3::{Borrowed, ffi};

use super::class::{Class, HeapType, Instance, Method, Methods};

/// Writes one line to the error log; callable from any thread.
pub type LineLogger = fn(&[u8]);

macro_rules! source {
    ($file:literal) => {
        match CStr::from_bytes_with_nul(
            concat!(include_str!(concat!("../../python/ngx_wsgi/", $file)), "\0").as_bytes(),
        ) {
            Ok(source) => source,
            Err(_) => panic!("a NUL byte in embedded Python source"),
        }
    };
}

/// Those that are imported when they are wanted, if they are.
const LATER: &[(&str, &str)] = &[
    ("ngx_reactor", include_str!("../../python/ngx_reactor/__init__.py")),
    ("ngx_wsgi.asyncio", include_str!("../../python/ngx_wsgi/asyncio.py")),
    ("ngx_wsgi.loop", include_str!("../../python/ngx_wsgi/loop.py")),
    ("ngx_wsgi.subrequest", include_str!("../../python/ngx_wsgi/subrequest.py")),
    ("ngx_wsgi.suspension", include_str!("../../python/ngx_wsgi/suspension.py")),
];

const INIT: &CStr = source!("__init__.py");
const LOADER: &CStr = source!("loader.py");
const STREAMS: &CStr = source!("streams.py");
const PROCESS: &CStr = source!("process.py");
const EMBEDDED: &CStr = source!("embedded.py");
const FILES: &CStr = source!("files.py");
const SUBINTERPRETER: &CStr = source!("subinterpreter.py");
const WATCH: &CStr = source!("watch.py");

/// An application, or a middleware, to be imported.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The path of a script, or else
    pub script: Option<&'a str>,
    /// the dotted name of a module.
    pub module: Option<&'a str>,
    /// Dotted path of the callable in it.
    pub attribute: &'a str,
    /// Whether the callable makes what is wanted.
    pub is_factory: bool,
    /// To be put before `sys.path`.
    pub directories: &'a [String],
    /// Whether the file may have changed, and is to be read again then.
    pub renew: bool,
}

/// What has been imported.
pub struct Loaded<'py> {
    pub callable: Bound<'py, PyAny>,
    /// The file it came from, if there is one.
    pub file: Option<PathBuf>,
    /// How the file looked before it was read.
    pub stamp: Option<Stamp>,
}

/// What changes when a file is edited: modification time in nanoseconds, size in bytes, inode.
pub type Stamp = (i64, u64, u64);

/// An exception in words.
pub struct Description {
    /// One line.
    pub summary: String,
    /// The lines of the traceback.
    pub traceback: Vec<String>,
    /// Whether an extension module refused to be imported into a sub-interpreter.
    pub is_refusal: bool,
}

/// The functions of the package that Rust calls.
pub struct Package {
    load: Py<PyAny>,
    describe: Py<PyAny>,
    run_exit_functions: Py<PyAny>,
    stacks: Py<PyAny>,
    name_thread: Py<PyAny>,
    timeout: Py<PyAny>,
    disconnected: Py<PyAny>,
}

/// What is raised in an application from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// `ngx_wsgi.Timeout`
    Timeout,
    /// `ngx_wsgi.Disconnected`
    Disconnected,
}

impl Package {
    /// Imports the package into the current interpreter and lets it change what must be different in a
    /// worker: the standard streams, `signal.signal`, and more in a sub-interpreter.
    pub fn install(py: Python<'_>, log: LineLogger, is_main: bool) -> PyResult<Self> {
        let package = PyModule::from_code(py, INIT, c"<ngx_wsgi>", c"ngx_wsgi")?;
        let subinterpreter = PyModule::from_code(
            py,
            SUBINTERPRETER,
            c"<ngx_wsgi/subinterpreter>",
            c"ngx_wsgi.subinterpreter",
        )?;
        let loader = PyModule::from_code(py, LOADER, c"<ngx_wsgi/loader>", c"ngx_wsgi.loader")?;
        let streams = PyModule::from_code(py, STREAMS, c"<ngx_wsgi/streams>", c"ngx_wsgi.streams")?;
        let process = PyModule::from_code(py, PROCESS, c"<ngx_wsgi/process>", c"ngx_wsgi.process")?;
        let watch = PyModule::from_code(py, WATCH, c"<ngx_wsgi/watch>", c"ngx_wsgi.watch")?;
        PyModule::from_code(py, FILES, c"<ngx_wsgi/files>", c"ngx_wsgi.files")?;
        package.setattr("__version__", env!("CARGO_PKG_VERSION"))?;
        PyModule::from_code(py, EMBEDDED, c"<ngx_wsgi/embedded>", c"ngx_wsgi.embedded")?
            .call_method1("offer", (LATER.to_vec(),))?;

        let native = HeapType::<Native>::new(py)?.instance(py, Native { log })?;
        streams.call_method1("install", (native.method::<Log>()?,))?;
        process.call_method0("refuse_signal_handlers")?;
        if !is_main {
            subinterpreter.call_method0("prepare")?;
        }
        #[cfg(debug_assertions)]
        package.setattr("_panic", native.method::<panic::Panic>()?)?;

        Ok(Self {
            load: loader.getattr("load")?.unbind(),
            describe: loader.getattr("describe")?.unbind(),
            run_exit_functions: process.getattr("run_exit_functions")?.unbind(),
            stacks: watch.getattr("stacks")?.unbind(),
            name_thread: watch.getattr("name_thread")?.unbind(),
            timeout: package.getattr("Timeout")?.unbind(),
            disconnected: package.getattr("Disconnected")?.unbind(),
        })
    }

    /// Imports an application; see `load` in loader.py.
    pub fn load<'py>(&self, py: Python<'py>, wanted: &Wanted<'_>) -> PyResult<Loaded<'py>> {
        let directories = PyList::new(py, wanted.directories)?;
        let Wanted { script, module, attribute, is_factory, renew, .. } = *wanted;
        let arguments = (script, module, attribute, is_factory, directories, renew);
        let (callable, file, stamp) = self.load.bind(py).call1(arguments)?.extract()?;
        Ok(Loaded { callable, file, stamp })
    }

    /// Puts an exception into words. Never fails: one that cannot be printed is described by its type.
    pub fn describe(&self, py: Python<'_>, error: &PyErr) -> Description {
        type Described<'py> = (Bound<'py, PyString>, Vec<Bound<'py, PyString>>, bool);
        let text = |s: &Bound<'_, PyString>| s.to_string_lossy().into_owned();
        let described = self
            .describe
            .bind(py)
            .call1((error.clone_ref(py).into_value(py),))
            .and_then(|described| described.extract::<Described<'_>>());
        match described {
            Ok((summary, traceback, is_refusal)) => Description {
                summary: text(&summary),
                traceback: traceback.iter().map(text).collect(),
                is_refusal,
            },
            Err(_) => {
                let name = error.get_type(py).qualname().map(|name| name.to_string());
                let summary = name.unwrap_or_else(|_| "an exception".to_owned());
                Description { summary, traceback: Vec::new(), is_refusal: false }
            }
        }
    }

    /// The stacks of these threads, as a traceback shows them; those that are not in Python are left out.
    pub fn stacks(&self, py: Python<'_>, threads: &[u64]) -> PyResult<Vec<(u64, String)>> {
        let stacks: Vec<(u64, Bound<'_, PyString>)> =
            self.stacks.bind(py).call1((threads.to_vec(),))?.extract()?;
        Ok(stacks
            .into_iter()
            .map(|(thread, text)| (thread, text.to_string_lossy().into()))
            .collect())
    }

    /// Gives the calling thread its name in this interpreter.
    pub fn name_thread(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        self.name_thread.call1(py, (name,)).map(drop)
    }

    /// What an application on nginx's thread finds in environ besides what PEP 3333 says.
    pub fn extensions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        Ok(py.import("ngx_wsgi.suspension")?.getattr("ENVIRON")?.cast_into()?)
    }

    /// Raises an exception in a thread of this interpreter, as soon as it runs Python code.
    pub fn interrupt(&self, _py: Python<'_>, thread: c_ulong, interruption: Interruption) {
        let class = match interruption {
            Interruption::Timeout => &self.timeout,
            Interruption::Disconnected => &self.disconnected,
        };
        // SAFETY: attached to this interpreter; the class is an exception class, of which CPython takes a
        // reference of its own.
        unsafe { ffi::PyThreadState_SetAsyncExc(thread as c_long, class.as_ptr()) };
    }

    /// Whether the exception is `ngx_wsgi.Timeout`.
    pub fn is_timeout(&self, py: Python<'_>, error: &PyErr) -> bool {
        error.is_instance(py, self.timeout.bind(py))
    }

    /// Ends what runs in the event loop, which gets so much time, then runs the functions registered with `atexit`.
    pub fn run_exit_functions(&self, py: Python<'_>, patience: Duration) -> PyResult<()> {
        self.run_exit_functions.call1(py, (patience.as_secs_f64(),)).map(drop)
    }
}

/// The calling thread, as `threading.get_ident()` names it.
pub fn this_thread() -> c_ulong {
    // SAFETY: cannot fail. CPython's own name for a thread where threads are POSIX threads.
    unsafe { libc::pthread_self() }
}

/// Takes an exception back that the calling thread has been sent and has not raised yet. To be called in the
/// interpreter where it was sent.
pub fn forget_interruption(_py: Python<'_>) {
    let thread = this_thread() as c_long;
    // SAFETY: attached; null means to take it back.
    unsafe { ffi::PyThreadState_SetAsyncExc(thread, core::ptr::null_mut()) };
}

/// The Rust functions that the package calls.
struct Native {
    log: LineLogger,
}

impl Class for Native {
    const NAME: &'static CStr = c"ngx_wsgi.Native";
    const DOC: &'static CStr = c"What the package needs of the module.";

    fn methods(methods: &mut Methods<Self>) {
        methods.add::<Log>();
    }
}

struct Log;

impl Method<Native> for Log {
    const NAME: &'static CStr = c"log";
    const DOC: &'static CStr = c"log(line: bytes)\n\nWrites one line to nginx's error log.";

    fn call<'py>(
        this: &Instance<'py, Native>,
        args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(line) = args.first().and_then(|arg| arg.cast::<PyBytes>().ok()) {
            (this.get().log)(line.as_bytes());
        }
        Ok(this.py().None().into_bound(this.py()))
    }
}

/// Panics on demand, to test that a panic hurts one request and not the worker. Debug builds only.
#[cfg(debug_assertions)]
pub mod panic {
    use core::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    static AT_NEXT_STEP: AtomicBool = AtomicBool::new(false);

    /// Panics if `ngx_wsgi._panic("step")` was called since.
    pub fn at_step() {
        if AT_NEXT_STEP.swap(false, Ordering::Relaxed) {
            panic!("provoked at a step");
        }
    }

    pub struct Panic;

    impl Method<Native> for Panic {
        const NAME: &'static CStr = c"_panic";
        const DOC: &'static CStr =
            c"_panic(where: str)\n\nPanics in Rust: at once, or at the next step.";

        fn call<'py>(
            this: &Instance<'py, Native>,
            args: &[Borrowed<'_, 'py, PyAny>],
            _keyword: Option<Borrowed<'_, 'py, PyAny>>,
        ) -> PyResult<Bound<'py, PyAny>> {
            let place: Option<String> = args.first().and_then(|arg| arg.extract().ok());
            if place.as_deref() == Some("step") {
                AT_NEXT_STEP.store(true, Ordering::Relaxed);
                return Ok(this.py().None().into_bound(this.py()));
            }
            panic!("provoked in a call");
        }
    }
}
