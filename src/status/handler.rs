//! The content handler of a location with `wsgi_status`.
//!
//! Without stacks it answers at once. For stacks it asks all workers and looks again until they have
//! answered, or until the time is over: some worker may be in a call that keeps the GIL.

use std::time::{Duration, Instant};

use nginx_sys::ngx_http_request_t;

use crate::conf::MainConf;
use crate::nginx::event::Timer;
use crate::nginx::{self, Code, Request, entry, pool, process};
use crate::py;
use crate::stats::{self, Snapshot};

use super::Versions;
use super::format::{Format, wants_stacks};

/// How long the other workers have for their stacks, and how often to look, in milliseconds.
const LIMIT: Duration = Duration::from_secs(2);
const PAUSE: usize = 10;

/// No script, no frame, nothing from elsewhere: the page shows what strangers have sent.
const POLICY: &[u8] =
    b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// A request that waits for stacks.
struct Asking {
    format: Format,
    question: Option<u32>,
    deadline: Instant,
}

/// Where nginx hands us a request.
pub unsafe extern "C" fn content_handler(r: *mut ngx_http_request_t) -> Code {
    entry::guard(nginx::INTERNAL_SERVER_ERROR, || {
        // SAFETY: nginx passes a live request.
        handle(unsafe { Request::from_ptr(r) })
    })
}

fn handle(r: Request<'_>) -> Code {
    if !r.is_head() && !r.is_get() {
        r.set_header(b"Allow", b"GET, HEAD");
        return nginx::NOT_ALLOWED;
    }
    let rc = r.discard_body();
    if rc != nginx::OK {
        return rc;
    }
    let accept = r.headers().filter(|(name, _)| *name == b"accept").map(|(_, value)| value);
    let Some(format) = Format::asked(r.args(), accept) else { return nginx::BAD_REQUEST };
    // Numbers only.
    if format == Format::Prometheus || !wants_stacks(r.args()) {
        return answer(r, format, None);
    }
    let asking = Asking { format, question: stats::ask(), deadline: Instant::now() + LIMIT };
    // SAFETY: the timer is placed in the pool of its request.
    let timer = unsafe { pool::place(r.pool(), Timer::new(r, look, asking)) };
    let Some(timer) = timer else { return nginx::INTERNAL_SERVER_ERROR };
    r.wait_for_timer();
    timer.set(PAUSE);
    nginx::DONE
}

/// Looks whether all have answered.
fn look(r: Request<'_>, timer: &Timer<Asking>) {
    let Asking { format, question, deadline } = timer.value;
    if question.is_none_or(stats::have_answered) || Instant::now() >= deadline {
        r.finalize(answer(r, format, question));
    } else {
        timer.set(PAUSE);
    }
}

fn answer(r: Request<'_>, format: Format, question: Option<u32>) -> Code {
    let plan = MainConf::of_cycle(Request::cycle()).and_then(|conf| conf.stats.get());
    let Some(plan) = plan else { return nginx::INTERNAL_SERVER_ERROR };
    let Some(snapshot) = Snapshot::take(&plan.rows, plan.workers, question) else {
        return nginx::INTERNAL_SERVER_ERROR;
    };
    let nginx_version = process::NGINX_VERSION.to_string_lossy();
    let versions = Versions {
        module: env!("CARGO_PKG_VERSION"),
        nginx: nginx_version.strip_prefix("nginx/").unwrap_or(&nginx_version),
        python: py::BUILD_VERSION,
    };
    let body = format.write(&snapshot, versions, question.is_some());
    r.set_header(b"Cache-Control", b"no-store");
    r.set_header(b"X-Content-Type-Options", b"nosniff");
    if format == Format::Html {
        r.set_header(b"Content-Security-Policy", POLICY);
    }
    r.send_text(200, format.content_type(), body.as_bytes())
}
