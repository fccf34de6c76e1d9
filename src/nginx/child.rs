//! A child of the master that does something in place of a worker and reports line by line.
//!
//! Made while a configuration is being read, ended before that is over. Its process group ends with it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::Instant;

use super::entry;

/// The parent's end.
pub struct Child {
    pid: libc::pid_t,
    pipe: File,
    read: Vec<u8>,
    /// SIGCHLD is blocked meanwhile: nginx's handler would collect the child's status.
    signals: libc::sigset_t,
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

impl Child {
    /// Forks. The child runs `f` with its end of the pipe, and exits without running anything else of this
    /// process.
    pub fn fork(f: impl FnOnce(File)) -> io::Result<Self> {
        // SAFETY: nginx has one thread where it reads its configuration, so the child is a complete copy; the
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
                pid => Ok(Self { pid, pipe: read, read: Vec::new(), signals }),
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
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
            let mut poll =
                libc::pollfd { fd: self.pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid pollfd.
            match check(unsafe { libc::poll(&mut poll, 1, timeout) }) {
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

    /// Waits for the end. `kill`: by force, also for what the child has started.
    pub fn end(self, kill: bool) -> Ended {
        // SAFETY: the pid is that of our child, which nobody else waits for (`signals`).
        unsafe {
            if kill {
                libc::kill(self.pid, libc::SIGKILL);
            }
            let mut status = 0;
            while libc::waitpid(self.pid, &mut status, 0) == -1
                && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
            {}
            // What it has left behind in its group.
            libc::kill(-self.pid, libc::SIGKILL);
            libc::sigprocmask(libc::SIG_SETMASK, &self.signals, core::ptr::null_mut());
            if libc::WIFSIGNALED(status) {
                Ended::Signal(libc::WTERMSIG(status))
            } else {
                Ended::Exit(libc::WEXITSTATUS(status))
            }
        }
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
