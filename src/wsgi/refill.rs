//! environ of one request, filled in entry by entry.
//!
//! It is a copy of a template, or the dictionary of an earlier request: one that the application has neither
//! kept nor changed. Such a one has most entries as they are to be, since clients send the same headers again and
//! again; only what differs is set.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::py::{latin1, latin1_bytes, references, set, set_default, version};

use super::keys::{Header, LONGEST};
use super::memo::has;

/// With more of them a dictionary is not kept: few requests have so many, and it would stay large.
const MOST: usize = 64;

/// The entry of a request.
struct Entry {
    /// Of a header, in lower case.
    name: Option<Box<[u8]>>,
    key: Py<PyString>,
    value: Py<PyAny>,
    /// Whether the value may be kept for longer than the request.
    may_stay: bool,
}

/// A dictionary that is filled, and what was set in it. To be dropped while attached.
pub struct Refill {
    dict: Py<PyDict>,
    /// In the order in which they were set; no key comes twice.
    entries: Vec<Entry>,
    /// Of the dictionary when it was filled.
    version: u64,
    /// The number of the templates that it is made of.
    of: u64,
}

/// A dictionary while it is filled.
pub struct Entries<'a, 'py> {
    dict: Bound<'py, PyDict>,
    /// What the dictionary is without the entries. Those that every request has come first, so that they are
    /// always followed and their values in the template, which are another request's, are never asked for.
    template: &'a Bound<'py, PyDict>,
    entries: Vec<Entry>,
    mode: Mode,
}

#[derive(Clone, Copy)]
enum Mode {
    /// So many entries are those of the request; the others are what an earlier one had.
    Following(usize),
    /// What is set is noted.
    Noting,
    /// The dictionary is for this request only.
    Setting,
}

/// What a copy of the template has of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// The value of this request.
    Same,
    /// Another value, or none.
    Other,
}

impl Refill {
    /// How many references it has to each value: the entry's, and the dictionary's.
    pub const REFERENCES: isize = 2;

    /// Whether it can be filled again for a request of the templates `number`.
    pub fn fits(&self, py: Python<'_>, number: u64) -> bool {
        self.of == number && self.is_untouched(py)
    }

    /// Whether nobody else has the dictionary, and it is as it was filled. The collector of garbage shows it to
    /// whoever asks, even while it rests.
    fn is_untouched(&self, py: Python<'_>) -> bool {
        references(&self.dict) == 1 && version(self.dict.bind(py)) == Some(self.version)
    }

    /// It again, if the application has neither kept nor changed it; secrets are taken out.
    pub fn rest(mut self, py: Python<'_>) -> Option<Self> {
        if self.entries.len() > MOST || !self.is_untouched(py) {
            return None;
        }
        let (dict, empty) = (self.dict.bind(py), PyString::new(py, ""));
        for entry in self.entries.iter_mut().filter(|entry| !entry.may_stay) {
            set(dict, &entry.key, &empty).ok()?;
            entry.value = empty.clone().into_any().unbind();
        }
        self.version = version(dict)?;
        Some(self)
    }
}

impl<'a, 'py> Entries<'a, 'py> {
    /// Fills a copy of `template`. `notes`: what is set is noted, so that the dictionary can be filled again.
    pub fn copy(template: &'a Bound<'py, PyDict>, notes: bool) -> PyResult<Self> {
        let dict = template.copy()?;
        let is_possible = notes && version(&dict).is_some();
        let mode = if is_possible { Mode::Noting } else { Mode::Setting };
        Ok(Self { dict, template, entries: Vec::new(), mode })
    }

    /// Fills one again.
    pub fn again(template: &'a Bound<'py, PyDict>, refill: Refill) -> Self {
        let Refill { dict, entries, .. } = refill;
        let dict = dict.into_bound(template.py());
        Self { dict, template, entries, mode: Mode::Following(0) }
    }

    /// The dictionary, and what it takes to fill it again, if that is possible. `of`: the number of the templates.
    pub fn finish(self, of: u64) -> (Bound<'py, PyDict>, Option<Refill>) {
        let version = version(&self.dict).filter(|_| !matches!(self.mode, Mode::Setting));
        let refill = version.map(|version| Refill {
            dict: self.dict.clone().unbind(),
            entries: self.entries,
            version,
            of,
        });
        (self.dict, refill)
    }

    /// All are set. Whether they are those of the earlier request.
    pub fn end(&mut self) -> PyResult<bool> {
        let is_end = matches!(self.mode, Mode::Following(at) if at == self.entries.len());
        if !is_end {
            self.leave()?;
        }
        Ok(is_end)
    }

    /// Sets an entry to the string of `value`, made by `text` if it has to be. `may_stay` is the same for all values
    /// of a key.
    #[inline]
    pub fn text(
        &mut self,
        key: &Py<PyString>,
        value: &[u8],
        copied: Copied,
        may_stay: bool,
        text: impl FnOnce() -> PyResult<Bound<'py, PyString>>,
    ) -> PyResult<()> {
        if let Some(index) = self.follow(|entry| entry.key.is(key))? {
            if !self.entries[index].is(self.dict.py(), value) {
                self.replace(index, text()?.as_any())?;
            }
            return Ok(());
        }
        if copied == Copied::Same && matches!(self.mode, Mode::Setting) {
            return Ok(());
        }
        self.set(key, text()?.as_any(), copied, may_stay)
    }

    /// Sets an entry, which a copy of the template does not have, to the string of `value`.
    pub fn new_text(
        &mut self,
        py: Python<'py>,
        key: &Py<PyString>,
        value: &[u8],
        may_stay: bool,
    ) -> PyResult<()> {
        self.text(key, value, Copied::Other, may_stay, || latin1(py, value))
    }

    /// Sets an entry to `value`.
    #[inline]
    pub fn object<T>(
        &mut self,
        key: &Py<PyString>,
        value: &Bound<'py, T>,
        copied: Copied,
        may_stay: bool,
    ) -> PyResult<()> {
        let value = value.as_any();
        if let Some(index) = self.follow(|entry| entry.key.is(key))? {
            if !self.entries[index].value.is(value) {
                self.entries[index].may_stay = may_stay;
                self.replace(index, value)?;
            }
            return Ok(());
        }
        self.set(key, value, copied, may_stay)
    }

    /// Whether the next entry is that of the header `name`, which is set to `value` then. Headers that have no
    /// entry are to be asked for too.
    #[inline]
    pub fn has_header(&mut self, name: &[u8], value: &[u8]) -> PyResult<bool> {
        let Mode::Following(at) = self.mode else { return Ok(false) };
        let Some(entry) = self.entries.get_mut(at) else { return Ok(false) };
        if entry.name.as_deref() != Some(name) {
            return Ok(false);
        }
        if !entry.is(self.dict.py(), value) {
            entry.may_stay &= value.len() <= LONGEST;
            self.replace(at, latin1(self.dict.py(), value)?.as_any())?;
        }
        self.mode = Mode::Following(at + 1);
        Ok(true)
    }

    /// Sets the entry of a header. Returns its first value instead if it has been set.
    pub fn header(
        &mut self,
        name: &[u8],
        header: &Header<'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.leave()?;
        let first = set_default(&self.dict, &header.key, &header.value)?;
        match first {
            Some(_) => self.mode = Mode::Setting,
            None => self.note(
                Some(name),
                header.key.as_unbound(),
                header.value.as_any(),
                header.may_stay,
            ),
        }
        Ok(first)
    }

    /// To be called before `key` is set if that may be the key of an earlier entry, too.
    pub fn claim(&mut self, key: &Py<PyString>) -> PyResult<()> {
        let py = self.dict.py();
        if matches!(self.mode, Mode::Following(at) if self.entries.get(at).is_some_and(|entry| entry.key.is(key)))
        {
            return Ok(());
        }
        self.leave()?;
        if self.entries.iter().any(|entry| is_same(entry.key.bind(py), key.bind(py))) {
            self.give_up()?;
        }
        Ok(())
    }

    /// Replaces an entry that has been set.
    pub fn overwrite(
        &mut self,
        key: &Bound<'py, PyString>,
        value: &Bound<'py, PyString>,
    ) -> PyResult<()> {
        self.give_up()?;
        self.dict.set_item(key, value)
    }

    /// Takes an entry out, if there is one.
    pub fn remove(&mut self, key: &Py<PyString>) -> PyResult<()> {
        if self.dict.contains(key)? {
            self.give_up()?;
            if self.dict.contains(key)? {
                self.dict.del_item(key)?;
            }
        }
        Ok(())
    }

    /// The index of the next entry, if it is the right one. Otherwise this request goes another way.
    #[inline]
    fn follow(&mut self, is_right: impl FnOnce(&Entry) -> bool) -> PyResult<Option<usize>> {
        let Mode::Following(at) = self.mode else { return Ok(None) };
        if self.entries.get(at).is_some_and(is_right) {
            self.mode = Mode::Following(at + 1);
            return Ok(Some(at));
        }
        self.leave()?;
        Ok(None)
    }

    fn replace(&mut self, index: usize, value: &Bound<'py, PyAny>) -> PyResult<()> {
        set(&self.dict, &self.entries[index].key, value)?;
        self.entries[index].value = value.clone().unbind();
        Ok(())
    }

    fn set(
        &mut self,
        key: &Py<PyString>,
        value: &Bound<'py, PyAny>,
        copied: Copied,
        may_stay: bool,
    ) -> PyResult<()> {
        if copied == Copied::Other {
            set(&self.dict, key, value)?;
        }
        self.note(None, key, value, may_stay);
        Ok(())
    }

    /// Notes what has been set.
    fn note(
        &mut self,
        name: Option<&[u8]>,
        key: &Py<PyString>,
        value: &Bound<'py, PyAny>,
        may_stay: bool,
    ) {
        if matches!(self.mode, Mode::Noting) {
            let (key, value) = (key.clone_ref(self.dict.py()), value.clone().unbind());
            self.entries.push(Entry { name: name.map(Box::from), key, value, may_stay });
        }
    }

    /// The entries from here on are not those of the earlier request: takes these out.
    fn leave(&mut self) -> PyResult<()> {
        let Mode::Following(at) = self.mode else { return Ok(()) };
        for entry in self.entries.drain(at..) {
            match self.template.get_item(&entry.key)? {
                Some(value) => set(&self.dict, &entry.key, &value)?,
                None => self.dict.del_item(&entry.key)?,
            }
        }
        self.mode = Mode::Noting;
        Ok(())
    }

    /// The dictionary is for this request only.
    pub fn give_up(&mut self) -> PyResult<()> {
        self.leave()?;
        self.mode = Mode::Setting;
        Ok(())
    }
}

impl Entry {
    /// Whether the value is the string of `value`.
    #[inline]
    fn is(&self, py: Python<'_>, value: &[u8]) -> bool {
        self.value.bind(py).cast::<PyString>().is_ok_and(|text| has(text, value))
    }
}

fn is_same(one: &Bound<'_, PyString>, other: &Bound<'_, PyString>) -> bool {
    matches!((latin1_bytes(one), latin1_bytes(other)), (Ok(one), Ok(other)) if one == other)
}
