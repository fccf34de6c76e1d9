//! Admission: whether a worker listens for new connections. Decisions only; `admission` carries them out.
//!
//! A worker whose threads are all busy is deaf while another one has an idle thread, or had one a moment
//! ago: where requests take a millisecond, "all are busy" is true again and again and means nothing. As
//! long as all of its threads are busy it looks around every few milliseconds: nobody tells it when the
//! others become busy, or idle, or die. And a connection that waits although somebody is said to have room,
//! since that neighbour is stopped, or busy with something else than Python, is taken in the end by whoever
//! is there.
//!
//! Of workers that are all busy at least one listens: the one that became busy last has seen that nobody
//! had room, and until somebody has, it goes on listening.

/// How often a busy worker looks around, in milliseconds.
const TICK: usize = 10;
/// When it does so for the first time, if nobody has had room.
const FIRST_TICK: usize = 2;
/// How often while it is deaf and a connection waits.
const TICK_WAITING: usize = 5;
/// A connection that was seen waiting so many times in a row, which takes 10 to 20 milliseconds, is
/// neglected. (It may have been another one each time; but where somebody has room they are gone in less
/// than a millisecond.)
const NEGLECTED: u32 = 3;

/// Who has idle threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    Here,
    Elsewhere,
    Nowhere,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Stop listening, and look again after so many milliseconds.
    Deaf(usize),
    /// Listen, and look again after so many milliseconds.
    Busy(usize),
    /// Listen; no need to look again.
    Hear,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    /// A connection was seen waiting so many times in a row.
    Deaf(u32),
    /// All threads are busy, but this worker listens: there is room nowhere, or somebody was neglected.
    Busy,
}

/// The state of one worker.
#[derive(Default)]
pub struct Ears(State);

impl Ears {
    /// Whether a change of the number of idle threads, to 0 or from 0, is of interest.
    pub fn wait_for(&self, is_busy: bool) -> bool {
        is_busy == (self.0 == State::Idle)
    }

    /// This worker has become busy, or idle. `room`: at this moment.
    pub fn changed(&mut self, room: Room) -> Order {
        let (state, order) = match room {
            Room::Here => (State::Idle, Order::Hear),
            Room::Elsewhere => (State::Deaf(0), Order::Deaf(TICK)),
            Room::Nowhere => {
                let tick = if self.0 == State::Idle { FIRST_TICK } else { TICK };
                (State::Busy, Order::Busy(tick))
            }
        };
        self.0 = state;
        order
    }

    /// It is time to look around. `room`: at any moment since the last time; `is_waiting`: whether there is
    /// a connection that nobody has taken.
    pub fn tick(&mut self, room: Room, is_waiting: impl FnOnce() -> bool) -> Order {
        match self.0 {
            State::Deaf(times) if room == Room::Elsewhere && is_waiting() => {
                let times = times + 1;
                if times < NEGLECTED {
                    self.0 = State::Deaf(times);
                    Order::Deaf(TICK_WAITING)
                } else {
                    self.0 = State::Busy;
                    Order::Busy(TICK)
                }
            }
            _ => self.changed(room),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaf_while_others_have_room() {
        let mut ears = Ears::default();
        assert!(ears.wait_for(true) && !ears.wait_for(false));
        assert_eq!(ears.changed(Room::Elsewhere), Order::Deaf(TICK));
        assert!(!ears.wait_for(true) && ears.wait_for(false));
        for _ in 0..10 {
            assert_eq!(ears.tick(Room::Elsewhere, || false), Order::Deaf(TICK));
        }
        assert_eq!(ears.changed(Room::Here), Order::Hear);
        assert!(ears.wait_for(true));
    }

    #[test]
    fn hears_while_nobody_has_room() {
        let mut ears = Ears::default();
        assert_eq!(ears.changed(Room::Nowhere), Order::Busy(FIRST_TICK));
        assert!(ears.wait_for(false));
        assert_eq!(ears.tick(Room::Nowhere, || unreachable!()), Order::Busy(TICK));
        assert_eq!(ears.tick(Room::Elsewhere, || unreachable!()), Order::Deaf(TICK));
        assert_eq!(ears.tick(Room::Nowhere, || unreachable!()), Order::Busy(TICK));
        assert_eq!(ears.tick(Room::Here, || unreachable!()), Order::Hear);
    }

    #[test]
    fn a_neglected_connection_is_taken() {
        let mut ears = Ears::default();
        ears.changed(Room::Elsewhere);
        assert_eq!(ears.tick(Room::Elsewhere, || true), Order::Deaf(TICK_WAITING));
        assert_eq!(ears.tick(Room::Elsewhere, || true), Order::Deaf(TICK_WAITING));
        assert_eq!(ears.tick(Room::Elsewhere, || true), Order::Busy(TICK));
        assert_eq!(ears.tick(Room::Elsewhere, || unreachable!()), Order::Deaf(TICK));
        assert_eq!(ears.tick(Room::Elsewhere, || true), Order::Deaf(TICK_WAITING));
    }

    #[test]
    fn one_that_is_taken_in_time_is_not_neglected() {
        let mut ears = Ears::default();
        ears.changed(Room::Elsewhere);
        for _ in 0..10 {
            assert_eq!(ears.tick(Room::Elsewhere, || true), Order::Deaf(TICK_WAITING));
            assert_eq!(ears.tick(Room::Elsewhere, || true), Order::Deaf(TICK_WAITING));
            assert_eq!(ears.tick(Room::Elsewhere, || false), Order::Deaf(TICK));
        }
    }
}
