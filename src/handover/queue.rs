//! The requests that wait for a thread of a pool, first come, first served.
//!
//! A thread that is woken has to take the GIL before it takes a request. Threads that are awake meanwhile
//! would only fight for it, so there is at most one that was woken and has not come yet; it wakes the next.
//! The one that went to sleep last is woken first: where few are enough the same few work, and what they use
//! is still in the processor's cache.

use std::collections::VecDeque;

use super::sync::{Arc, Condvar, Mutex, MutexGuard, lock, wait};

/// A queue in front of `threads` threads.
pub struct Queue<T> {
    state: Mutex<State<T>>,
    threads: usize,
    /// How many may wait when all threads are busy.
    capacity: usize,
}

struct State<T> {
    waiting: VecDeque<Arc<T>>,
    /// Threads that work for a request.
    busy: usize,
    /// Threads that wait to be woken, the last one last.
    sleeping: Vec<Bed>,
    /// A thread has been woken and has not come yet.
    is_waking: bool,
    /// A thread is wanted for something else than a request.
    is_nudged: bool,
    is_closed: bool,
}

/// Where a thread sleeps. Each has its own.
#[derive(Clone)]
pub struct Bed(Arc<Condvar>);

impl Bed {
    /// A new one.
    pub fn new() -> Self {
        Self(Arc::new(Condvar::new()))
    }
}

/// How a queue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub waiting: usize,
    pub busy: usize,
}

impl<T> Queue<T> {
    /// An empty queue.
    pub fn new(threads: usize, capacity: usize) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            busy: 0,
            sleeping: Vec::new(),
            is_waking: false,
            is_nudged: false,
            is_closed: false,
        };
        Self { state: Mutex::new(state), threads, capacity }
    }

    /// How many threads it is made for.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// How many requests may wait when all threads are busy.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How it stands.
    pub fn load(&self) -> Load {
        let state = lock(&self.state);
        Load { waiting: state.waiting.len(), busy: state.busy }
    }

    /// Whether there is room for one more.
    pub fn has_room(&self) -> bool {
        let state = lock(&self.state);
        state.waiting.len() + state.busy < self.threads + self.capacity
    }

    /// Puts a request at the end. `rouse` is to follow.
    pub fn push(&self, item: Arc<T>) {
        lock(&self.state).waiting.push_back(item);
    }

    /// Wakes a thread for what has been put in, if one sleeps.
    pub fn rouse(&self) {
        let state = lock(&self.state);
        if !state.waiting.is_empty() {
            self.wake(state);
        }
    }

    /// Takes a request out that has not been taken by a thread. False if it has.
    pub fn withdraw(&self, item: &Arc<T>) -> bool {
        let mut state = lock(&self.state);
        let place = state.waiting.iter().position(|waiting| Arc::ptr_eq(waiting, item));
        place.and_then(|place| state.waiting.remove(place)).is_some()
    }

    /// Has a thread come although there is no request.
    pub fn nudge(&self) {
        let mut state = lock(&self.state);
        state.is_nudged = true;
        self.wake(state);
    }

    /// Has the threads leave once nothing waits.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.is_closed = true;
        state.sleeping.iter().for_each(|bed| bed.0.notify_one());
    }

    /// For a thread: waits until it is wanted. False: it is to leave.
    pub fn wait(&self, bed: &Bed) -> bool {
        let is_same = |other: &Bed| Arc::ptr_eq(&other.0, &bed.0);
        let mut state = lock(&self.state);
        while state.waiting.is_empty() && !state.is_nudged && !state.is_closed {
            // What this one was woken for may have been withdrawn: another is to be woken for the next.
            state.is_waking = false;
            if !state.sleeping.iter().any(is_same) {
                state.sleeping.push(bed.clone());
            }
            state = wait(&bed.0, state);
        }
        // Nobody may have woken it.
        state.sleeping.retain(|other| !is_same(other));
        !state.is_closed || !state.waiting.is_empty()
    }

    /// For a thread that is there: the next request. `has_worked`: it has done with one.
    pub fn next(&self, has_worked: bool) -> Option<Arc<T>> {
        let mut state = lock(&self.state);
        if has_worked {
            state.busy -= 1;
        } else {
            // One that goes on with its next request is not the one that was woken, which is still to come.
            state.is_waking = false;
        }
        state.is_nudged = false;
        let item = state.waiting.pop_front();
        state.busy += usize::from(item.is_some());
        if !state.waiting.is_empty() {
            self.wake(state);
        }
        item
    }

    /// Wakes a thread, once the lock is free: on the same processor that thread would run at once, and wait
    /// for it.
    fn wake(&self, mut state: MutexGuard<'_, State<T>>) {
        if state.is_waking {
            return;
        }
        if let Some(bed) = state.sleeping.pop() {
            state.is_waking = true;
            drop(state);
            bed.0.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(loom))]
    #[test]
    fn order_room_and_withdrawal() {
        let queue = Queue::new(1, 1);
        let (a, b) = (Arc::new('a'), Arc::new('b'));
        assert!(queue.has_room());
        queue.push(Arc::clone(&a));
        assert!(queue.has_room());
        queue.push(Arc::clone(&b));
        assert!(!queue.has_room());
        assert_eq!(queue.next(false).as_deref(), Some(&'a'));
        assert_eq!(queue.load(), Load { waiting: 1, busy: 1 });
        assert!(!queue.has_room());
        assert!(!queue.withdraw(&a));
        assert!(queue.withdraw(&b));
        assert!(queue.has_room());
        assert!(queue.next(true).is_none());
        assert_eq!(queue.load(), Load { waiting: 0, busy: 0 });
    }

    /// While one is on its way, a thread that goes on with the next request wakes no other.
    #[cfg(not(loom))]
    #[test]
    fn one_at_a_time_is_on_its_way() {
        let queue = Queue::new(4, 8);
        let is_waking = || lock(&queue.state).is_waking;
        (0..4).for_each(|number| queue.push(Arc::new(number)));
        lock(&queue.state).sleeping = vec![Bed::new(); 3];
        assert!(queue.next(false).is_some() && is_waking());
        assert!(queue.next(true).is_some() && is_waking());
        // It comes, and wakes the next.
        assert!(queue.next(false).is_some() && is_waking());
        assert!(queue.next(true).is_some() && is_waking());
        // That one finds nothing.
        assert!(queue.next(false).is_none() && !is_waking());
    }

    /// Every request is taken once, and every thread leaves, however two threads and nginx interleave.
    #[cfg(loom)]
    #[test]
    fn nothing_is_lost() {
        use core::sync::atomic::Ordering;

        // More switches than these are tried in no reasonable time.
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| {
            let queue = Arc::new(Queue::new(2, 8));
            let taken = Arc::new(loom::sync::atomic::AtomicUsize::new(0));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let (queue, taken) = (Arc::clone(&queue), Arc::clone(&taken));
                    loom::thread::spawn(move || {
                        let bed = Bed::new();
                        while queue.wait(&bed) {
                            let mut has_worked = false;
                            while queue.next(has_worked).is_some() {
                                taken.fetch_add(1, Ordering::Relaxed);
                                has_worked = true;
                            }
                        }
                    })
                })
                .collect();
            queue.push(Arc::new(()));
            queue.push(Arc::new(()));
            queue.rouse();
            // Before anything else wakes them.
            while taken.load(Ordering::Relaxed) < 2 {
                loom::thread::yield_now();
            }
            queue.close();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(taken.load(Ordering::Relaxed), 2);
        });
    }

    /// A thread that was woken in vain, because the request was withdrawn, is woken again for the next.
    #[test]
    fn the_next_one_wakes_a_thread_again() {
        #[cfg(loom)]
        use loom::{model, thread};
        #[cfg(not(loom))]
        use std::thread;
        #[cfg(not(loom))]
        fn model(f: impl Fn()) {
            (0..1000).for_each(|_| f());
        }
        model(|| {
            let queue = Arc::new(Queue::new(1, 8));
            let worker = {
                let queue = Arc::clone(&queue);
                thread::spawn(move || {
                    let bed = Bed::new();
                    while queue.wait(&bed) {
                        let mut has_worked = false;
                        while let Some(item) = queue.next(has_worked) {
                            if *item == 'b' {
                                return;
                            }
                            has_worked = true;
                        }
                    }
                })
            };
            let a = Arc::new('a');
            queue.push(Arc::clone(&a));
            queue.rouse();
            if queue.withdraw(&a) {
                queue.push(Arc::new('b'));
                queue.rouse();
                worker.join().unwrap();
            } else {
                queue.close();
                worker.join().unwrap();
            }
        });
    }
}
