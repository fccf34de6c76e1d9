//! Somebody else's descriptor in nginx's event loop.
//!
//! It is watched by way of a descriptor of our own for the same open file, which is in the event loop as a
//! connection of nginx. So its number cannot become another file's while nginx watches it, two may wait for
//! one file, and what its owner closes hurts nobody. Ends with its drop.

use core::ffi::CStr;
use core::ptr::NonNull;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nginx_sys::{
    ngx_connection_t, ngx_cycle, ngx_cycle_t, ngx_delete_posted_event, ngx_event_conf_t,
    ngx_event_core_module, ngx_event_t, ngx_events_module, ngx_free_connection, ngx_get_connection,
};

use super::entry;
use super::request::Request;
use super::shim::ngx_wsgi_report;

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Read,
    Write,
}

/// A watched descriptor. On nginx's thread only.
pub struct Descriptor {
    connection: NonNull<ngx_connection_t>,
    /// Open until nginx has forgotten it.
    own: OwnedFd,
    /// The owner's descriptor, and the file behind it.
    number: RawFd,
    file: File,
    ready: Box<dyn Fn(Direction)>,
}

/// What tells a file from others.
#[derive(Clone, Copy, PartialEq, Eq)]
struct File {
    device: libc::dev_t,
    inode: libc::ino_t,
    kind: libc::mode_t,
}

impl Descriptor {
    /// Makes nginx ready to watch the descriptor `number`; `ready` is called whenever it is ready in a direction
    /// that is watched (see `watch`), and must not drop this. Takes one of `worker_connections`.
    ///
    /// # Errors
    /// `EBADF`; `EPERM` for a file that is always ready; `EMFILE`; `ENOBUFS` if no connection is left.
    pub fn new(number: RawFd, ready: Box<dyn Fn(Direction)>) -> io::Result<Box<Self>> {
        let file = File::of(number)?;
        let own = duplicate(number)?;
        if is_beyond_select(own.as_raw_fd()) {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        if !can_be_watched(&own, file)? {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        let connection = connection(&own)?;
        let this = Box::new(Self { connection, own, number, file, ready });
        // SAFETY: the connection is new and ours until our drop; what is in a box does not move.
        unsafe {
            let c = &mut *connection.as_ptr();
            c.data = core::ptr::from_ref(&*this).cast_mut().cast();
            (*c.read).log = c.log;
            (*c.write).log = c.log;
            (*c.read).handler = Some(readable);
            (*c.write).handler = Some(writable);
            // So nginx neither closes it when the worker ends, nor complains that it is open.
            (*c.read).set_channel(1);
            (*c.write).set_channel(1);
        }
        Ok(this)
    }

    /// Watches a direction, or no longer. It is reported as long as it is ready, and not only when it gets so.
    ///
    /// # Errors
    /// nginx could not, which it has logged.
    pub fn watch(&self, direction: Direction, on: bool) -> io::Result<()> {
        let is_write = direction == Direction::Write;
        // SAFETY: the connection is ours, and its descriptor is open.
        match unsafe { ngx_wsgi_report(self.connection.as_ptr(), is_write.into(), on.into()) } {
            super::OK => Ok(()),
            _ => Err(io::Error::from_raw_os_error(libc::ENOMEM)),
        }
    }

    /// Whether its owner's descriptor is still that file.
    pub fn is_open(&self) -> bool {
        let is_like = File::of(self.number).is_ok_and(|file| file == self.file);
        is_like && (self.file.kind != 0 || is_same(self.number, self.own.as_raw_fd()))
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // While the descriptor is open nothing of it can fail.
        let _ = self.watch(Direction::Read, false);
        let _ = self.watch(Direction::Write, false);
        // SAFETY: the connection is ours; nginx forgets it, and its events are in no queue any more.
        unsafe {
            let c = self.connection.as_ptr();
            for event in [(*c).read, (*c).write] {
                if (*event).posted() != 0 {
                    ngx_delete_posted_event(event);
                }
            }
            ngx_free_connection(c);
            // Not to be taken for the descriptor of a client, and what nginx has heard already is void.
            (*c).fd = -1;
        }
    }
}

impl File {
    fn of(number: RawFd) -> io::Result<Self> {
        // SAFETY: a zeroed stat is valid, and only written to.
        let mut stat: libc::stat = unsafe { core::mem::zeroed() };
        // SAFETY: as above.
        if unsafe { libc::fstat(number, &mut stat) } == -1 {
            return Err(io::Error::last_os_error());
        }
        let kind = stat.st_mode & libc::S_IFMT;
        Ok(Self { device: stat.st_dev, inode: stat.st_ino, kind })
    }
}

/// Whether two descriptors are one open file; true where the system does not tell. Files such as those of eventfd(2)
/// cannot be told apart otherwise.
fn is_same(first: RawFd, second: RawFd) -> bool {
    const KCMP_FILE: libc::c_int = 0;
    // SAFETY: compares two descriptors of this process.
    unsafe {
        let pid = libc::getpid();
        libc::syscall(libc::SYS_kcmp, pid, pid, KCMP_FILE, first, second) <= 0
    }
}

fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the number is only used for the call, which fails if nothing is open by it.
    unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned()
}

/// Whether epoll takes it. It does not take files and folders, nor devices such as /dev/null, which are always
/// ready; nginx would log an alert.
fn can_be_watched(fd: &OwnedFd, file: File) -> io::Result<bool> {
    if matches!(file.kind, libc::S_IFSOCK | libc::S_IFIFO) {
        return Ok(true);
    }
    // SAFETY: makes a descriptor, which is the OwnedFd's alone; a valid event is given to be read.
    unsafe {
        let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        if epoll == -1 {
            return Err(io::Error::last_os_error());
        }
        let epoll = OwnedFd::from_raw_fd(epoll);
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        let (epoll, fd) = (epoll.as_raw_fd(), fd.as_raw_fd());
        Ok(libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) == 0)
    }
}

/// Whether nginx's method, select(2), cannot watch a descriptor with this number.
fn is_beyond_select(number: RawFd) -> bool {
    // SAFETY: the configuration of nginx's own event modules is complete, and its name a C string.
    unsafe {
        let events = *Request::cycle().conf_ctx.add(ngx_events_module.index);
        let conf: *const ngx_event_conf_t =
            (*(*events).add(ngx_event_core_module.ctx_index)).cast();
        number >= libc::FD_SETSIZE as RawFd && CStr::from_ptr((*conf).name.cast()) == c"select"
    }
}

fn connection(fd: &OwnedFd) -> io::Result<NonNull<ngx_connection_t>> {
    let too_few = || io::Error::from_raw_os_error(libc::ENOBUFS);
    // SAFETY: on nginx's thread, in a process that has its connections.
    unsafe {
        let cycle: &ngx_cycle_t = &*ngx_cycle.cast_const();
        // nginx closes clients that are idle to make room. If there are none it would log an alert.
        if cycle.free_connections.is_null() && cycle.reusable_connections_n == 0 {
            return Err(too_few());
        }
        NonNull::new(ngx_get_connection(fd.as_raw_fd(), cycle.log)).ok_or_else(too_few)
    }
}

unsafe extern "C" fn readable(event: *mut ngx_event_t) {
    // SAFETY: nginx calls the handler of an event of ours.
    unsafe { happened(event, Direction::Read) };
}

unsafe extern "C" fn writable(event: *mut ngx_event_t) {
    // SAFETY: as above.
    unsafe { happened(event, Direction::Write) };
}

/// # Safety
/// `event` must belong to the connection of a Descriptor.
unsafe fn happened(event: *mut ngx_event_t, direction: Direction) {
    entry::quietly(|| {
        // SAFETY: the event's data is the connection, whose data is the Descriptor until that is dropped, and
        // with it the connection freed; nginx does not call for one that is free. If it is another Descriptor's by
        // now, the second since, that may be called for what happened to the first.
        let descriptor =
            unsafe { &*(*(*event).data.cast::<ngx_connection_t>()).data.cast::<Descriptor>() };
        (descriptor.ready)(direction);
    });
}
