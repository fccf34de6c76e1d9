//! Python objects owned by nginx's structures.
//!
//! Pools and configurations are destroyed by nginx without a thought for Python. `Owned` makes that
//! safe: its drop enters the interpreter first.

use pyo3::Python;

use super::Interpreter;

/// A value with references to objects of one interpreter inside, which may be dropped anywhere: its drop waits
/// for the GIL, unless the thread has it.
pub struct Owned<T> {
    interpreter: &'static Interpreter,
    value: Option<T>,
}

impl<T> Owned<T> {
    /// Takes the value over. Its objects are those of `interpreter`.
    pub fn new(interpreter: &'static Interpreter, value: T) -> Self {
        Self { interpreter, value: Some(value) }
    }

    /// The value; proof of being attached is asked for, because nearly everything done with it needs it.
    pub fn get(&self, _py: Python<'_>) -> &T {
        match &self.value {
            Some(value) => value,
            None => unreachable!("an Owned is empty only inside its own drop"),
        }
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        let value = self.value.take();
        if self.interpreter.is_running() {
            self.interpreter.enter(|_py| drop(value));
        } else {
            // Its objects are gone with the process.
            core::mem::forget(value);
        }
    }
}
