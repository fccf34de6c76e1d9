//! How long something took, as Prometheus counts it.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

/// Upper bounds of the buckets; one without a bound follows.
pub const BOUNDS: [Duration; 15] = [
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

/// A histogram in shared memory.
#[repr(C)]
pub struct Histogram {
    /// How many fell into each bucket, and into none of those before.
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// What a histogram, or several, held at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    counts: [u64; BOUNDS.len() + 1],
    nanoseconds: u64,
}

impl Histogram {
    pub fn add(&self, time: Duration) {
        let bucket = BOUNDS.iter().position(|bound| time <= *bound).unwrap_or(BOUNDS.len());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub fn read(&self) -> Times {
        let mut times = Times::default();
        for (count, own) in times.counts.iter_mut().zip(&self.counts) {
            *count = own.load(Ordering::Relaxed);
        }
        times.nanoseconds = self.nanoseconds.load(Ordering::Relaxed);
        times
    }

    /// Takes over what `other`, of a table that is given up, has counted.
    pub fn continue_from(&self, other: &Self) {
        let times = other.read();
        for (count, own) in times.counts.iter().zip(&self.counts) {
            own.store(*count, Ordering::Relaxed);
        }
        self.nanoseconds.store(times.nanoseconds, Ordering::Relaxed);
    }
}

impl Times {
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.nanoseconds += other.nanoseconds;
    }

    /// How many took at most as long as each of the bounds, and how many there are in all.
    pub fn cumulated(&self) -> [u64; BOUNDS.len() + 1] {
        let mut sum = 0;
        self.counts.map(|count| {
            sum += count;
            sum
        })
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// In seconds.
    pub fn sum(&self) -> f64 {
        self.nanoseconds as f64 / 1e9
    }

    /// In seconds; `None` if there were none.
    pub fn mean(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.sum() / self.count() as f64)
    }

    /// The bound that so many of a hundred stay within. `None` if there were none, or if it is none of ours.
    pub fn percentile(&self, percent: u64) -> Option<Duration> {
        let wanted = (self.count() * percent).div_ceil(100).max(1);
        let bucket = self.cumulated().iter().position(|count| *count >= wanted)?;
        BOUNDS.get(bucket).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_bucket_of_its_bound() {
        // SAFETY: zeroes are a valid histogram.
        let histogram: Histogram = unsafe { core::mem::zeroed() };
        for milliseconds in [0, 1, 2, 60_000, 60_001] {
            histogram.add(Duration::from_millis(milliseconds));
        }
        let times = histogram.read();
        assert_eq!(times.cumulated(), [2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 5]);
        assert_eq!(times.count(), 5);
        assert_eq!(times.sum(), 120.004);
        assert_eq!(times.percentile(50), Some(Duration::from_micros(2500)));
        assert_eq!(times.percentile(99), None);
    }

    #[test]
    fn nothing_has_no_mean() {
        assert_eq!((Times::default().mean(), Times::default().percentile(50)), (None, None));
    }
}
