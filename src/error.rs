//! Everything that can go wrong with an application, and what follows from it.

use core::fmt;
use std::any::Any;

use pyo3::PyErr;

/// Why a request could not be answered by the application.
#[derive(Debug)]
pub enum Error {
    /// The application raised.
    Raised(PyErr),
    /// Importing it raised.
    Import(PyErr),
    /// Importing or applying the named middleware raised.
    Middleware(String, PyErr),
    /// An import has failed before and is not tried again yet; the text sums the reason up.
    NotLoaded(String),
    /// It returned an object of the named type, which is no iterable of `bytes`.
    NotIterable(String),
    /// An item of the iterable is not `bytes` but of the named type.
    NotBytes(String),
    /// It returned an object of the named type instead of the triple of `wsgi_protocol wsgi2`.
    NotTriple(String),
    /// It ended, or yielded a block, without having called `start_response`.
    NoStartResponse,
    /// Fewer bytes than the Content-Length said.
    Short { sent: u64, declared: u64 },
    /// Its interpreter could not be made, which has been logged.
    NoInterpreter,
    /// No thread of its pool could be started, which has been logged.
    NoThreads,
    /// nginx could not do its part (out of memory, a failed temporary file); logged where it happened.
    Nginx,
    /// A variable in the configuration has a value that makes no sense.
    Configuration(String),
}

impl From<PyErr> for Error {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

impl fmt::Display for Error {
    /// What follows `application "T" ` in the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The executor describes exceptions, because that needs the interpreter.
            Self::Raised(_) => write!(f, "raised an exception"),
            Self::Import(_) | Self::Middleware(..) => write!(f, "cannot be loaded"),
            Self::NotLoaded(reason) => write!(f, "is not loaded ({reason})"),
            Self::NotIterable(kind) => {
                let instead = match kind.as_str() {
                    "str" => "[body.encode()]",
                    "bytes" => "[body]",
                    _ => "a list such as [b\"...\"]",
                };
                let returned = a(kind);
                write!(f, "returned {returned}, not an iterable of bytes; return {instead}")
            }
            Self::NotTriple(kind) => write!(
                f,
                "returned {}, not a tuple (status, headers, body), as \"wsgi_protocol wsgi2\" demands",
                a(kind)
            ),
            Self::NotBytes(kind) => {
                let advice = if kind == "str" { "; encode it first" } else { "" };
                write!(f, "yielded {}, not bytes{advice}", a(kind))
            }
            Self::NoStartResponse => write!(f, "returned without calling start_response"),
            Self::Short { sent, declared } => write!(
                f,
                "sent {sent} of the {declared} bytes of its Content-Length, the connection is closed"
            ),
            Self::NoThreads => write!(f, "cannot run, none of its threads could start"),
            Self::NoInterpreter => write!(f, "cannot run, its interpreter did not start"),
            Self::Nginx => write!(f, "could not be served"),
            Self::Configuration(text) => write!(f, "cannot be called: {text}"),
        }
    }
}

/// What a panic said.
pub fn panic_text(payload: &Box<dyn Any + Send>) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// An object of this type, in words.
pub fn a(kind: &str) -> String {
    match kind {
        "NoneType" => "None".to_owned(),
        "bytes" => "bytes".to_owned(),
        kind if kind.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']) => {
            format!("an {kind}")
        }
        kind => format!("a {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_fits_the_type() {
        let text = |kind: &str| Error::NotBytes(kind.to_owned()).to_string();
        assert_eq!(text("str"), "yielded a str, not bytes; encode it first");
        assert_eq!(text("int"), "yielded an int, not bytes");
        assert_eq!(text("bytearray"), "yielded a bytearray, not bytes");
        assert_eq!(text("NoneType"), "yielded None, not bytes");
        let text = |kind: &str| Error::NotIterable(kind.to_owned()).to_string();
        assert_eq!(text("str"), "returned a str, not an iterable of bytes; return [body.encode()]");
        assert_eq!(text("bytes"), "returned bytes, not an iterable of bytes; return [body]");
        assert_eq!(
            text("NoneType"),
            "returned None, not an iterable of bytes; return a list such as [b\"...\"]"
        );
    }
}
