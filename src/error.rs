//! Everything that can go wrong with an application, and what follows from it.

use core::fmt;

use pyo3::PyErr;

/// Why a request could not be answered by the application.
#[derive(Debug)]
pub enum Error {
    /// The application raised.
    Raised(PyErr),
    /// The application could not be imported; the text sums the reason up.
    NotLoaded(String),
    /// It returned something else than an iterable of `bytes`.
    NotIterable(String),
    /// An item of the iterable is not `bytes` but of the named type.
    NotBytes(String),
    /// It ended, or yielded a block, without having called `start_response`.
    NoStartResponse,
    /// Fewer bytes than the Content-Length said.
    Short { sent: u64, declared: u64 },
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
            Self::NotLoaded(reason) => write!(f, "is not loaded ({reason})"),
            Self::NotIterable(advice) => write!(f, "returned {advice}"),
            Self::NotBytes(kind) => match kind.as_str() {
                "str" => write!(f, "yielded a str, not bytes; encode it first"),
                kind => write!(f, "yielded {} {kind}, not bytes", article(kind)),
            },
            Self::NoStartResponse => write!(f, "returned without calling start_response"),
            Self::Short { sent, declared } => write!(
                f,
                "sent {sent} of the {declared} bytes of its Content-Length, the connection is closed"
            ),
            Self::Nginx => write!(f, "could not be served"),
            Self::Configuration(text) => write!(f, "cannot be called: {text}"),
        }
    }
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']) { "an" } else { "a" }
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
    }
}
