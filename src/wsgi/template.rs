//! A dictionary that requests copy to get their environ.
//!
//! It has what is the same for all requests of a location, and of the rest what the last request had: only
//! what differs is to be set.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::py::{latin1, set};

use super::environ::Parts;
use super::keys::Keys;
use super::memo::Memo;

/// The dictionary, and what it has of the last request.
pub struct Template {
    dict: Py<PyDict>,
    /// How many entries a copy takes before it grows.
    room: usize,
    script_name: Memo,
    path_info: Memo,
    query_string: Memo,
    request_uri: Memo,
    server_addr: Memo,
    server_port: Memo,
    remote_addr: Memo,
    remote_port: Memo,
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
        Self {
            dict: dict.unbind(),
            room,
            script_name: Memo::default(),
            path_info: Memo::default(),
            query_string: Memo::default(),
            request_uri: Memo::default(),
            server_addr: Memo::default(),
            server_port: Memo::default(),
            remote_addr: Memo::default(),
            remote_port: Memo::default(),
        }
    }

    /// How many entries a copy takes before it grows.
    pub fn room(&self) -> usize {
        self.room
    }

    /// A copy for the request of `parts`, with the entries that this knows of.
    pub fn copy<'py, H, V>(
        &self,
        py: Python<'py>,
        keys: &Keys,
        parts: &Parts<'_, H, V>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let dict = self.dict.bind(py);
        let renew = |memo: &Memo, key: &Py<PyString>, value: &[u8]| {
            if !memo.is(py, value) {
                let text = latin1(py, value)?;
                set(dict, key, &text)?;
                memo.keep(&text);
            }
            PyResult::Ok(())
        };
        renew(&self.script_name, &keys.script_name, parts.script_name)?;
        renew(&self.path_info, &keys.path_info, parts.path_info)?;
        renew(&self.query_string, &keys.query_string, parts.query_string)?;
        renew(&self.request_uri, &keys.request_uri, parts.request_uri)?;
        renew(&self.server_addr, &keys.server_addr, parts.server_addr)?;
        renew(&self.server_port, &keys.server_port, parts.server_port)?;
        renew(&self.remote_addr, &keys.remote_addr, parts.remote_addr)?;
        renew(&self.remote_port, &keys.remote_port, parts.remote_port.unwrap_or_default())?;
        let copy = dict.copy()?;
        if parts.remote_port.is_none() {
            copy.del_item(&keys.remote_port)?;
        }
        Ok(copy)
    }
}

/// How many entries a dictionary of `length` has room for: CPython fills two thirds of a table whose size is a
/// power of two.
fn usable(length: usize) -> usize {
    let mut usable = (3..usize::BITS - 1).map(|bits| (2 << bits) / 3);
    usable.find(|usable| *usable >= length).unwrap_or(length)
}
