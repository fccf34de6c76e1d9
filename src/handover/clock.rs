//! How long an application has run for a request.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A stop-watch: it stands while the client is waited for. One thread starts and stops it, any may read it.
///
/// One word: the time that has passed, in nanoseconds, or while it runs, marked by the highest bit, when it
/// would have been started had it never been stopped.
#[derive(Default)]
pub struct Clock(AtomicU64);

const RUNS: u64 = 1 << 63;

impl Clock {
    /// Lets it run.
    pub fn start(&self) {
        let (passed, _) = self.nanoseconds();
        self.0.store(RUNS | (now() - passed), Ordering::Relaxed);
    }

    /// Stops it.
    pub fn stop(&self) {
        let (passed, _) = self.nanoseconds();
        self.0.store(passed, Ordering::Relaxed);
    }

    /// How long it has run, and whether it runs.
    pub fn read(&self) -> (Duration, bool) {
        let (passed, is_running) = self.nanoseconds();
        (Duration::from_nanos(passed), is_running)
    }

    fn nanoseconds(&self) -> (u64, bool) {
        let word = self.0.load(Ordering::Relaxed);
        match word & RUNS {
            0 => (word, false),
            _ => (now().saturating_sub(word & !RUNS), true),
        }
    }
}

/// Nanoseconds since it was first asked for; 292 years fit besides the mark.
fn now() -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    FIRST.get_or_init(Instant::now).elapsed().as_nanos() as u64 & !RUNS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_while_it_runs() {
        let clock = Clock::default();
        assert_eq!(clock.read(), (Duration::ZERO, false));
        let mut before = Duration::ZERO;
        for _ in 0..3 {
            clock.start();
            let (begun, is_running) = clock.read();
            assert!(is_running && begun >= before);
            // It is not set back by a second start.
            while clock.read().0 == begun {}
            clock.start();
            clock.stop();
            let stopped = clock.read();
            assert!(stopped.0 > begun && !stopped.1);
            assert_eq!(clock.read(), stopped);
            before = stopped.0;
        }
    }
}
