//! Admission: carries out what `ears` decides.

use crate::nginx::{Alarm, listening, process};

use super::ears::{Ears, Order, Room};
use super::local::{self, Worker};
use super::table::Member;

/// Whether this worker listens.
pub struct Admission {
    is_on: bool,
    is_busy: bool,
    /// What `reliefs_elsewhere` was when this worker last looked.
    reliefs: u64,
    ears: Ears,
    /// Rings at the end of a turn of the event loop.
    changed: &'static Alarm,
    tick: &'static Alarm,
}

impl Admission {
    /// Of a worker that starts. `is_on`: `wsgi_admission`.
    pub fn new(is_on: bool) -> Self {
        let (changed, tick) = (Alarm::new(changed), Alarm::new(tick));
        Self { is_on, is_busy: false, reliefs: 0, ears: Ears::default(), changed, tick }
    }

    /// Tells the other workers, and sees to it that this one draws its conclusions.
    pub fn note_threads(&mut self, idle: usize, threads: usize, member: &Member) {
        // First of all: of two workers whose last threads become busy at once, one at least sees both.
        member.note_threads(idle, threads);
        self.is_busy = idle == 0 && threads > 0;
        // Not at once: this may be inside the handler of a connection that nginx is just accepting.
        if self.is_on && self.ears.wait_for(self.is_busy) && listening::is_free() {
            self.changed.post();
        }
    }

    /// Who has room. `is_recent`: or had it since this was last asked.
    fn room(&mut self, is_recent: bool, member: &Member) -> Room {
        if !self.is_busy {
            return Room::Here;
        }
        let reliefs = member.reliefs_elsewhere();
        let before = core::mem::replace(&mut self.reliefs, reliefs);
        let had_room = is_recent && reliefs != before;
        if had_room || member.has_idle_neighbour(process::is_alive) {
            Room::Elsewhere
        } else {
            Room::Nowhere
        }
    }

    fn follow(&self, order: Order) {
        match order {
            Order::Deaf(milliseconds) => {
                listening::stop();
                self.tick.set(milliseconds);
            }
            Order::Busy(milliseconds) => {
                listening::start();
                self.tick.set(milliseconds);
            }
            Order::Hear => {
                listening::start();
                self.tick.stop();
            }
        }
    }
}

/// Has the ears decide, unless the worker ends: nginx has closed the sockets then.
fn decide(is_recent: bool, question: fn(&mut Ears, Room) -> Order) {
    local::with(|Worker { admission, member, .. }| {
        if !process::is_ending() {
            let room = admission.room(is_recent, member);
            let order = question(&mut admission.ears, room);
            admission.follow(order);
        }
    });
}

fn changed() {
    decide(false, Ears::changed);
}

fn tick() {
    decide(true, |ears, room| ears.tick(room, listening::has_connection));
}
