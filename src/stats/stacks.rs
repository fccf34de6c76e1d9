//! Python stacks of what runs in other workers.
//!
//! Who asks counts a number in the table up and wakes a thread of each worker. That writes the stacks of
//! its worker's requests into the table, and then the number that it has answered.

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use crate::shared;

use super::flight::{State, read_all};
use super::table::{STACKS, Table};
use super::{Here, here};

/// Asks all workers. The number is for `have_answered`. `None` if there is no table.
pub fn ask() -> Option<u32> {
    let asked = &here()?.table.head.asked;
    let number = asked.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
    shared::wake(asked);
    Some(number)
}

/// Whether all workers that live have answered the question, or a later one.
pub fn have_answered(number: u32) -> bool {
    here().is_none_or(|here| here.table.alive().all(|(_, slot)| is_answer(&slot.answered, number)))
}

pub(super) fn has_answered(table: &Table, slot: usize, number: u32) -> bool {
    is_answer(&table.slots[slot].answered, number)
}

fn is_answer(answered: &AtomicU32, number: u32) -> bool {
    answered.load(Ordering::Acquire).wrapping_sub(number).cast_signed() >= 0
}

/// Whether this process has been asked and has not answered.
#[cfg(test)]
pub fn stacks_asked() -> bool {
    here().is_some_and(|Here { table, slot, .. }| {
        slot.is_some_and(|slot| {
            let asked = table.head.asked.load(Ordering::Acquire);
            !is_answer(&table.slots[slot].answered, asked)
        })
    })
}

/// Waits until this process is asked. False if it cannot be asked at all.
pub fn wait_for_question() -> bool {
    loop {
        let Some(Here { table, slot: Some(slot), .. }) = here() else { return false };
        let asked = table.head.asked.load(Ordering::Acquire);
        if !is_answer(&table.slots[slot].answered, asked) {
            return true;
        }
        // Not for ever: a single process may get another table.
        shared::wait_for_change(&table.head.asked, asked, Duration::from_secs(60));
    }
}

/// An answer being written. Its drop says that it is complete. One thread of a process makes one at a time.
pub struct Dump {
    table: Table,
    slot: usize,
    number: u32,
}

/// A request that an answer may tell about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    index: usize,
    sequence: u32,
    /// The thread, as Python calls it.
    pub ident: u64,
}

impl Dump {
    /// Begins the answer to what this process has been asked. `None` if it cannot be asked.
    pub fn begin() -> Option<Self> {
        let Here { table, slot, .. } = here()?;
        let number = table.head.asked.load(Ordering::Acquire);
        table.slots[slot?].stacks.store(0, Ordering::Release);
        Some(Self { table, slot: slot?, number })
    }

    /// This process' requests that have a thread.
    pub fn running(&self) -> Vec<Running> {
        read_all(&self.table, self.slot)
            .into_iter()
            .filter(|read| read.ident != 0)
            .filter(|read| matches!(read.state, State::Running | State::Sending))
            .map(|read| Running { index: read.index, sequence: read.sequence, ident: read.ident })
            .collect()
    }

    /// Adds the stack of a request; the end of it, which is the innermost, if it is too long.
    pub fn write(&self, running: Running, text: &str) {
        let stacks = &self.table.slots[self.slot].stacks;
        let count = stacks.load(Ordering::Relaxed) as usize;
        if count >= STACKS {
            return;
        }
        let row = &self.table.stacks(self.slot)[count];
        row.flight.store(u32::try_from(running.index).unwrap_or(u32::MAX), Ordering::Relaxed);
        row.sequence.store(running.sequence, Ordering::Relaxed);
        let room = shared::Text::<512>::ROOM;
        if text.len() > room {
            let start = text.ceil_char_boundary_from(text.len() - (room - CUT.len()));
            row.text.set(format!("{CUT}{}", &text[start..]).as_bytes());
        } else {
            row.text.set(text.as_bytes());
        }
        stacks.store(u32::try_from(count + 1).unwrap_or(0), Ordering::Release);
    }
}

/// In front of a stack whose outer part is missing.
const CUT: &str = "...\n";

/// `str::ceil_char_boundary`, which is newer than the oldest compiler that we take.
trait CharBoundary {
    fn ceil_char_boundary_from(&self, at: usize) -> usize;
}

impl CharBoundary for str {
    fn ceil_char_boundary_from(&self, at: usize) -> usize {
        (at..self.len()).find(|at| self.is_char_boundary(*at)).unwrap_or(self.len())
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        self.table.slots[self.slot].answered.store(self.number, Ordering::Release);
    }
}

/// The stack of a request in an answer of its process to this question or a later one.
pub(super) fn read(table: &Table, slot: usize, index: usize, sequence: u32) -> Option<String> {
    let count = table.slots[slot].stacks.load(Ordering::Acquire) as usize;
    let row = table.stacks(slot)[..count.min(STACKS)].iter().find(|row| {
        row.flight.load(Ordering::Relaxed) as usize == index
            && row.sequence.load(Ordering::Relaxed) == sequence
    })?;
    Some(String::from_utf8_lossy(&row.text.get()).into_owned())
}
