//! Replacement: a worker that has served enough, has grown too large, or is stuck makes room for a new one.
//!
//! It quits gracefully, as after SIGQUIT, and the master starts another. Two at a time never do: a worker
//! first takes the lock in the table. If it cannot have it, it goes on serving and tries again.

use core::fmt;
use core::time::Duration;
use std::path::PathBuf;
use std::time::Instant;

use crate::conf::MaxRequests;
use crate::exec::watchdog;
use crate::life::Life;
use crate::nginx::{Alarm, Level, log, process};
use crate::stats;

use super::local;
use super::table::{Dead, Member};

/// How often a worker looks at its memory, if it serves.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a worker tries to get the lock, in milliseconds: this, and up to as much again, so that the
/// same one does not always come first.
const RETRY: usize = 50;
/// How long a worker with a stuck thread waits for the lock. It is of little use until it goes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a worker is to be replaced.
pub enum Reason {
    /// `wsgi_max_requests`: after so many.
    Requests(u64),
    /// `wsgi_max_memory`: it occupies so many bytes.
    Memory(u64),
    /// `wsgi_reload_mechanism process`: this script.
    Changed(PathBuf),
    /// `wsgi_timeout`: a thread does not come back.
    Stuck,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(number) => {
                write!(f, "this worker has served {number} requests (wsgi_max_requests), it")
            }
            Self::Memory(bytes) => {
                let size = mebibytes(*bytes);
                write!(f, "this worker occupies {size} of memory (wsgi_max_memory), it")
            }
            Self::Changed(file) => write!(f, "script {file:?} has changed, this worker"),
            Self::Stuck => {
                write!(f, "this worker has a thread that does not come back (wsgi_timeout), it")
            }
        }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// When this worker is to be replaced, and how far that is.
pub struct Replacement {
    max_requests: Option<u64>,
    max_memory: Option<u64>,
    requests: u64,
    looked: Instant,
    wanted: Option<Reason>,
    /// When a stuck worker goes without the lock.
    deadline: Option<Instant>,
    dead: Dead,
    retry: &'static Alarm,
}

impl Replacement {
    /// Of a worker that starts, with these limits; 0 is none.
    pub fn new(max_requests: Option<MaxRequests>, max_memory: Option<u64>) -> Self {
        let most = max_requests.filter(|most| most.number > 0);
        Self {
            max_requests: most.map(|most| most.number + process::random(most.jitter)),
            max_memory: max_memory.filter(|most| *most > 0),
            requests: 0,
            looked: Instant::now(),
            wanted: None,
            deadline: None,
            dead: Dead::new(|pid| !Life { pid, born: 0 }.is_over(), Instant::now),
            retry: Alarm::new(try_again),
        }
    }

    /// A worker that is too large before its first request would be replaced for ever.
    pub fn look_at_start(&mut self) {
        let Some(most) = self.max_memory else { return };
        let text = match process::resident_memory() {
            None => "wsgi: \"wsgi_max_memory\" has no effect, this system does not tell how much memory a \
                     process occupies"
                .to_owned(),
            Some(bytes) if bytes > most => format!(
                "wsgi: this worker occupies {} of memory before its first request, more than \
                 \"wsgi_max_memory\" allows, which has no effect therefore",
                mebibytes(bytes)
            ),
            Some(_) => return,
        };
        self.max_memory = None;
        log::write_line(Level::Warn, text.as_bytes());
    }

    /// Counts a request.
    pub fn request_begins(&mut self, member: &Member) {
        self.requests += 1;
        if self.max_requests.is_some_and(|most| self.requests >= most) {
            self.ask(Reason::Requests(self.requests), member);
        }
    }

    /// Looks at the memory, now and then.
    pub fn request_ends(&mut self, member: &Member) {
        let Some(most) = self.max_memory else { return };
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        if let Some(bytes) = process::resident_memory()
            && bytes > most
        {
            self.ask(Reason::Memory(bytes), member);
        }
    }

    /// Has the worker replaced as soon as that is possible, which may be now.
    pub fn ask(&mut self, reason: Reason, member: &Member) {
        let is_stuck = matches!(reason, Reason::Stuck);
        // The first reason is the one that counts, unless this one cannot wait.
        if process::is_ending() || (self.wanted.is_some() && !(is_stuck && self.deadline.is_none()))
        {
            return;
        }
        if is_stuck {
            self.deadline = Some(Instant::now() + PATIENCE);
        }
        self.wanted = Some(reason);
        self.try_now(member);
    }

    /// Leaves, or sees to it that this is called again.
    pub fn try_now(&mut self, member: &Member) {
        let Some(reason) = &mut self.wanted else { return };
        if process::is_ending() {
            return;
        }
        if matches!(reason, Reason::Stuck) && !watchdog::is_anyone_stuck() {
            // It has come back meanwhile.
            self.wanted = None;
            self.deadline = None;
            return;
        }
        if !member.try_leave(&mut self.dead) {
            // Not the last one: somebody has to answer for files and other applications.
            let may_go = self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
                && member.is_dispensable(&mut self.dead);
            if !may_go {
                let more = process::random(RETRY as u64);
                self.retry.set(RETRY + usize::try_from(more).unwrap_or(0));
                return;
            }
            member.leave();
        }
        if let Reason::Requests(number) = reason {
            // It has gone on meanwhile.
            *number = self.requests;
        }
        process::quit_gracefully();
        stats::replaced(match reason {
            Reason::Requests(_) => stats::Reason::MaxRequests,
            Reason::Memory(_) => stats::Reason::MaxMemory,
            Reason::Changed(_) => stats::Reason::Reload,
            Reason::Stuck => stats::Reason::Timeout,
        });
        let text = format!("wsgi: {reason} quits gracefully to be replaced");
        log::write_line(Level::Notice, text.as_bytes());
    }
}

fn try_again() {
    local::with(|worker| worker.replacement.try_now(&worker.member));
}
