//! Blocks that nginx is done with, on their way back to Python.
//!
//! nginx's thread must not wait for the GIL, so it cannot drop them; the threads of the pools do, whenever
//! they have the GIL anyway. For much memory one of them is called.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

use pyo3::Python;

use crate::block::Block;
use crate::handover::lock;
use crate::py::PyBlock;

use super::task::Task;

static BLOCKS: Mutex<Vec<PyBlock>> = Mutex::new(Vec::new());
/// How many bytes wait.
static BYTES: AtomicUsize = AtomicUsize::new(0);

/// So many may wait until a thread comes by.
const PATIENCE: usize = 64 * 1024;

/// Lets go of blocks of `task`, on any thread.
pub fn discard(task: &Task, blocks: Vec<PyBlock>) {
    let mut blocks: Vec<_> = blocks.into_iter().filter(PyBlock::needs_python).collect();
    if blocks.is_empty() {
        return;
    }
    let length: usize = blocks.iter().map(|block| block.as_bytes().len()).sum();
    lock(&BLOCKS).append(&mut blocks);
    if BYTES.fetch_add(length, Ordering::Relaxed) + length > PATIENCE
        && let Some(pool) = &task.service.pool
    {
        pool.queue().nudge();
    }
}

/// For a thread that is attached: drops what waits.
pub fn empty(_py: Python<'_>) {
    if BYTES.load(Ordering::Relaxed) > 0 {
        BYTES.store(0, Ordering::Relaxed);
        let blocks = core::mem::take(&mut *lock(&BLOCKS));
        drop(blocks);
    }
}
