//! The parts of environ, kept: for a thread that builds environ when the request itself is out of reach.

use super::environ::{Headers, Parts, Vars};

/// A place in the bytes of a snapshot.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    length: u32,
}

/// All parts of one request, in one piece of memory.
#[derive(Debug)]
pub struct Snapshot {
    bytes: Vec<u8>,
    required: [Span; REQUIRED],
    optional: [Option<Span>; OPTIONAL],
    tls: Option<(Span, Span)>,
    content_length: Option<u64>,
    headers: Vec<(Span, Span)>,
    vars: Vec<Option<Span>>,
}

/// How many of the parts are always there, and how many may be missing.
const REQUIRED: usize = 9;
const OPTIONAL: usize = 4;

/// Enough for a browser's request without much of a Cookie.
const TYPICAL_BYTES: usize = 1024;
const TYPICAL_HEADERS: usize = 16;

impl Snapshot {
    /// Copies the parts.
    pub fn new<'a>(parts: Parts<'a, impl Headers<'a>, impl Vars<'a>>) -> Self {
        let mut bytes = Vec::with_capacity(TYPICAL_BYTES);
        let mut keep = |part: &[u8]| {
            // nginx's limits for requests are far below 4 GiB.
            let span = Span { start: bytes.len() as u32, length: part.len() as u32 };
            bytes.extend_from_slice(part);
            span
        };
        let required = [
            parts.method,
            parts.script_name,
            parts.path_info,
            parts.query_string,
            parts.request_uri,
            parts.protocol,
            parts.server_addr,
            parts.server_port,
            parts.remote_addr,
        ]
        .map(&mut keep);
        let optional =
            [parts.server_name, parts.remote_port, parts.remote_user, parts.document_root]
                .map(|part| part.map(&mut keep));
        let tls = parts.tls.map(|(protocol, cipher)| (keep(protocol), keep(cipher)));
        let mut headers = Vec::with_capacity(TYPICAL_HEADERS);
        headers.extend(parts.headers.map(|(name, value)| (keep(name), keep(value))));
        let vars = parts.vars.map(|value| value.map(&mut keep)).collect();
        let content_length = parts.content_length;
        Self { bytes, required, optional, tls, content_length, headers, vars }
    }

    /// "GET /path HTTP/1.1", for a message.
    pub fn request_line(&self) -> String {
        let [method, _, _, _, uri, protocol, ..] = self.required.map(|span| {
            String::from_utf8_lossy(&self.bytes[span.start as usize..][..span.length as usize])
        });
        format!("{method} {uri} {protocol}")
    }

    /// The parts again.
    pub fn parts(&self) -> Parts<'_, impl Headers<'_>, impl Vars<'_>> {
        let at = |span: &Span| &self.bytes[span.start as usize..][..span.length as usize];
        let [
            method,
            script_name,
            path_info,
            query_string,
            request_uri,
            protocol,
            server_addr,
            server_port,
            remote_addr,
        ] = self.required.each_ref().map(at);
        let [server_name, remote_port, remote_user, document_root] =
            self.optional.each_ref().map(|span| span.as_ref().map(at));
        Parts {
            method,
            script_name,
            path_info,
            query_string,
            request_uri,
            protocol,
            server_name,
            server_addr,
            server_port,
            remote_addr,
            remote_port,
            remote_user,
            document_root,
            content_length: self.content_length,
            tls: self.tls.as_ref().map(|(protocol, cipher)| (at(protocol), at(cipher))),
            headers: self.headers.iter().map(move |(name, value)| (at(name), at(value))),
            vars: self.vars.iter().map(move |value| value.as_ref().map(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_come_back_as_they_were() {
        let headers = [(&b"host"[..], &b"a"[..]), (b"x-empty", b""), (b"host", b"b")];
        let vars = [Some(&b"value"[..]), None, Some(b"")];
        let parts = || Parts {
            method: b"POST",
            script_name: b"",
            path_info: b"/p",
            query_string: b"a=b",
            request_uri: b"/p?a=b",
            protocol: b"HTTP/2.0",
            server_name: None,
            server_addr: b"::1",
            server_port: b"443",
            remote_addr: b"::1",
            remote_port: Some(&b"1"[..]),
            remote_user: None,
            document_root: Some(&b""[..]),
            content_length: Some(0),
            tls: Some((&b"TLSv1.3"[..], &b"cipher"[..])),
            headers: headers.iter().copied(),
            vars: vars.iter().copied(),
        };
        let snapshot = Snapshot::new(parts());
        let (again, first) = (snapshot.parts(), parts());
        assert_eq!(again.headers.collect::<Vec<_>>(), headers);
        assert_eq!(again.vars.collect::<Vec<_>>(), vars);
        assert_eq!(
            (again.method, again.script_name, again.path_info, again.query_string),
            (first.method, first.script_name, first.path_info, first.query_string)
        );
        assert_eq!(
            (again.request_uri, again.protocol, again.server_name, again.server_addr),
            (first.request_uri, first.protocol, first.server_name, first.server_addr)
        );
        assert_eq!(
            (again.server_port, again.remote_addr, again.remote_port, again.remote_user),
            (first.server_port, first.remote_addr, first.remote_port, first.remote_user)
        );
        assert_eq!(
            (again.document_root, again.content_length, again.tls),
            (first.document_root, first.content_length, first.tls)
        );
    }
}
