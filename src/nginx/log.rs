//! nginx's error log.
//!
//! Text never reaches it as a format string. Lines longer than nginx's buffer are logged in pieces, and
//! control characters are escaped, so that no text can look like a line of its own.

use core::cell::Cell;
use std::borrow::Cow;
use std::sync::OnceLock;

use nginx_sys::{ngx_cycle, ngx_log_error_core, ngx_log_t, ngx_uint_t};

/// nginx cuts a record at NGX_MAX_ERROR_STR (2048); the rest is for time, process and context.
const PIECE: usize = 1600;

/// Severities, most severe first; their numbers are nginx's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Emerg = 1,
    Error = 4,
    Warn = 5,
    Notice = 6,
    Info = 7,
}

/// One of nginx's logs, valid for 'a.
#[derive(Clone, Copy)]
pub struct Log<'a>(&'a ngx_log_t);

impl<'a> Log<'a> {
    /// # Safety
    /// `log` must be valid for 'a.
    pub unsafe fn from_ptr(log: *mut ngx_log_t) -> Self {
        // SAFETY: by the contract of this function.
        Self(unsafe { &*log })
    }

    /// Logs `text` with the context that nginx adds: client, server, request.
    pub fn write(self, level: Level, text: impl AsRef<[u8]>) {
        write(level, self.0, text.as_ref());
    }

    /// Logs `text` without the context, for lines that follow one with it.
    pub fn write_plain(self, level: Level, text: impl AsRef<[u8]>) {
        // SAFETY: a bitwise copy of a plain structure, used for this call only, while `self` is valid.
        let mut plain: ngx_log_t = unsafe { core::ptr::read(self.0) };
        plain.handler = None;
        write(level, &plain, text.as_ref());
    }
}

impl Log<'_> {
    /// Logs `text` with the context, and the lines that follow it.
    pub fn write_all(self, level: Level, text: &str, lines: &[String]) {
        self.write(level, text);
        self.write_lines(level, lines);
    }

    /// Logs the lines that follow one with the context.
    pub fn write_lines(self, level: Level, lines: &[String]) {
        for line in lines {
            self.write_plain(level, format!("wsgi: {line}"));
        }
    }
}

/// The process' log. May be used from any thread.
pub fn process_log() -> Log<'static> {
    // SAFETY: ngx_cycle and its log are set before any worker code runs and live until it ends.
    unsafe { Log::from_ptr((*ngx_cycle).log) }
}

/// Logs one line to the process' log. May be called from any thread.
pub fn write_line(level: Level, text: &[u8]) {
    process_log().write_plain(level, text);
}

/// Logs a line that Python wrote: sys.stdout, sys.stderr.
pub fn python_line(line: &[u8]) {
    write_line(Level::Error, &[b"wsgi: ", line].concat());
}

/// Where lines go that must not be written by the thread that has them: set once, by who can take them to
/// nginx's thread.
static FORWARD: OnceLock<Forward> = OnceLock::new();

/// Takes a line to nginx's thread.
pub type Forward = fn(Level, Vec<u8>);

thread_local! {
    /// Whether this is nginx's thread.
    static IS_OWN: Cell<bool> = const { Cell::new(false) };
}

/// From now on lines of other threads go by way of this one, nginx's, where the log is no plain file: nginx's
/// writers, syslog above all, know of one thread only.
pub fn forward(forward: Forward) {
    IS_OWN.set(true);
    let _ = FORWARD.set(forward);
}

fn has_writer(log: &ngx_log_t) -> bool {
    // SAFETY: the logs of a configuration are a list that ends with null.
    let mut logs = core::iter::successors(Some(log), |log| unsafe { log.next.as_ref() });
    logs.any(|log| log.writer.is_some())
}

fn write(level: Level, log: &ngx_log_t, text: &[u8]) {
    if (level as ngx_uint_t) > log.log_level {
        return;
    }
    if let Some(forward) = FORWARD.get()
        && !IS_OWN.get()
        && has_writer(log)
    {
        return forward(level, text.to_vec());
    }
    let text = escape(text);
    let mut rest: &[u8] = &text;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(PIECE));
        // SAFETY: the log is valid; nginx only writes to its disk_full_time. "%*s" takes a length and a
        // pointer, so the text is no format.
        unsafe {
            let log = core::ptr::from_ref(log).cast_mut();
            let format = c"%*s".as_ptr();
            ngx_log_error_core(level as ngx_uint_t, log, 0, format, piece.len(), piece.as_ptr());
        }
        if after.is_empty() {
            return;
        }
        rest = after;
    }
}

/// What a terminal obeys, or some program takes for the end of a line: the control characters of ASCII, and
/// in UTF-8 those from U+0080 on, U+2028 and U+2029.
fn escape(text: &[u8]) -> Cow<'_, [u8]> {
    let may_be_control = |byte: &u8| *byte < 0x20 || matches!(*byte, 0x7f | 0xc2 | 0xe2);
    if !text.iter().any(may_be_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = Vec::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(first) = rest.first() {
        let length = match rest {
            [b'\t', ..] => 0,
            [..0x20 | 0x7f, ..] => 1,
            [0xc2, 0x80..=0x9f, ..] => 2,
            [0xe2, 0x80, 0xa8 | 0xa9, ..] => 3,
            _ => 0,
        };
        if length == 0 {
            escaped.push(*first);
            rest = &rest[1..];
            continue;
        }
        let (control, after) = rest.split_at(length);
        for byte in control {
            escaped.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        }
        rest = after;
    }
    Cow::Owned(escaped)
}
