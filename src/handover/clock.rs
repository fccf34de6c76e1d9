//! How long an application has run for a request.

use std::time::{Duration, Instant};

use super::sync::{Mutex, lock};

/// A stop-watch: it stands while the client is waited for.
#[derive(Default)]
pub struct Clock(Mutex<Reading>);

#[derive(Default)]
struct Reading {
    before: Duration,
    since: Option<Instant>,
}

impl Clock {
    /// Lets it run.
    pub fn start(&self) {
        lock(&self.0).since = Some(Instant::now());
    }

    /// Stops it.
    pub fn stop(&self) {
        let mut reading = lock(&self.0);
        if let Some(since) = reading.since.take() {
            reading.before += since.elapsed();
        }
    }

    /// How long it has run, and whether it runs.
    pub fn read(&self) -> (Duration, bool) {
        let reading = lock(&self.0);
        let now = reading.since.map_or(Duration::ZERO, |since| since.elapsed());
        (reading.before + now, reading.since.is_some())
    }
}
