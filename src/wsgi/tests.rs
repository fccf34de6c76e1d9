//! The gateway with a host of memory instead of nginx: applications in a real interpreter.

use core::cell::RefCell;
use std::ffi::CString;
use std::io::{BufReader, Cursor, Read};
use std::sync::{Mutex, Once};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule};

use crate::block::Block;
use crate::error::Error;
use crate::py::{self, Interpreter, PyBlock, Settings};

use super::{
    Body, Constants, Draft, Environ, Exchange, Gateway, Host, LineLog, Parts, Protocol, Step,
    Writer,
};

struct Memory;

impl Host for Memory {
    type Writer = Written;
    type Log = Lines;
    type Body = Chunks;
}

#[derive(Default)]
struct Written(Mutex<Vec<u8>>);

impl Writer for Written {
    fn write(&self, _py: Python<'_>, _draft: &Draft, block: PyBlock) -> PyResult<()> {
        self.0.lock().unwrap().extend_from_slice(block.as_bytes());
        Ok(())
    }

    fn discard(&self) {
        self.0.lock().unwrap().clear();
    }

    fn end(&self) {}
}

struct Lines;

// What was logged in this thread, which is what a test runs in.
thread_local!(static LOGGED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) });

impl LineLog for Lines {
    fn line(&self, line: &[u8]) {
        LOGGED.with_borrow_mut(|lines| lines.push(String::from_utf8_lossy(line).into_owned()));
    }

    fn end(&self) {}
}

/// A body that comes in pieces of a few bytes, so that every reading crosses borders. In pieces of an even
/// size it passes for one that still arrives.
struct Chunks {
    reader: BufReader<Cursor<Vec<u8>>>,
    remaining: u64,
    is_arriving: bool,
}

impl Chunks {
    fn new(data: &[u8], piece: usize) -> Self {
        let reader = BufReader::with_capacity(piece, Cursor::new(data.to_vec()));
        Self { reader, remaining: data.len() as u64, is_arriving: piece.is_multiple_of(2) }
    }
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let amount = self.reader.read(into)?;
        self.remaining -= amount as u64;
        Ok(amount)
    }
}

impl std::io::BufRead for Chunks {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.remaining -= amount as u64;
        self.reader.consume(amount);
    }
}

impl Body for Chunks {
    fn remaining(&self) -> Option<u64> {
        (!self.is_arriving).then_some(self.remaining)
    }

    fn at_hand(&mut self) -> &[u8] {
        self.reader.buffer()
    }
}

/// What became of a call.
#[derive(Debug, Default)]
struct Outcome {
    status: Option<u16>,
    blocks: Vec<Vec<u8>>,
    error: Option<String>,
    closed: usize,
}

fn python() -> &'static Interpreter {
    static START: Once = Once::new();
    START.call_once(|| {
        py::start(&Settings::default(), |_| {}).unwrap();
    });
    Interpreter::main().unwrap()
}

/// Calls `application` of `source` with `body` and takes all steps. `source` may count in `closed`.
fn run(source: &str, body: &[u8], piece: usize) -> Outcome {
    run_by(Protocol::Wsgi, source, body, piece)
}

fn run_by(protocol: Protocol, source: &str, body: &[u8], piece: usize) -> Outcome {
    let source = CString::new(source).unwrap();
    python().enter(|py| {
        let gateway = Gateway::<Memory>::new(py).unwrap();
        let module = PyModule::from_code(py, &source, c"app.py", c"app").unwrap();
        module.setattr("closed", 0).unwrap_or(());
        let body = (!body.is_empty()).then(|| Chunks::new(body, piece));
        let exchange = Exchange::new(py, &gateway, Written::default(), Lines, body).unwrap();
        let mut outcome = Outcome::default();
        let app = module.getattr("application").unwrap();
        let steps = exchange
            .slice(py, || -> Result<(), Error> {
                let environ = environ(py, &gateway, &exchange);
                exchange.call(py, &gateway, &app, environ, protocol)?;
                loop {
                    match exchange.step(py)? {
                        Step::Empty => continue,
                        Step::Block(block) => outcome.blocks.push(block.as_bytes().to_vec()),
                        Step::All(blocks) => {
                            outcome.blocks.extend(blocks.iter().map(|b| b.as_bytes().to_vec()));
                            return Ok(());
                        }
                        Step::File(_) => exchange.file_taken(py, false)?,
                        Step::Done => return Ok(()),
                    }
                }
            })
            .unwrap();
        outcome.error = steps.err().map(|error| match error {
            Error::Raised(error) => error.to_string(),
            error => error.to_string(),
        });
        outcome.status = exchange.draft(py, Draft::commit).map(|head| head.status());
        exchange.end(py, &gateway).unwrap();
        exchange.end(py, &gateway).unwrap();
        outcome.closed = module.getattr("closed").unwrap().extract().unwrap();
        outcome
    })
}

fn environ<'py>(
    py: Python<'py>,
    gateway: &Gateway<Memory>,
    exchange: &Exchange<Memory>,
) -> Bound<'py, PyDict> {
    let constants = Constants {
        server_software: b"test",
        server_name: Some(b"localhost"),
        document_root: None,
        multithread: false,
        multiprocess: false,
        pass_authorization: false,
        vars: &[(b"CONSTANT", Some(b"c")), (b"HTTP_X_TWICE", None), (b"HTTP_HOST", None)],
    };
    let headers: [(&[u8], &[u8]); 18] = [
        (b"host", b"localhost"),
        (b"x-two", b"a"),
        (b"x-two", b"\xe4"),
        (b"x-twice", b"a"),
        (b"cookie", b"a=1"),
        (b"x-twice", b"\xe4"),
        (b"cookie", b"b=2"),
        (b"proxy", b"http://evil"),
        (b"authorization", b"Basic x"),
        (b"content-type", b"text/plain"),
        (b"x-same", b"a"),
        (b"x-same", b"a"),
        (b"via", b"1.1 proxy"),
        (b"via", b"1.1 proxy"),
        (b"content_type", b"text/html"),
        (b"content_length", b"4"),
        (b"transfer_encoding", b"chunked"),
        (b"proxy_authorization", b"Basic x"),
    ];
    let parts = Parts {
        method: b"PROPFIND",
        script_name: b"/app",
        path_info: b"/\xc3\xa4",
        query_string: b"",
        request_uri: b"/app/%C3%A4",
        protocol: b"HTTP/1.1",
        server_name: None,
        server_addr: b"::1",
        server_port: b"80",
        remote_addr: b"::1",
        remote_port: Some(b"1234"),
        remote_user: None,
        document_root: Some(b"/srv"),
        content_length: Some(3),
        tls: None,
        headers: headers.into_iter(),
        vars: [Some(&b"c"[..]), Some(b"\xe4"), None].into_iter(),
    };
    let template = Environ::new(py, gateway, &constants, None).unwrap();
    exchange.environ(py, gateway, &template, parts).unwrap()
}

const CLOSING: &str = "
class Body:
    def __init__(self, *items):
        self.items = iter(items)
    def __iter__(self):
        return self
    def __next__(self):
        item = next(self.items)
        if isinstance(item, Exception):
            raise item
        return item
    def close(self):
        global closed
        closed += 1
";

fn run_body(items: &str) -> Outcome {
    let source = format!(
        "{CLOSING}\ndef application(environ, start_response):\n    \
         start_response('200 OK', [])\n    return Body({items})\n"
    );
    run(&source, b"", 1)
}

#[test]
fn blocks_come_one_by_one_and_empty_ones_are_no_blocks() {
    let outcome = run_body("b'', b'one', b'', b'two'");
    assert_eq!(outcome.status, Some(200));
    assert_eq!(outcome.blocks, [b"one".to_vec(), b"two".to_vec()]);
    assert_eq!((outcome.error, outcome.closed), (None, 1));
}

#[test]
fn close_is_called_once_after_every_error() {
    let raised = run_body("b'x', ValueError('boom'), b'y'");
    assert_eq!((raised.error.as_deref(), raised.closed), (Some("ValueError: boom"), 1));
    let mistyped = run_body("b'x', 'y'");
    assert_eq!(mistyped.error.as_deref(), Some("yielded a str, not bytes; encode it first"));
    assert_eq!(mistyped.closed, 1);
}

#[test]
fn a_list_is_taken_as_a_whole() {
    let source = "def application(environ, start_response):\n    \
                  start_response('201 Created', [])\n    return [b'a', b'', b'b']\n";
    let outcome = run(source, b"", 1);
    assert_eq!(outcome.status, Some(201));
    assert_eq!(outcome.blocks, [b"a".to_vec(), b"b".to_vec()]);
}

#[test]
fn start_response_twice_is_an_error_even_after_a_failed_call() {
    for first in ["'200 OK', []", "'200 OK\\n', []"] {
        let source = format!(
            "def application(environ, start_response):\n    try:\n        \
             start_response({first})\n    except ValueError:\n        pass\n    \
             start_response('200 OK', [])\n"
        );
        let error = run(&source, b"", 1).error.unwrap();
        assert!(error.starts_with("RuntimeError: start_response() was called before"), "{error}");
    }
}

#[test]
fn exc_info_replaces_the_head_until_it_is_sent() {
    let source = "
import sys
def application(environ, start_response):
    start_response('200 OK', [('A', 'b')])
    try:
        1 / 0
    except ZeroDivisionError:
        start_response('503 Sorry', [], sys.exc_info())
    return [b'sorry']
";
    assert_eq!(run(source, b"", 1).status, Some(503));
}

#[test]
fn input_reads_like_bytes_io_whatever_the_borders() {
    let body = b"one\ntwo\r\n\nlonger than any of the pieces\nno end";
    let source = "
import io
def application(environ, start_response):
    wanted, given = io.BytesIO(BODY), environ['wsgi.input']
    for size in (3, 1, 0, 2, 5):
        assert given.readline(size) == wanted.readline(size), size
        assert given.read(size) == wanted.read(size), size
    assert given.readlines(1) == wanted.readlines(1)
    assert next(given) == next(wanted)
    assert list(given) == list(wanted)
    assert given.read() == given.readline() == b'' and given.readlines() == []
    start_response('200 OK', [])
    return []
";
    let source = source.replace("BODY", &format!("b{:?}", String::from_utf8_lossy(body)));
    for piece in [1, 2, 3, 5, 7, 100] {
        assert_eq!(run(&source, body, piece).error, None, "pieces of {piece}");
    }
}

#[test]
fn environ_is_what_pep_3333_says() {
    let source = "
def application(environ, start_response):
    assert type(environ) is dict
    assert all(type(v) is str for k, v in environ.items() if '.' not in k)
    assert environ['REQUEST_METHOD'] == 'PROPFIND'
    assert (environ['SCRIPT_NAME'], environ['PATH_INFO']) == ('/app', '/\\xc3\\xa4')
    assert environ['REQUEST_URI'] == '/app/%C3%A4' and environ['QUERY_STRING'] == ''
    assert (environ['SERVER_NAME'], environ['SERVER_PORT']) == ('localhost', '80')
    assert (environ['CONTENT_LENGTH'], environ['CONTENT_TYPE']) == ('3', 'text/plain')
    assert environ['HTTP_X_TWO'] == 'a, \\xe4' and environ['HTTP_COOKIE'] == 'a=1; b=2'
    assert (environ['HTTP_X_SAME'], environ['HTTP_VIA']) == ('a, a', '1.1 proxy, 1.1 proxy')
    assert (environ['CONSTANT'], environ['HTTP_X_TWICE']) == ('c', '\\xe4')
    for absent in ('HTTP_HOST', 'HTTP_PROXY', 'HTTP_AUTHORIZATION', 'HTTP_CONTENT_TYPE', 'REMOTE_USER', 'HTTPS',
                   'HTTP_CONTENT_LENGTH', 'HTTP_TRANSFER_ENCODING', 'HTTP_PROXY_AUTHORIZATION'):
        assert absent not in environ, absent
    assert environ['wsgi.version'] == (1, 0) and environ['wsgi.input_terminated'] is True
    start_response('200 OK', [])
    return []
";
    assert_eq!(run(source, b"abc", 1).error, None);
}

#[test]
fn errors_logs_line_by_line() {
    LOGGED.take();
    let source = "
def application(environ, start_response):
    errors = environ['wsgi.errors']
    errors.write('one\\ntw')
    errors.writelines(['o\\n', '%s%n\\n', '\\ud800\\n'])
    errors.write('rest')
    start_response('200 OK', [])
    return []
";
    assert_eq!(run(source, b"", 1).error, None);
    assert_eq!(LOGGED.take(), ["one", "two", "%s%n", "\\ud800", "rest"]);
}

#[test]
fn what_was_lent_to_python_is_empty_afterwards() {
    let source = "
import builtins
def application(environ, start_response):
    builtins.kept = environ['wsgi.input'], start_response, start_response('200 OK', [])
    return []
";
    assert_eq!(run(source, b"abc", 1).error, None);
    python().enter(|py| {
        let check = c"
input, start_response, write = kept
for call, error in ((lambda: input.read(), ValueError), (lambda: write(b'x'), RuntimeError),
                    (lambda: start_response('200 OK', []), RuntimeError)):
    try:
        call()
    except error:
        pass
    else:
        raise AssertionError(error)
";
        py.run(check, None, None).unwrap();
    });
}

#[test]
fn wsgi2_returns_everything_at_once() {
    let run = |result: &str| {
        let source = format!("{CLOSING}\ndef application(environ):\n    return {result}\n");
        run_by(Protocol::Wsgi2, &source, b"", 1)
    };
    let outcome = run("'201 Created', [], Body(b'a', b'', b'b')");
    assert_eq!((outcome.status, outcome.error, outcome.closed), (Some(201), None, 1));
    assert_eq!(outcome.blocks, [b"a".to_vec(), b"b".to_vec()]);
    for (result, kind) in [("[1, 2, 3]", "a list"), ("(1, 2)", "a tuple of 2 items")] {
        let error = run(result).error.unwrap();
        assert!(error.starts_with(&format!("returned {kind}, not a tuple (status")), "{error}");
    }
    let refused = run("'200 OK\\n', [], Body(b'a')");
    assert_eq!((refused.status, refused.closed), (None, 1));
    assert!(refused.error.unwrap().starts_with("ValueError: control character"));
}
