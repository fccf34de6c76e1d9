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
    /// nginx's thread is at it; an answer that comes meanwhile waits until it has done.
    Doing(Option<A>),
    /// Done, and not answered.
    Done,
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

    /// For nginx's thread: does the call that waits, if there is one. The thread that placed it does not get an
    /// answer before that is over, whatever happens meanwhile.
    pub fn attend(&self, f: impl FnOnce(C)) {
        let mut state = lock(&self.state);
        let call = match core::mem::replace(&mut *state, State::Doing(None)) {
            State::Placed(call) => call,
            other => {
                *state = other;
                return;
            }
        };
        drop(state);
        let _over = Over(self);
        f(call);
    }

    /// For nginx's thread: answers a call that it has taken; the first answer counts. Without one nobody waits.
    pub fn answer(&self, answer: A) {
        let mut state = lock(&self.state);
        match &mut *state {
            State::Doing(waiting @ None) => *waiting = Some(answer),
            State::Done => {
                *state = State::Answered(answer);
                drop(state);
                self.answered.notify_one();
            }
            State::Empty | State::Placed(_) | State::Doing(Some(_)) | State::Answered(_) => {}
        }
    }
}

/// The call has been done, or has panicked.
struct Over<'a, C, A>(&'a Desk<C, A>);

impl<C, A> Drop for Over<'_, C, A> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        if let State::Doing(answer) = core::mem::replace(&mut *state, State::Done)
            && let Some(answer) = answer
        {
            *state = State::Answered(answer);
            self.0.answered.notify_one();
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
            // The first is answered while it is done, the second afterwards.
            let mut done = 0;
            while done < 2 {
                let mut call = None;
                desk.attend(|placed| {
                    if placed == 1 {
                        desk.answer(10);
                    }
                    call = Some(placed);
                });
                match call {
                    Some(call) => {
                        desk.answer(call * 10);
                        desk.answer(99);
                        done += 1;
                    }
                    None => thread::yield_now(),
                }
            }
            assert_eq!(caller.join().unwrap(), (10, 20));
        });
    }
}
