//! Where a thread that works for a request waits for nginx's answer.

use super::sync::{Condvar, Mutex, lock, wait};

/// A desk with room for one call. The thread places it and waits; nginx's thread takes it, does it, and
/// answers, perhaps much later.
pub struct Desk<C, A> {
    state: Mutex<State<C, A>>,
    answered: Condvar,
}

enum State<C, A> {
    Empty,
    Placed(C),
    Taken,
    Answered(A),
}

impl<C, A> Desk<C, A> {
    /// An empty desk.
    pub fn new() -> Self {
        Self { state: Mutex::new(State::Empty), answered: Condvar::new() }
    }

    /// For the thread: places a call, of which nginx's thread is to be told.
    pub fn place(&self, call: C) {
        *lock(&self.state) = State::Placed(call);
    }

    /// For the thread: waits for the answer to what it has placed.
    pub fn wait(&self) -> A {
        let mut state = lock(&self.state);
        loop {
            match core::mem::replace(&mut *state, State::Empty) {
                State::Answered(answer) => return answer,
                other => *state = other,
            }
            state = wait(&self.answered, state);
        }
    }

    /// For nginx's thread: takes the call, to do it and to answer.
    pub fn take(&self) -> Option<C> {
        let mut state = lock(&self.state);
        match core::mem::replace(&mut *state, State::Empty) {
            State::Placed(call) => {
                *state = State::Taken;
                Some(call)
            }
            other => {
                *state = other;
                None
            }
        }
    }

    /// For nginx's thread: answers a call that it has taken. Without one nobody waits.
    pub fn answer(&self, answer: A) {
        let mut state = lock(&self.state);
        if matches!(*state, State::Taken) {
            *state = State::Answered(answer);
            self.answered.notify_one();
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
        f();
    }

    /// An answer that nobody waits for is dropped; each call gets its own.
    #[test]
    fn calls_and_answers() {
        model(|| {
            let desk = Arc::new(Desk::<u8, u8>::new());
            let caller = {
                let desk = Arc::clone(&desk);
                thread::spawn(move || {
                    desk.place(1);
                    let first = desk.wait();
                    desk.place(2);
                    (first, desk.wait())
                })
            };
            desk.answer(0);
            for _ in 0..2 {
                let call = loop {
                    match desk.take() {
                        Some(call) => break call,
                        None => thread::yield_now(),
                    }
                };
                desk.answer(call * 10);
                desk.answer(99);
            }
            assert_eq!(caller.join().unwrap(), (10, 20));
        });
    }
}
