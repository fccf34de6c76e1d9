//! The module `ngx_wsgi.native`: the primitives, for the Python half of the module.

use core::ffi::CStr;

use nginx_sys::ngx_msec_t;
use pyo3::Borrowed;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyModule;

use crate::py::{Class, HeapType, Instance, Interpreter, Method, Methods};

use super::Callback;
use super::queue::{Handle, Queue};
use super::request::{MOST, Types, milliseconds};
use super::timer::Timer;
use super::watch::{self, Watch};

/// Gives `interpreter` its module. To be called once, attached to it.
pub fn install(py: Python<'_>, interpreter: &'static Interpreter) -> PyResult<()> {
    let native = Native {
        interpreter,
        watch: HeapType::new(py)?,
        timer: HeapType::new(py)?,
        queue: HeapType::new(py)?,
        handle: Box::leak(Box::new(HeapType::new(py)?)),
        // As long as the interpreter.
        types: Box::leak(Box::new(Types::new(py)?)),
    };
    let native = HeapType::<Native>::new(py)?.instance(py, native)?;
    let module = PyModule::new(py, "ngx_wsgi.native")?;
    module.setattr("Timer", native.get().timer.as_any(py))?;
    module.setattr("READ", watch::READ)?;
    module.setattr("WRITE", watch::WRITE)?;
    module.setattr("watch", native.method::<WatchIt>()?)?;
    module.setattr("timer", native.method::<SetTimer>()?)?;
    module.setattr("post", native.method::<Post>()?)?;
    module.setattr("queue", native.method::<MakeQueue>()?)?;
    module.setattr("outside", native.method::<Outside>()?)?;
    module.setattr("request", native.method::<CurrentRequest>()?)?;
    py.import("sys")?.getattr("modules")?.set_item("ngx_wsgi.native", &module)?;
    py.import("ngx_wsgi")?.setattr("native", module)
}

/// What the functions of the module need.
struct Native {
    interpreter: &'static Interpreter,
    watch: HeapType<Watch>,
    timer: HeapType<Timer>,
    queue: HeapType<Queue>,
    handle: &'static HeapType<Handle>,
    types: &'static Types,
}

impl Class for Native {
    const NAME: &'static CStr = c"ngx_wsgi.native.Native";
    const DOC: &'static CStr = c"The primitives.";

    fn methods(_methods: &mut Methods<Self>) {}
}

impl Native {
    fn callback(&self, function: &Bound<'_, PyAny>) -> PyResult<Callback> {
        if !function.is_callable() {
            let kind = function.get_type().qualname()?;
            let text = format!("a handler must be callable, not {kind}");
            return Err(PyTypeError::new_err(text));
        }
        let function = function.clone().unbind();
        Ok(Callback { interpreter: self.interpreter, function })
    }
}

struct WatchIt;

impl Method<Native> for WatchIt {
    const NAME: &'static CStr = c"watch";
    const DOC: &'static CStr = c"watch(fd: int, flags: int, callback) -> Watch\n\nHas callback(fired) called \
        whenever the descriptor is ready: fired holds READ and WRITE, or is 0 when the descriptor has been closed, \
        which ends it.\n\nRaises OSError if it cannot be watched, RuntimeError outside of nginx's thread.";

    fn call<'py>(
        this: &Instance<'py, Native>,
        args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let [fd, flags, callback] = args else {
            return Err(PyTypeError::new_err("watch() takes fd, flags and callback"));
        };
        let native = this.get();
        let watch = Watch::new(fd.extract()?, flags.extract()?, native.callback(callback)?)?;
        Ok(native.watch.instance(this.py(), watch)?.as_any().clone())
    }
}

struct SetTimer;

impl Method<Native> for SetTimer {
    const NAME: &'static CStr = c"timer";
    const DOC: &'static CStr =
        c"timer(milliseconds: int, callback) -> Timer\n\nHas callback() called once.\n\n\
        Raises ValueError for a negative time, RuntimeError outside of nginx's thread.";

    fn call<'py>(
        this: &Instance<'py, Native>,
        args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let [time, callback] = args else {
            return Err(PyTypeError::new_err("timer() takes milliseconds and callback"));
        };
        let native = this.get();
        let time = milliseconds(time)?;
        if time > MOST {
            return Err(PyValueError::new_err(format!("timers go up to {MOST} milliseconds")));
        }
        let time = time as ngx_msec_t;
        let timer = Timer::new(time, native.callback(callback)?)?;
        Ok(native.timer.instance(this.py(), timer)?.as_any().clone())
    }
}

struct Post;

impl Method<Native> for Post {
    const NAME: &'static CStr = c"post";
    const DOC: &'static CStr =
        c"post(callback)\n\nHas callback() called soon, on nginx's thread. In any thread.";

    fn call<'py>(
        this: &Instance<'py, Native>,
        args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let [callback] = args else {
            return Err(PyTypeError::new_err("post() takes a callback"));
        };
        this.get().callback(callback)?.post()?;
        Ok(this.py().None().into_bound(this.py()))
    }
}

struct MakeQueue;

impl Method<Native> for MakeQueue {
    const NAME: &'static CStr = c"queue";
    const DOC: &'static CStr = c"queue() -> Queue\n\nAn empty one.";

    fn call<'py>(
        this: &Instance<'py, Native>,
        _args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let native = this.get();
        let queue = Queue::new(native.interpreter, native.handle);
        Ok(native.queue.instance(this.py(), queue)?.as_any().clone())
    }
}

struct Outside;

impl Method<Native> for Outside {
    const NAME: &'static CStr = c"outside";
    const DOC: &'static CStr =
        c"outside(function)\n\nWhat function() returns, which concerns no request.";

    fn call<'py>(
        _this: &Instance<'py, Native>,
        args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let [function] = args else {
            return Err(PyTypeError::new_err("outside() takes a function"));
        };
        super::outside(|| function.call0())
    }
}

struct CurrentRequest;

impl Method<Native> for CurrentRequest {
    const NAME: &'static CStr = c"request";
    const DOC: &'static CStr =
        c"request() -> Request\n\nThat of the application that runs.\n\nRaises RuntimeError \
        if none runs in this thread.";

    fn call<'py>(
        this: &Instance<'py, Native>,
        _args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Ok(this.get().types.current(this.py())?.as_any().clone())
    }
}
