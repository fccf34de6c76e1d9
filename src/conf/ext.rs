//! What a setter does with `ngx_conf_t`: read its arguments, say what is wrong with file and line.

use core::ffi::c_char;

use nginx_sys::{NGX_LOG_EMERG, ngx_conf_log_error, ngx_conf_t, ngx_str_t};

use crate::nginx::{Level, Log};

use super::Placed;

/// What a setter returns after it has logged an error.
pub const FAILED: *mut c_char = usize::MAX as *mut c_char;

/// The configuration being read, seen from a setter.
pub trait ConfExt {
    /// The directive's words: its name, then its arguments.
    fn args(&self) -> &[ngx_str_t];

    /// Logs an `[emerg]` with file and line, which fails the configuration.
    fn error(&mut self, text: &str) -> *mut c_char;

    /// The same with the place of `what`, which has been read before.
    fn error_at<T>(&mut self, what: &Placed<T>, text: &str) -> *mut c_char;

    /// A value with the file and line being read.
    fn placed<T>(&self, value: T) -> Placed<T>;
}

impl ConfExt for ngx_conf_t {
    fn args(&self) -> &[ngx_str_t] {
        // SAFETY: while a directive is read, cf.args is an array of its words.
        unsafe { (*self.args).as_slice() }
    }

    fn error(&mut self, text: &str) -> *mut c_char {
        // SAFETY: cf is the configuration being read; the text is passed by length, not as a format.
        unsafe {
            let format = c"%*s".as_ptr();
            let level = NGX_LOG_EMERG as usize;
            ngx_conf_log_error(level, self, 0, format.cast_mut(), text.len(), text.as_ptr());
        }
        FAILED
    }

    fn error_at<T>(&mut self, what: &Placed<T>, text: &str) -> *mut c_char {
        // SAFETY: the log of the configuration being read.
        let log = unsafe { Log::from_ptr(self.log) };
        log.write_plain(Level::Emerg, format!("{text} in {}:{}", what.file, what.line));
        FAILED
    }

    fn placed<T>(&self, value: T) -> Placed<T> {
        // SAFETY: conf_file is null or what is being read; for `-g` it has no name.
        let (file, line) = unsafe {
            match self.conf_file.as_ref() {
                Some(file) => (file.file.name.to_string(), file.line),
                None => ("the command line".to_owned(), 0),
            }
        };
        Placed { value, file, line }
    }
}
