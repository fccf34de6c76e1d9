//! Interpreters, and the one way into them.
//!
//! A worker has one main interpreter, made by `runtime::start` after the fork, and a sub-interpreter for
//! each application that is to have one. Both live until the process ends. This file is the only place in
//! the crate that attaches a thread to Python: nginx's, those of the pools, the watchdog's.
//!
//! All interpreters share one GIL. A sub-interpreter is entered by way of the main one: up to Python 3.11
//! PyGILState, which PyO3 attaches with, knows of no other and would wait for ever for a GIL that its own
//! thread holds.

use core::cell::{Cell, RefCell};
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use pyo3::ffi;
use pyo3::prelude::*;

use super::package::{LineLogger, Package};

/// A running interpreter and what belongs to it.
pub struct Interpreter {
    state: *mut ffi::PyInterpreterState,
    package: Package,
}

// SAFETY: the state is an address that is compared, and given to CPython by whoever holds the GIL.
unsafe impl Send for Interpreter {}
// SAFETY: as above.
unsafe impl Sync for Interpreter {}

static MAIN: OnceLock<Interpreter> = OnceLock::new();
static SUBS: Mutex<Vec<&'static Interpreter>> = Mutex::new(Vec::new());
static HAVE_ENDED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// How many times this thread has entered an interpreter, one inside the other.
    static VISITS: Cell<usize> = const { Cell::new(0) };


    /// The thread states of this thread: one for each interpreter that it has been in.
    static THREAD_STATES: RefCell<Vec<ThreadState>> = const { RefCell::new(Vec::new()) };
}

#[derive(Clone, Copy)]
struct ThreadState {
    interpreter: *mut ffi::PyInterpreterState,
    state: *mut ffi::PyThreadState,
}

impl Interpreter {
    /// The main interpreter, if this process has started one and not ended it.
    pub fn main() -> Option<&'static Self> {
        MAIN.get().filter(|main| main.is_running())
    }

    /// All interpreters of the process, the main one last.
    pub(super) fn all() -> Vec<&'static Self> {
        let subs = SUBS.lock().unwrap_or_else(PoisonError::into_inner);
        subs.iter().copied().chain(MAIN.get()).collect()
    }

    /// Notes the main interpreter, which runs, and installs the package in it. To be called detached.
    // Attaching is forbidden everywhere but in this file (clippy.toml).
    #[allow(clippy::disallowed_methods)]
    pub(super) fn started(log: LineLogger) -> PyResult<&'static Self> {
        let interpreter = Python::attach(|py| Self::set_up(py, log, true))?;
        Ok(MAIN.get_or_init(|| interpreter))
    }

    /// Makes a sub-interpreter, which lives until the process ends.
    ///
    /// # Errors
    /// What CPython or the package had to say.
    pub fn new_sub(log: LineLogger) -> Result<&'static Self, String> {
        let main = Self::main().ok_or("Python does not run")?;
        main.enter(|_py| {
            let here = ThreadState::current();
            // SAFETY: attached to the main interpreter. On success the thread is attached to the new one,
            // otherwise it stays where it was.
            let new = unsafe { ffi::Py_NewInterpreter() };
            if new.is_null() {
                return Err("CPython could not make a sub-interpreter".to_owned());
            }
            let _back = SwapBack(here);
            // SAFETY: attached, see above; the token does not outlive this closure.
            let py = unsafe { Python::assume_attached() };
            match Self::set_up(py, log, false).map_err(|error| error.to_string()) {
                Ok(interpreter) => {
                    remember(ThreadState { interpreter: interpreter.state, state: new });
                    let interpreter: &'static Self = Box::leak(Box::new(interpreter));
                    SUBS.lock().unwrap_or_else(PoisonError::into_inner).push(interpreter);
                    Ok(interpreter)
                }
                Err(text) => {
                    // SAFETY: the current thread state is that of the new interpreter, its only one.
                    unsafe { ffi::Py_EndInterpreter(new) };
                    Err(text)
                }
            }
        })
    }

    fn set_up(py: Python<'_>, log: LineLogger, is_main: bool) -> PyResult<Self> {
        // SAFETY: attached; the state lives as long as the interpreter.
        let state = unsafe { ffi::PyInterpreterState_Get() };
        Ok(Self { state, package: Package::install(py, log, is_main)? })
    }

    /// Takes Python and keeps it, so that no thread of an application runs while the process exits. `main`
    /// finds no interpreter from now on.
    pub(super) fn end_all() {
        HAVE_ENDED.store(true, Ordering::Relaxed);
        // SAFETY: the interpreter runs; the state is never released, which is the purpose.
        unsafe { ffi::PyGILState_Ensure() };
    }

    /// Whether Python code may still run in it.
    pub fn is_running(&self) -> bool {
        !HAVE_ENDED.load(Ordering::Relaxed)
    }

    /// The package `ngx_wsgi` of this interpreter.
    pub fn package(&self) -> &Package {
        &self.package
    }

    /// Runs `f` attached to this interpreter, and then goes back to where the thread was: detached, or
    /// attached to this or another interpreter.
    #[allow(clippy::disallowed_methods)]
    pub fn enter<R>(&self, f: impl FnOnce(Python<'_>) -> R) -> R {
        let _visit = Visit::new();
        Python::attach(|py| {
            let here = ThreadState::current();
            if here.interpreter == self.state {
                return f(py);
            }
            let state = self.thread_state(here);
            let _back = SwapBack(here);
            // SAFETY: attached; the state belongs to this thread and to a running interpreter, and the
            // swap is undone, panic or not, after the last use of the token.
            unsafe {
                ffi::PyThreadState_Swap(state);
                f(Python::assume_attached())
            }
        })
    }

    /// Whether this thread has entered one, and not left it yet.
    pub fn is_entered() -> bool {
        VISITS.get() > 0
    }

    /// Runs `f`, detached, in a thread that keeps its state in Python meanwhile: what it enters for is
    /// always the same thread to Python, and `threading.local` keeps its values. To be called once, by a thread
    /// that Python did not make.
    #[allow(clippy::disallowed_methods)]
    pub fn settle(&self, f: impl FnOnce() + Send) {
        Python::attach(|py| {
            py.detach(f);
            {
                let here = ThreadState::current();
                // Taken out first: what the values of threading.local lead to may come back here.
                let states = THREAD_STATES.take();
                for state in states.into_iter().filter(|state| state.state != here.state) {
                    let _back = SwapBack(here);
                    // SAFETY: attached; the state is this thread's own in a running sub-interpreter, and
                    // nothing uses it any more.
                    unsafe {
                        ffi::PyThreadState_Swap(state.state);
                        ffi::PyThreadState_Clear(state.state);
                        ffi::PyThreadState_Swap(here.state);
                        ffi::PyThreadState_Delete(state.state);
                    }
                }
            }
        });
    }

    /// This thread's state in this interpreter. `current` is the one it is in.
    fn thread_state(&self, current: ThreadState) -> *mut ffi::PyThreadState {
        // Where a thread was first is where it may be called back to.
        remember(current);
        let known = THREAD_STATES.with_borrow(|states| {
            states.iter().find(|known| known.interpreter == self.state).map(|known| known.state)
        });
        known.unwrap_or_else(|| {
            // SAFETY: the interpreter runs, and this thread holds the GIL.
            let state = unsafe { ffi::PyThreadState_New(self.state) };
            remember(ThreadState { interpreter: self.state, state });
            state
        })
    }
}

fn remember(state: ThreadState) {
    THREAD_STATES.with_borrow_mut(|states| {
        if !states.iter().any(|known| known.interpreter == state.interpreter) {
            states.push(state);
        }
    });
}

impl ThreadState {
    /// The current one. To be called attached.
    fn current() -> Self {
        // SAFETY: attached.
        unsafe {
            let state = ffi::PyThreadState_Get();
            Self { interpreter: ffi::PyThreadState_GetInterpreter(state), state }
        }
    }
}

/// Counts that this thread has entered an interpreter.
struct Visit;

impl Visit {
    fn new() -> Self {
        VISITS.set(VISITS.get() + 1);
        Self
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        VISITS.set(VISITS.get() - 1);
    }
}

/// Goes back to this thread state when it is dropped, attached to whatever interpreter.
struct SwapBack(ThreadState);

impl Drop for SwapBack {
    fn drop(&mut self) {
        // SAFETY: the state is this thread's; nothing of the interpreter that is left is used after it.
        unsafe { ffi::PyThreadState_Swap(self.0.state) };
    }
}
