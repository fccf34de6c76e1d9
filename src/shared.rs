//! Memory that several processes see, as plain Rust: slices of atomics, cut from a piece of zeroes.
//!
//! nginx::zone gets the memory. Tables that are made of it know no nginx, so unit tests give them memory of
//! the heap.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

/// What a piece begins at, so that two of them share no cache line.
const LINE: usize = 64;

/// What shared memory may hold.
///
/// # Safety
/// The type must consist of atomics only, so that all zeroes is a value of it and anybody may write to it
/// at any time, and be `repr(C)`, so that all builds of a configuration agree.
pub unsafe trait Shared: Sync + 'static {}

// SAFETY: an atomic.
unsafe impl Shared for AtomicU8 {}
// SAFETY: an atomic.
unsafe impl Shared for AtomicU32 {}
// SAFETY: an atomic.
unsafe impl Shared for AtomicU64 {}
// SAFETY: an atomic.
unsafe impl Shared for AtomicI64 {}

/// A piece of shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: what can be reached through it is atomic.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// # Safety
    /// The memory must be zeroed or hold what was cut from it before, in the same way; be used through
    /// values of this type only; and stay where it is as long as anything cut from it is used.
    pub unsafe fn new(start: NonNull<u8>, len: usize) -> Self {
        Self { start, len }
    }

    /// Memory of the heap, which is never given back.
    pub fn leaked(len: usize) -> Self {
        let lines: &'static mut [Line] = Vec::leak(vec![Line([0; LINE]); len.div_ceil(LINE)]);
        let (start, len) = (NonNull::from(&mut *lines).cast(), size_of_val(lines));
        // SAFETY: zeroed, and nobody else's for ever.
        unsafe { Self::new(start, len) }
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many bytes `take` needs for a slice.
    pub const fn space<T: Shared>(count: usize) -> usize {
        (size_of::<T>() * count).next_multiple_of(LINE)
    }

    /// Cuts a slice off. `None` if so much is not left.
    pub fn take<T: Shared>(&mut self, count: usize) -> Option<&'static [T]> {
        const { assert!(align_of::<T>() <= LINE) };
        let padding = self.start.as_ptr().align_offset(LINE);
        let size = size_of::<T>().checked_mul(count)?.checked_next_multiple_of(LINE)?;
        let len = padding.checked_add(size)?;
        if len > self.len {
            return None;
        }
        // SAFETY: inside of the memory, aligned, and initialised: the contracts of `new` and of Shared.
        unsafe {
            let slice = core::slice::from_raw_parts(self.start.add(padding).cast().as_ptr(), count);
            self.start = self.start.add(len);
            self.len -= len;
            Some(slice)
        }
    }
}

/// Up to 8 * `WORDS` bytes. One process writes them at a time; who reads meanwhile may get some of either.
#[repr(C)]
pub struct Text<const WORDS: usize> {
    len: AtomicU64,
    words: [AtomicU64; WORDS],
}

// SAFETY: atomics, in the order of C.
unsafe impl<const WORDS: usize> Shared for Text<WORDS> {}

impl<const WORDS: usize> Text<WORDS> {
    /// How many bytes it takes.
    pub const ROOM: usize = 8 * WORDS;

    /// Writes `bytes`, or so many of them as there is room for.
    pub fn set(&self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(Self::ROOM)];
        for (word, chunk) in self.words.iter().zip(bytes.chunks(8)) {
            let mut value = [0; 8];
            value[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
        }
        self.len.store(bytes.len() as u64, Ordering::Relaxed);
    }

    /// A copy of what is there.
    pub fn get(&self) -> Vec<u8> {
        let len = (self.len.load(Ordering::Relaxed) as usize).min(Self::ROOM);
        let words = self.words[..len.div_ceil(8)].iter();
        let mut bytes: Vec<u8> =
            words.flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
        bytes.truncate(len);
        bytes
    }
}

/// Waits until `word` is no longer `seen`, at most for `limit`; may come back for nothing. Other processes
/// are to call `wake` after they have changed it.
pub fn wait_for_change(word: &AtomicU32, seen: u32, limit: Duration) {
    #[cfg(target_os = "linux")]
    // SAFETY: the system reads the word, which is valid, and the time.
    unsafe {
        let time = libc::timespec {
            tv_sec: limit.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        let (word, time) = (word.as_ptr(), &raw const time);
        libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, seen, time);
    }
    #[cfg(not(target_os = "linux"))]
    if word.load(Ordering::Relaxed) == seen {
        std::thread::sleep(limit.min(Duration::from_millis(50)));
    }
}

/// Wakes all who wait for `word`, in all processes.
pub fn wake(word: &AtomicU32) {
    #[cfg(target_os = "linux")]
    // SAFETY: the word is valid; the system looks at its address only.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = word;
}

/// Milliseconds of a clock that all processes share and nobody sets.
pub fn milliseconds() -> u64 {
    // The coarse one, of some milliseconds, needs no counter of the processor.
    #[cfg(target_os = "linux")]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC_COARSE;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;
    // SAFETY: the call initialises the time.
    let now = unsafe {
        let mut now: libc::timespec = core::mem::zeroed();
        libc::clock_gettime(CLOCK, &mut now);
        now
    };
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// For the alignment.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_twice_is_the_same() {
        let memory = Memory::leaked(192);
        let cut = |mut memory: Memory| {
            (memory.take::<AtomicU8>(3), memory.take::<AtomicU64>(8), memory.take::<AtomicU8>(65))
        };
        let (Some(a), Some(b), None) = cut(memory) else { panic!("other room than expected") };
        b[7].store(7, Ordering::Relaxed);
        assert_eq!(cut(memory).1.map(|b| b[7].load(Ordering::Relaxed)), Some(7));
        assert!(a.iter().all(|a| a.load(Ordering::Relaxed) == 0));
        assert_eq!(b.as_ptr().align_offset(LINE), 0);
    }

    #[test]
    fn space_is_what_take_needs() {
        let mut memory = Memory::leaked(Memory::space::<AtomicU32>(100));
        assert!(memory.take::<AtomicU32>(100).is_some());
        assert!(memory.take::<AtomicU8>(1).is_none());
    }

    #[test]
    fn a_text_that_is_too_long_is_cut() {
        let mut memory = Memory::leaked(256);
        let text = &memory.take::<Text<2>>(1).unwrap()[0];
        assert_eq!(text.get(), b"");
        for expected in ["", "a", "12345678", "123456789", "1234567890123456"] {
            text.set(expected.as_bytes());
            assert_eq!(text.get(), expected.as_bytes());
        }
        text.set(b"12345678901234567");
        assert_eq!(text.get(), b"1234567890123456");
    }

    #[test]
    fn who_waits_for_a_word_is_woken() {
        let word = AtomicU32::new(7);
        let begun = std::time::Instant::now();
        wait_for_change(&word, 7, Duration::from_millis(20));
        assert!(begun.elapsed() >= Duration::from_millis(15));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                while word.load(Ordering::Acquire) == 7 {
                    wait_for_change(&word, 7, Duration::from_secs(60));
                }
            });
            std::thread::sleep(Duration::from_millis(20));
            word.store(8, Ordering::Release);
            wake(&word);
            waiting.join().unwrap();
        });
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn too_much_is_refused() {
        assert!(Memory::leaked(64).take::<AtomicU64>(usize::MAX).is_none());
        assert!(Memory::leaked(64).take::<AtomicU64>(usize::MAX / 8).is_none());
    }
}
