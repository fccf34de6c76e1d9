//! The GIL, held for longer than a visit of an interpreter.

use core::marker::PhantomData;

use pyo3::ffi;

use super::interpreter::Interpreter;

/// The GIL in the hands of this thread, until it is dropped: who enters an interpreter meanwhile has not to wait
/// for it.
pub struct Gil(PhantomData<*const ()>);

impl Gil {
    /// Takes it. `None` if this thread has entered an interpreter, or Python does not run.
    pub fn take() -> Option<Self> {
        // Inside of a sub-interpreter PyGILState would wait for ever for what its own thread holds.
        if Interpreter::is_entered() {
            return None;
        }
        Interpreter::main()?;
        // SAFETY: the interpreter runs.
        match unsafe { ffi::PyGILState_Ensure() } {
            ffi::PyGILState_STATE::PyGILState_UNLOCKED => Some(Self(PhantomData)),
            state => {
                // SAFETY: undoes the call above.
                unsafe { ffi::PyGILState_Release(state) };
                None
            }
        }
    }

    /// Whether no other thread has a state in any interpreter. One that is about to make its first is not seen.
    pub fn is_wanted_by_nobody(&self) -> bool {
        // SAFETY: this thread holds the GIL, without which no interpreter and no thread state goes. A new state is
        // put in front of the list without it, by one pointer, which is either seen or not.
        unsafe {
            let mut interpreter = ffi::PyInterpreterState_Head();
            while !interpreter.is_null() {
                let first = ffi::PyInterpreterState_ThreadHead(interpreter);
                if !first.is_null() && !ffi::PyThreadState_Next(first).is_null() {
                    return false;
                }
                interpreter = ffi::PyInterpreterState_Next(interpreter);
            }
        }
        true
    }
}

impl Drop for Gil {
    fn drop(&mut self) {
        // SAFETY: taken by `take` on this thread, which the type does not leave.
        unsafe { ffi::PyGILState_Release(ffi::PyGILState_STATE::PyGILState_UNLOCKED) };
    }
}
