//! Bytes on their way from nginx's thread to a thread that waits for them.
//!
//! The thread says how many it wants, and nginx's thread gives no more than that. What nobody has asked for
//! stays with nginx, and so, before long, with the client.

use super::sync::{Condvar, Mutex, lock, wait};

/// A pipe with one reader. `E` says how it ends.
pub struct Pipe<E> {
    state: Mutex<State<E>>,
    changed: Condvar,
}

struct State<E> {
    bytes: Vec<u8>,
    /// How many the reader waits for; 0: it does not wait.
    wanted: usize,
    /// How many it takes at once.
    most: usize,
    end: Option<E>,
}

impl<E: Copy> Pipe<E> {
    /// An empty pipe.
    pub fn new() -> Self {
        let state = State { bytes: Vec::new(), wanted: 0, most: 0, end: None };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// For the reader: puts at least the next `wanted` bytes into `bytes`, which is empty, at most `most`, or
    /// as many as there are before the end, and waits for them. `call` tells nginx's thread. The end, if it
    /// has come.
    pub fn take(
        &self,
        wanted: usize,
        most: usize,
        bytes: &mut Vec<u8>,
        call: impl FnOnce(),
    ) -> Option<E> {
        let mut state = lock(&self.state);
        if state.end.is_none() {
            // Their memory is used again.
            core::mem::swap(&mut state.bytes, bytes);
            state.wanted = wanted;
            state.most = most;
            drop(state);
            call();
            state = lock(&self.state);
            while state.wanted > 0 && state.end.is_none() {
                state = wait(&self.changed, state);
            }
            state.wanted = 0;
            core::mem::swap(&mut state.bytes, bytes);
        }
        state.end
    }

    /// For nginx's thread: has `give` append to the bytes, at most so many, if the reader waits for some.
    /// False if it has added none.
    pub fn give(&self, give: impl FnOnce(&mut Vec<u8>, usize)) -> bool {
        let mut state = lock(&self.state);
        let before = state.bytes.len();
        let room = state.most.saturating_sub(before);
        if state.wanted == 0 || room == 0 {
            return false;
        }
        give(&mut state.bytes, room);
        if state.bytes.len() >= state.wanted {
            state.wanted = 0;
            self.changed.notify_one();
        }
        state.bytes.len() > before
    }

    /// Nothing follows. The first end counts.
    pub fn end(&self, end: E) {
        let mut state = lock(&self.state);
        if state.end.is_none() {
            state.end = Some(end);
            self.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sync::Arc;
    use super::*;

    #[cfg(loom)]
    use loom::{model, thread};
    #[cfg(not(loom))]
    use std::thread;

    #[cfg(not(loom))]
    fn model(f: impl Fn()) {
        (0..100).for_each(|_| f());
    }

    /// Every byte arrives once and in order, no more of them than were asked for, and the end after them.
    #[test]
    fn bytes_arrive_as_they_are_asked_for() {
        model(|| {
            let pipe = Arc::new(Pipe::<char>::new());
            let reader = {
                let pipe = Arc::clone(&pipe);
                thread::spawn(move || {
                    let (mut first, mut second) = (Vec::new(), Vec::new());
                    let ends =
                        [pipe.take(2, 2, &mut first, || {}), pipe.take(9, 9, &mut second, || {})];
                    (first, second, ends[1])
                })
            };
            let mut rest = b"abc".to_vec();
            while !rest.is_empty() {
                let has_given = pipe.give(|bytes, most| {
                    let part = rest.drain(..most.min(rest.len()).min(1));
                    bytes.extend(part);
                });
                if !has_given {
                    thread::yield_now();
                }
            }
            pipe.end('x');
            pipe.end('y');
            assert_eq!(reader.join().unwrap(), (b"ab".to_vec(), b"c".to_vec(), Some('x')));
            assert!(!pipe.give(|_, _| unreachable!("nobody waits")));
        });
    }

    /// A reader that waits learns of the end, whenever it comes.
    #[test]
    fn the_end_wakes_the_reader() {
        model(|| {
            let pipe = Arc::new(Pipe::<char>::new());
            let reader = {
                let pipe = Arc::clone(&pipe);
                thread::spawn(move || pipe.take(1, 8, &mut Vec::new(), || {}))
            };
            pipe.end('x');
            assert_eq!(reader.join().unwrap(), Some('x'));
        });
    }
}
