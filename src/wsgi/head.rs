//! The head of a response: status and headers, checked as PEP 3333 demands.
//!
//! Made by `start_response`, kept aside until the first block, and only then given to nginx, so that an
//! error before that can replace it without a trace.

use crate::field;

/// A checked status line and checked headers.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    status: u16,
    content_length: Option<u64>,
    /// The status line, and then for each field its `Lengths`, name and value: one piece of memory for all.
    text: Vec<u8>,
    status_end: usize,
    fields: usize,
}

/// How long name and value of a field are, as they stand in the text of a head.
type Lengths = [u8; 2 * size_of::<usize>()];

/// Room for a field of common size, in bytes.
const FIELD: usize = 40 + size_of::<Lengths>();

/// Why a head was refused; becomes a `ValueError` in the application.
#[derive(Debug, PartialEq, Eq)]
pub enum HeadError {
    Status(String),
    ControlCharacter(String),
    Name(String),
    HopByHop(String),
    ContentLength(String),
    ContentLengths,
}

impl core::fmt::Display for HeadError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Status(status) => {
                write!(
                    f,
                    "status {status:?} is not three digits from 200 to 599, a space and a reason"
                )
            }
            Self::ControlCharacter(place) => write!(f, "control character in {place}"),
            Self::Name(name) => write!(f, "{name:?} is not a valid header name"),
            Self::HopByHop(name) => {
                write!(f, "{name:?} is a hop-by-hop header, which belongs to the server")
            }
            Self::ContentLength(value) => write!(f, "Content-Length {value:?} is not a number"),
            Self::ContentLengths => write!(f, "more than one Content-Length"),
        }
    }
}

impl Head {
    /// A head with the status line `status`, "200 OK" for example. PEP 3333: three digits, a space, a
    /// reason, no control characters. A missing reason is tolerated, as by Apache mod_wsgi.
    pub fn new(status: &[u8], fields: usize) -> Result<Self, HeadError> {
        let bad = || HeadError::Status(printable(status));
        if has_control(status) {
            return Err(HeadError::ControlCharacter("the status".to_owned()));
        }
        let code = match status {
            [a, b, c] | [a, b, c, b' ', ..] if [a, b, c].iter().all(|d| d.is_ascii_digit()) => {
                [a, b, c].iter().fold(0, |code, digit| code * 10 + u16::from(**digit - b'0'))
            }
            _ => return Err(bad()),
        };
        // An informational status is no response: the client would go on waiting for one.
        if !(200..=599).contains(&code) {
            return Err(bad());
        }
        let mut text = Vec::with_capacity(status.len() + fields * FIELD);
        text.extend_from_slice(status);
        Ok(Self { status: code, content_length: None, status_end: text.len(), text, fields: 0 })
    }

    /// Adds a header.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        if name.is_empty() || !is_token(name) {
            return Err(HeadError::Name(printable(name)));
        }
        if has_control(value) {
            return Err(HeadError::ControlCharacter(format!("the value of {:?}", printable(name))));
        }
        if is_hop_by_hop(name) {
            return Err(HeadError::HopByHop(printable(name)));
        }
        if field::is(name, b"content-length") {
            self.set_content_length(value)?;
        }
        self.text.reserve(size_of::<Lengths>() + name.len() + value.len());
        for length in [name.len(), value.len()] {
            self.text.extend_from_slice(&length.to_ne_bytes());
        }
        self.text.extend_from_slice(name);
        self.text.extend_from_slice(value);
        self.fields += 1;
        Ok(())
    }

    fn set_content_length(&mut self, value: &[u8]) -> Result<(), HeadError> {
        let number = core::str::from_utf8(value)
            .ok()
            .filter(|_| !value.is_empty() && value.iter().all(u8::is_ascii_digit));
        // nginx counts in a signed 64-bit integer.
        let length = number.and_then(|number| number.parse::<i64>().ok());
        let length = length.ok_or_else(|| HeadError::ContentLength(printable(value)))? as u64;
        match self.content_length.replace(length) {
            Some(_) => Err(HeadError::ContentLengths),
            None => Ok(()),
        }
    }

    /// The status code, 200 to 599.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The status line as the application gave it.
    pub fn status_line(&self) -> &[u8] {
        &self.text[..self.status_end]
    }

    /// The Content-Length that the application set.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// The headers in their order, names as the application spelled them.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> + Clone {
        let mut rest = &self.text[self.status_end..];
        (0..self.fields).map(move |_| {
            let [name, value] = [(); 2].map(|()| {
                let (length, others) = rest.split_at(size_of::<usize>());
                rest = others;
                usize::from_ne_bytes(length.try_into().unwrap_or_default())
            });
            let field;
            (field, rest) = rest.split_at(name + value);
            field.split_at(name)
        })
    }

    /// Whether a response with this status has no body (RFC 9110, 6.4.1).
    pub fn forbids_body(&self) -> bool {
        self.status == 204 || self.status == 304
    }
}

fn printable(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Looks at all of them, which is quicker than to stop at the first: hardly ever there is one.
fn has_control(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |has, byte| has | (*byte < 0x20) | (*byte == 0x7f))
}

/// RFC 9110, 5.6.2; of all bytes, as above.
fn is_token(bytes: &[u8]) -> bool {
    const TOKEN: [bool; 256] = {
        let mut token = [false; 256];
        let symbols = b"!#$%&'*+-.^_`|~";
        let mut byte = 0;
        while byte < 256 {
            token[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let mut index = 0;
        while index < symbols.len() {
            token[symbols[index] as usize] = true;
            index += 1;
        }
        token
    };
    bytes.iter().fold(true, |is, byte| is & TOKEN[usize::from(*byte)])
}

/// RFC 2616, 13.5.1, which PEP 3333 refers to, and the misspelling of wsgiref.
fn is_hop_by_hop(name: &[u8]) -> bool {
    let candidates: &[&[u8]] = match name.len() {
        2 => &[b"te"],
        7 => &[b"trailer", b"upgrade"],
        8 => &[b"trailers"],
        10 => &[b"connection", b"keep-alive"],
        17 => &[b"transfer-encoding"],
        18 => &[b"proxy-authenticate"],
        19 => &[b"proxy-authorization"],
        _ => return false,
    };
    candidates.iter().any(|hop| field::is(name, hop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines() {
        assert_eq!(Head::new(b"200 OK", 0).unwrap().status(), 200);
        assert_eq!(Head::new(b"404", 0).unwrap().status(), 404);
        assert_eq!(Head::new(b"299 ", 0).unwrap().status_line(), b"299 ");
        for bad in [&b"20 OK"[..], b"2000 OK", b"OK", b"", b"200OK", b"103 X", b"600 X", b" 200 OK"]
        {
            assert!(matches!(Head::new(bad, 0), Err(HeadError::Status(_))), "{bad:?}");
        }
        for bad in [&b"200 OK\r\nX: y"[..], b"200 OK\n", b"200\0", b"200 \x7f"] {
            assert!(matches!(Head::new(bad, 0), Err(HeadError::ControlCharacter(_))), "{bad:?}");
        }
    }

    #[test]
    fn fields_come_back_as_they_were() {
        let mut head = Head::new(b"200 OK", 2).unwrap();
        head.push(b"Content-Type", b"text/plain; charset=latin-1").unwrap();
        head.push(b"X-Bytes", b"\xe4\xf6").unwrap();
        head.push(b"X-Empty", b"").unwrap();
        let fields: Vec<_> = head.fields().collect();
        assert_eq!(
            fields,
            [
                (&b"Content-Type"[..], &b"text/plain; charset=latin-1"[..]),
                (b"X-Bytes", b"\xe4\xf6"),
                (b"X-Empty", b""),
            ]
        );
    }

    #[test]
    fn injection_is_refused() {
        let mut head = Head::new(b"200 OK", 1).unwrap();
        for bad in [&b"a\r\nB: c"[..], b"a\n", b"\0", b"\t", b"\x7f"] {
            assert!(matches!(head.push(b"X", bad), Err(HeadError::ControlCharacter(_))), "{bad:?}");
        }
        for bad in [&b""[..], b"A B", b"A:", b"A\r\n", b"\xe4", b"A\0"] {
            assert!(matches!(head.push(bad, b"v"), Err(HeadError::Name(_))), "{bad:?}");
        }
        assert_eq!(head.fields().len(), 0);
    }

    #[test]
    fn hop_by_hop_headers_are_refused() {
        let mut head = Head::new(b"200 OK", 1).unwrap();
        for name in ["Connection", "keep-alive", "TE", "Transfer-Encoding", "Upgrade", "Trailer"] {
            let refused = head.push(name.as_bytes(), b"x");
            assert_eq!(refused, Err(HeadError::HopByHop(name.to_owned())));
        }
    }

    #[test]
    fn content_length() {
        let length = |value: &[u8]| {
            let mut head = Head::new(b"200 OK", 1).unwrap();
            head.push(b"content-Length", value).map(|()| head.content_length().unwrap())
        };
        assert_eq!(length(b"0"), Ok(0));
        assert_eq!(length(b"012"), Ok(12));
        assert_eq!(length(b"9223372036854775807"), Ok(i64::MAX as u64));
        for bad in
            [&b""[..], b"-1", b"+1", b" 1", b"1 ", b"1x", b"0x1", b"9223372036854775808", b"1, 1"]
        {
            assert!(matches!(length(bad), Err(HeadError::ContentLength(_))), "{bad:?}");
        }
        let mut twice = Head::new(b"200 OK", 2).unwrap();
        twice.push(b"Content-Length", b"1").unwrap();
        assert_eq!(twice.push(b"Content-Length", b"1"), Err(HeadError::ContentLengths));
    }
}
