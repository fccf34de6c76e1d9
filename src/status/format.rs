//! Which format: what the client asks for.

use crate::stats::Snapshot;

use super::{Versions, json, page, prometheus};

/// A format of the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Html,
    Json,
    Prometheus,
}

impl Format {
    /// The one that `?format=` names, or else the best of what the client accepts. `None` if there is no such
    /// format.
    pub fn asked<'a>(args: &[u8], accept: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        match argument(args, b"format") {
            Some(b"html") => Some(Self::Html),
            Some(b"json") => Some(Self::Json),
            Some(b"prometheus") => Some(Self::Prometheus),
            Some(_) => None,
            None => Some(Self::accepted(accept)),
        }
    }

    /// The first of those that the client likes best; the page if it likes none.
    fn accepted<'a>(accept: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut best = (Self::Html, 0);
        for range in accept.flat_map(|value| value.split(|byte| *byte == b',')) {
            let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let format = match parts.next().unwrap_or_default().to_ascii_lowercase().as_slice() {
                b"application/json" => Self::Json,
                b"text/plain" | b"application/openmetrics-text" => Self::Prometheus,
                b"text/html" | b"text/*" | b"*/*" => Self::Html,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix(b"q=")).map_or(1000, thousandths);
            if quality > best.1 {
                best = (format, quality);
            }
        }
        best.0
    }

    /// Content-Type without the charset, which is UTF-8.
    pub fn content_type(self) -> &'static [u8] {
        match self {
            Self::Html => b"text/html",
            Self::Json => b"application/json",
            Self::Prometheus => b"text/plain; version=0.0.4",
        }
    }

    /// The status in this format. `has_stacks`: stacks have been asked for.
    pub fn write(self, snapshot: &Snapshot, versions: Versions<'_>, has_stacks: bool) -> String {
        match self {
            Self::Html => page::write(snapshot, versions, has_stacks),
            Self::Json => json::write(snapshot, versions, has_stacks),
            Self::Prometheus => prometheus::write(snapshot, versions),
        }
    }
}

/// Whether `?stacks=1` is there.
pub fn wants_stacks(args: &[u8]) -> bool {
    argument(args, b"stacks") == Some(b"1")
}

/// An argument of the query string.
fn argument<'a>(args: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    args.split(|byte| *byte == b'&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}

/// A `q` of Accept, which has at most three digits after the point.
fn thousandths(q: &[u8]) -> u32 {
    let q = str::from_utf8(q).ok().and_then(|q| q.parse::<f32>().ok()).unwrap_or(0.0);
    (q.clamp(0.0, 1.0) * 1000.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(args: &str, accept: &str) -> Option<Format> {
        Format::asked(args.as_bytes(), core::iter::once(accept.as_bytes()))
    }

    #[test]
    fn an_argument_wins() {
        assert_eq!(asked("format=json", "text/html"), Some(Format::Json));
        assert_eq!(asked("stacks=1&format=html", "application/json"), Some(Format::Html));
        assert_eq!(asked("format=xml", "text/html"), None);
        assert_eq!(asked("format=", "text/html"), None);
        assert_eq!(asked("xformat=json", ""), Some(Format::Html));
        assert!(wants_stacks(b"format=json&stacks=1") && !wants_stacks(b"stacks=0"));
    }

    #[test]
    fn what_browsers_and_scrapers_accept() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(asked("", browser), Some(Format::Html));
        assert_eq!(asked("", prometheus), Some(Format::Prometheus));
        assert_eq!(asked("", "text/plain; version=0.0.4"), Some(Format::Prometheus));
        assert_eq!(asked("", "Application/JSON, */*;q=0.1"), Some(Format::Json));
        assert_eq!(asked("", "application/json;q=0.2, text/html"), Some(Format::Html));
        assert_eq!(asked("", "application/json;q=0"), Some(Format::Html));
        assert_eq!(asked("", "*/*"), Some(Format::Html));
        assert_eq!(asked("", "image/png;q=x,;;,"), Some(Format::Html));
        assert_eq!(Format::accepted(core::iter::empty()), Format::Html);
    }
}
