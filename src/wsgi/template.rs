//! A dictionary that requests copy to get their environ.
//!
//! It has what is the same for all requests of a location, and of the rest what the last request had: only
//! what differs is to be set.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::py::{latin1, set};

use super::memo::Memo;

/// How many entries every request has, and a template as the last request had them.
pub const USUAL: usize = 8;

/// The dictionary, and what it has of the last request.
pub struct Template {
    dict: Py<PyDict>,
    /// How many entries a copy takes before it grows.
    room: usize,
    usual: [Memo; USUAL],
}

impl Template {
    /// A template with the entries of `dict`.
    pub fn new(dict: Bound<'_, PyDict>) -> Self {
        let length = dict.len();
        Self::with_room(dict, usable(length) - length)
    }

    /// The same with room for more: a dictionary that was larger once stays so, and so do its copies.
    pub fn roomy(dict: Bound<'_, PyDict>) -> PyResult<Self> {
        let (length, larger) = (dict.len(), usable(dict.len()) + 1);
        (length..larger).try_for_each(|number| dict.set_item(format!("room {number}"), number))?;
        // Popped entries leave nothing behind; with many deleted ones CPython would copy one by one.
        (length..larger).try_for_each(|_| dict.call_method0("popitem").map(drop))?;
        Ok(Self::with_room(dict, usable(larger) - length))
    }

    fn with_room(dict: Bound<'_, PyDict>, room: usize) -> Self {
        Self { dict: dict.unbind(), room, usual: Default::default() }
    }

    /// How many entries a copy takes before it grows.
    pub fn room(&self) -> usize {
        self.room
    }

    /// The dictionary that is copied.
    pub fn dict<'py>(&self, py: Python<'py>) -> &Bound<'py, PyDict> {
        self.dict.bind(py)
    }

    /// Gives it the entries that every request has.
    pub fn renew(&self, py: Python<'_>, usual: &[(&Py<PyString>, &[u8]); USUAL]) -> PyResult<()> {
        for (memo, (key, value)) in self.usual.iter().zip(usual) {
            if !memo.is(py, value) {
                let text = latin1(py, value)?;
                set(self.dict.bind(py), key, &text)?;
                memo.keep(&text);
            }
        }
        Ok(())
    }

    /// The string that the entry `index` of those has, if it is that of `value`, or else a new one.
    pub fn usual<'py>(
        &self,
        py: Python<'py>,
        index: usize,
        value: &[u8],
    ) -> PyResult<Bound<'py, PyString>> {
        self.usual[index].last(py, value).map_or_else(|| latin1(py, value), Ok)
    }
}

/// How many entries a dictionary of `length` has room for: CPython fills two thirds of a table whose size is a
/// power of two.
fn usable(length: usize) -> usize {
    let mut usable = (3..usize::BITS - 1).map(|bits| (2 << bits) / 3);
    usable.find(|usable| *usable >= length).unwrap_or(length)
}
