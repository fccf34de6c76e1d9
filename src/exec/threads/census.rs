//! How many threads of this worker, of all its pools together, have nothing to do.
//!
//! Counted by nginx's thread, of what it hears anyway: a request that it gives to a pool takes a thread or
//! waits for one, and the message that a thread leaves a request makes room again. So no thread has to tell
//! that it is idle.

use core::cell::Cell;

use crate::workers;

use super::Pool;

thread_local! {
    /// Idle threads, and all of them.
    static COUNT: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// A pool has so many threads.
pub fn start(threads: usize) {
    change(|(idle, all)| (idle + threads, all + threads));
}

/// A request has been given to `pool`.
pub fn enter(pool: &Pool) {
    if pool.enter() {
        change(|(idle, all)| (idle - 1, all));
    }
}

/// A request has left `pool`: a thread has done with it, or it was withdrawn.
pub fn leave(pool: &Pool) {
    if pool.leave() {
        change(|(idle, all)| (idle + 1, all));
    }
}

fn change(f: impl FnOnce((usize, usize)) -> (usize, usize)) {
    let (idle, all) = f(COUNT.get());
    COUNT.set((idle, all));
    workers::note_threads(idle, all);
}
