//! A child that does something in place of a worker and reports line by line.
//!
//! Made by the process that reads a configuration, and ended before that is over. Its process group ends
//! with it.

use core::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};
use std::thread;
use std::time::{Duration, Instant};

use super::entry;

/// How long the parent listens without looking whether it is to end.
const PATIENCE: Duration = Duration::from_millis(200);

/// The parent's end.
pub struct Child {
    pid: libc::pid_t,
    pipe: File,
    read: Vec<u8>,
    /// SIGCHLD is blocked meanwhile: nginx's handler would collect the child's status.
    signals: libc::sigset_t,
    is_collected: bool,
}

/// What came from a child.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// A line without its end.
    Line(String),
    /// Nothing more: its end of the pipe is closed.
    Nothing,
    /// Nothing until the deadline.
    NotYet,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Exit(i32),
    Signal(i32),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(0) => f.write_str("exit code 0, without a report"),
            Self::Exit(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl Child {
    /// Forks. The child runs `f` with its end of the pipe, and exits without running anything else of this
    /// process.
    pub fn fork(f: impl FnOnce(File)) -> io::Result<Self> {
        // SAFETY: the master, and a process that starts, have one thread, so the child is a complete copy. (A
        // single process may have others, but it forks only before it has Python, as it starts.) The
        // descriptors and signal sets are initialised by the calls before they are used.
        unsafe {
            let mut fds = [0; 2];
            check(libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC))?;
            let (read, write) = (File::from_raw_fd(fds[0]), File::from_raw_fd(fds[1]));
            let (mut chld, mut signals) = (core::mem::zeroed(), core::mem::zeroed());
            libc::sigemptyset(&mut chld);
            libc::sigaddset(&mut chld, libc::SIGCHLD);
            check(libc::sigprocmask(libc::SIG_BLOCK, &chld, &mut signals))?;
            match libc::fork() {
                -1 => {
                    let error = io::Error::last_os_error();
                    libc::sigprocmask(libc::SIG_SETMASK, &signals, core::ptr::null_mut());
                    Err(error)
                }
                0 => {
                    drop(read);
                    libc::setsid();
                    entry::quietly(|| f(write));
                    libc::_exit(0)
                }
                pid => Ok(Self { pid, pipe: read, read: Vec::new(), signals, is_collected: false }),
            }
        }
    }

    /// The next line.
    pub fn listen(&mut self, deadline: Instant) -> io::Result<Said> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.read) {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(Said::Line(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            // In pieces: the master has its signals blocked, and is to be able to end meanwhile.
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = i32::try_from(left.min(PATIENCE).as_millis()).unwrap_or(i32::MAX);
            let mut poll =
                libc::pollfd { fd: self.pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid pollfd.
            match check(unsafe { libc::poll(&mut poll, 1, timeout) }) {
                Ok(0) if is_to_end() => return Err(io::ErrorKind::Interrupted.into()),
                Ok(0) if Instant::now() < deadline => continue,
                Ok(0) => return Ok(Said::NotYet),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
                Ok(_) => {}
            }
            let mut buffer = [0; 4096];
            match self.pipe.read(&mut buffer)? {
                0 => return Ok(Said::Nothing),
                amount => self.read.extend_from_slice(&buffer[..amount]),
            }
        }
    }

    /// How it ended, if it does before the deadline; otherwise it is killed.
    pub fn ended(mut self, deadline: Instant) -> Ended {
        loop {
            if let Some(ended) = self.collect(libc::WNOHANG) {
                return ended;
            }
            if Instant::now() >= deadline {
                return self.kill();
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn kill(&mut self) -> Ended {
        // SAFETY: the pid is that of our child, which has not been collected.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        self.collect(0).unwrap_or(Ended::Signal(libc::SIGKILL))
    }

    /// Collects its status, once, and ends what it has left behind in its group.
    fn collect(&mut self, options: libc::c_int) -> Option<Ended> {
        let mut status = 0;
        // SAFETY: the pid is that of our child, which nobody else waits for (`signals`).
        unsafe {
            let pid = loop {
                match check(libc::waitpid(self.pid, &mut status, options)) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result.unwrap_or(self.pid),
                }
            };
            if pid == 0 {
                return None;
            }
            libc::kill(-self.pid, libc::SIGKILL);
        }
        self.is_collected = true;
        Some(if libc::WIFSIGNALED(status) {
            Ended::Signal(libc::WTERMSIG(status))
        } else {
            Ended::Exit(libc::WEXITSTATUS(status))
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.is_collected {
            self.kill();
        }
        // SAFETY: the set is the one that was there before.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &self.signals, core::ptr::null_mut()) };
    }
}

/// Whether a signal waits that ends nginx.
fn is_to_end() -> bool {
    // SAFETY: the set is initialised by the call.
    unsafe {
        let mut pending = core::mem::zeroed();
        libc::sigpending(&mut pending);
        [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT]
            .into_iter()
            .any(|signal| libc::sigismember(&pending, signal) == 1)
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
