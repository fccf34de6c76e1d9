//! A queue of functions: what `call_soon` of an asyncio loop puts there, and the turn of the loop calls.
//!
//! A coroutine that waits comes by here several times, so it is Rust and not Python (python/ngx_wsgi/loop.py).

use core::cell::{Cell, RefCell};
use core::ffi::CStr;
use std::collections::VecDeque;
use std::time::Instant;

use pyo3::Borrowed;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyTuple};

use crate::py::{Class, Context, HeapType, Instance, Interpreter, Kept, Method, Methods};

use super::Callback;
use super::turn::SHARE;

/// The queue of one loop. Any thread adds to it, one thread empties it; all under the GIL.
pub struct Queue {
    handles: RefCell<VecDeque<Kept<Handle>>>,
    /// Whether the bell has been rung, and those who come are not done.
    is_awake: Cell<bool>,
    /// Rung when there is something in it.
    bell: RefCell<Option<Bell>>,
    interpreter: &'static Interpreter,
    handle: &'static HeapType<Handle>,
}

/// A function that calls for somebody who empties a queue, or who does.
struct Bell {
    function: Callback,
    /// Whether nginx's thread calls it, or whoever adds something.
    is_posted: bool,
}

impl Bell {
    fn clone_ref(&self, py: Python<'_>) -> Self {
        Self { function: self.function.clone_ref(py), is_posted: self.is_posted }
    }

    fn ring(self, py: Python<'_>) -> PyResult<()> {
        if self.is_posted {
            self.function.post()
        } else {
            self.function.function.call0(py).map(drop)
        }
    }
}

/// A function in the queue, as asyncio.Handle.
pub struct Handle {
    call: RefCell<Option<Call>>,
    is_cancelled: Cell<bool>,
}

struct Call {
    function: Py<PyAny>,
    arguments: Py<PyTuple>,
    context: Context,
}

impl Queue {
    pub fn new(interpreter: &'static Interpreter, handle: &'static HeapType<Handle>) -> Self {
        let (handles, bell) = (RefCell::default(), RefCell::default());
        Self { handles, is_awake: Cell::new(false), bell, interpreter, handle }
    }

    fn wake(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_awake.get() {
            return Ok(());
        }
        let Some(bell) = self.bell.borrow().as_ref().map(|bell| bell.clone_ref(py)) else {
            return Ok(());
        };
        self.is_awake.set(true);
        bell.ring(py).inspect_err(|_| self.is_awake.set(false))
    }

    /// Nobody is called for any more; somebody is again if there is something left.
    fn sleep(&self, py: Python<'_>) -> PyResult<()> {
        self.is_awake.set(false);
        if self.handles.borrow().is_empty() { Ok(()) } else { self.wake(py) }
    }

    /// Calls the next function. False if there is none.
    fn call_next(&self, py: Python<'_>, failed: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Some(handle) = self.handles.borrow_mut().pop_front() else { return Ok(false) };
        let handle = handle.bind(py);
        // Taken out: what it leads to is let go of when it has been called.
        let Some(call) = handle.get().call.take() else { return Ok(true) };
        let called = call.context.run(py, || call.function.call1(py, call.arguments.bind(py)));
        if let Err(error) = called.and_then(|result| result) {
            let tell = || failed.call1((handle.as_any(), error.into_value(py), &call.function));
            // In the function's context, as asyncio does since 3.12.
            call.context.run(py, tell)??;
        }
        Ok(true)
    }
}

impl Class for Queue {
    const NAME: &'static CStr = c"ngx_wsgi.native.Queue";
    const DOC: &'static CStr = c"Functions that are to be called soon.";

    fn methods(methods: &mut Methods<Self>) {
        methods.add::<CallSoon>().add::<Wake>().add::<Run>().add::<Sleep>().add::<SetBell>();
    }
}

/// `call_soon`, as a bound method of its own.
pub struct CallSoon;

impl Method<Queue> for CallSoon {
    const NAME: &'static CStr = c"call_soon";
    const DOC: &'static CStr =
        c"call_soon(callback, *args, context=None) -> Handle\n\nHas callback(*args) called in \
        the next round, in a contextvars context. In any thread.";
    const KEYWORD: Option<&'static str> = Some("context");

    fn call<'py>(
        this: &Instance<'py, Queue>,
        args: &[Borrowed<'_, 'py, PyAny>],
        context: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let [function, arguments @ ..] = args else {
            return Err(PyTypeError::new_err("call_soon() takes a callback"));
        };
        let context = match context.filter(|context| !context.is_none()) {
            Some(context) => Context::new((*context).to_owned())?,
            None => Context::copy_current(py)?,
        };
        let call = Call {
            function: (*function).to_owned().unbind(),
            arguments: PyTuple::new(py, arguments)?.unbind(),
            context,
        };
        let handle = Handle { call: RefCell::new(Some(call)), is_cancelled: Cell::new(false) };
        let queue = this.get();
        let handle = queue.handle.instance(py, handle)?;
        let object = handle.as_any().clone();
        queue.handles.borrow_mut().push_back(handle.unbind());
        queue.wake(py).inspect_err(|_| drop(object.call_method0("cancel")))?;
        Ok(object)
    }
}

struct Wake;

impl Method<Queue> for Wake {
    const NAME: &'static CStr = c"wake";
    const DOC: &'static CStr = c"wake()\n\nHas the turn called soon. In any thread.";

    fn call<'py>(
        this: &Instance<'py, Queue>,
        _args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        this.get().wake(this.py())?;
        Ok(this.py().None().into_bound(this.py()))
    }
}

struct Run;

impl Method<Queue> for Run {
    const NAME: &'static CStr = c"run";
    const DOC: &'static CStr = c"run(failed, everything: bool)\n\nCalls what is in the queue: all that is there \
        now, or that and what is added meanwhile for as long as a turn may take. failed(handle, exception, callback) \
        is called for what raises.";

    fn call<'py>(
        this: &Instance<'py, Queue>,
        args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let [failed, everything] = args else {
            return Err(PyTypeError::new_err("run() takes failed and everything"));
        };
        let (begun, everything) = (Instant::now(), everything.is_truthy()?);
        let most = if everything { this.get().handles.borrow().len() } else { usize::MAX };
        for _ in 0..most {
            if !(everything || begun.elapsed() < SHARE) || !this.get().call_next(py, failed)? {
                break;
            }
        }
        Ok(py.None().into_bound(py))
    }
}

struct Sleep;

impl Method<Queue> for Sleep {
    const NAME: &'static CStr = c"sleep";
    const DOC: &'static CStr =
        c"sleep()\n\nThe turn is over; there will be another one when there is something to do.";

    fn call<'py>(
        this: &Instance<'py, Queue>,
        _args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        this.get().sleep(this.py())?;
        Ok(this.py().None().into_bound(this.py()))
    }
}

struct SetBell;

impl Method<Queue> for SetBell {
    const NAME: &'static CStr = c"bell";
    const DOC: &'static CStr = c"bell(function, posted: bool)\n\nHas function() called from now on when there is \
        something in the queue, on nginx's thread or by whoever adds it: it calls run() and then sleep(), or for \
        somebody who does. None: nobody is called, and what is in it goes.";

    fn call<'py>(
        this: &Instance<'py, Queue>,
        args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let [function, is_posted] = args else {
            return Err(PyTypeError::new_err("bell() takes a function, and whether it is posted"));
        };
        let (py, queue) = (this.py(), this.get());
        let bell = if function.is_none() {
            drop(queue.handles.take());
            None
        } else {
            let (interpreter, function) = (queue.interpreter, (*function).to_owned().unbind());
            Some(Bell {
                function: Callback { interpreter, function },
                is_posted: is_posted.is_truthy()?,
            })
        };
        drop(queue.bell.replace(bell));
        queue.sleep(py)?;
        Ok(py.None().into_bound(py))
    }
}

impl Class for Handle {
    const NAME: &'static CStr = c"ngx_wsgi.native.Handle";
    const DOC: &'static CStr = c"A function that is to be called soon, as asyncio.Handle.";

    fn methods(methods: &mut Methods<Self>) {
        methods.add::<Cancel>().add::<Cancelled>().add::<IsPending>();
    }
}

struct Cancel;

impl Method<Handle> for Cancel {
    const NAME: &'static CStr = c"cancel";
    const DOC: &'static CStr = c"cancel()\n\nIt is not called any more.";

    fn call<'py>(
        this: &Instance<'py, Handle>,
        _args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        this.get().is_cancelled.set(true);
        drop(this.get().call.take());
        Ok(this.py().None().into_bound(this.py()))
    }
}

struct Cancelled;

impl Method<Handle> for Cancelled {
    const NAME: &'static CStr = c"cancelled";
    const DOC: &'static CStr = c"cancelled() -> bool";

    fn call<'py>(
        this: &Instance<'py, Handle>,
        _args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Ok(PyBool::new(this.py(), this.get().is_cancelled.get()).to_owned().into_any())
    }
}

struct IsPending;

impl Method<Handle> for IsPending {
    const NAME: &'static CStr = c"is_pending";
    const DOC: &'static CStr = c"is_pending() -> bool\n\nWhether it is still to be called.";

    fn call<'py>(
        this: &Instance<'py, Handle>,
        _args: &[Borrowed<'_, 'py, PyAny>],
        _keyword: Option<Borrowed<'_, 'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Ok(PyBool::new(this.py(), this.get().call.borrow().is_some()).to_owned().into_any())
    }
}
