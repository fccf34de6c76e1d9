//! Whether a process that has left its number in shared memory still lives.
//!
//! A worker that is killed tidies nothing up, and its number may become that of another process. So the time
//! of its birth is kept with it.

use std::{fs, io};

/// A process, as it can be told from others that have or had its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    pub pid: u32,
    /// In ticks since the system started, the lower half of their number; 0 where it cannot be known.
    pub born: u32,
}

impl Life {
    /// This process.
    pub fn own() -> Self {
        let pid = std::process::id();
        Self { pid, born: stat(pid).map_or(0, |stat| stat.born) }
    }

    /// As one number, so that it can be exchanged at once; never 0.
    pub fn to_bits(self) -> u64 {
        u64::from(self.pid) << 32 | u64::from(self.born)
    }

    pub fn from_bits(bits: u64) -> Self {
        Self { pid: (bits >> 32) as u32, born: bits as u32 }
    }

    /// Whether it has ended. One that its parent has not yet taken notice of has.
    pub fn is_over(self) -> bool {
        match stat(self.pid) {
            Ok(stat) => stat.is_dead || (self.born != 0 && stat.born != self.born),
            // Without /proc there is only its number.
            Err(_) => is_free(self.pid),
        }
    }
}

/// What /proc/PID/stat says.
struct Stat {
    is_dead: bool,
    born: u32,
}

fn stat(pid: u32) -> io::Result<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat"))?;
    // The name of the program stands in brackets and may hold anything, brackets too.
    let after = text.iter().rposition(|byte| *byte == b')').map_or(0, |end| end + 1);
    let fields: Vec<&str> = str::from_utf8(&text[after..]).unwrap_or("").split(' ').collect();
    // proc(5) counts from 1, with the two fields before these: state is 3, starttime 22.
    let field = |number: usize| fields.get(number - 2).copied().unwrap_or("");
    let born: u64 = field(22).parse().unwrap_or(0);
    Ok(Stat { is_dead: matches!(field(3), "Z" | "X"), born: born as u32 })
}

fn is_free(pid: u32) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return true };
    // SAFETY: signal 0 is not sent.
    let failed = unsafe { libc::kill(pid, 0) } == -1;
    failed && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
}

/// How much memory a process has in RAM, in bytes. `None` if it cannot be known.
pub fn resident_memory(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    // SAFETY: asks for a constant.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * u64::try_from(page).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives() {
        let own = Life::own();
        assert!(own.born > 0);
        assert!(!own.is_over());
        assert!(Life { born: own.born + 1, ..own }.is_over());
        assert_eq!(Life::from_bits(own.to_bits()), own);
        assert!(resident_memory(own.pid).is_some_and(|bytes| bytes > 1 << 16));
    }

    #[test]
    fn a_child_that_has_ended_does_not_whether_it_is_collected_or_not() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        let life = Life { pid, born: stat(pid).unwrap().born };
        assert!(!life.is_over());
        child.kill().unwrap();
        while !life.is_over() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(life.is_over());
        assert!(is_free(pid));
    }
}
