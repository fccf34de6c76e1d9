//! Python objects owned by nginx's structures.
//!
//! Pools and configurations are destroyed by nginx without a thought for Python. `Owned` makes that
//! safe: its drop enters the interpreter first.

use pyo3::Python;

use super::Interpreter;

/// A value with Python references inside, which may be dropped anywhere on nginx's thread.
pub struct Owned<T>(Option<T>);

impl<T> Owned<T> {
    /// Takes the value over.
    pub fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// The value; proof of being attached is asked for, because nearly everything done with it needs it.
    pub fn get(&self, _py: Python<'_>) -> &T {
        match &self.0 {
            Some(value) => value,
            None => unreachable!("an Owned is empty only inside its own drop"),
        }
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        match Interpreter::main() {
            Some(interpreter) => interpreter.enter(|_py| drop(value)),
            // The interpreter has ended: its objects are gone with the process.
            None => core::mem::forget(value),
        }
    }
}
