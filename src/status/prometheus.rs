//! The status in the text format of Prometheus, version 0.0.4.

use core::fmt::Write as _;

use crate::stats::{AppName, AppWorker, BOUNDS, Reason, Snapshot, Times};

use super::Versions;

type Counter = (&'static str, &'static str, fn(&AppWorker) -> u64);

const COUNTERS: [Counter; 3] = [
    ("wsgi_requests_total", "Requests that came for an application.", |app| app.totals.requests),
    ("wsgi_errors_total", "Requests that an application failed to answer.", |app| {
        app.totals.errors
    }),
    ("wsgi_timeouts_total", "Requests that ran for longer than wsgi_timeout.", |app| {
        app.totals.timeouts
    }),
];

const GAUGES: [Counter; 4] = [
    ("wsgi_requests_in_flight", "Requests that have not been answered completely.", |app| {
        app.in_flight
    }),
    ("wsgi_requests_queued", "Requests that wait for a thread.", |app| app.queued),
    ("wsgi_threads_busy", "Threads that a request has.", |app| app.busy),
    ("wsgi_threads", "Threads that can run an application.", |app| app.threads),
];

type Histogram = (&'static str, &'static str, fn(&AppWorker) -> &Times);

const HISTOGRAMS: [Histogram; 2] = [
    ("wsgi_queue_time_seconds", "How long requests waited for a thread.", |app| &app.totals.queue),
    ("wsgi_run_time_seconds", "How long the application ran for a request.", |app| &app.totals.run),
];

pub fn write(snapshot: &Snapshot, versions: Versions<'_>) -> String {
    let mut out = Out::default();
    out.family("wsgi_info", "gauge", "Versions; the value is 1.");
    out.label("module", versions.module);
    out.label("nginx", versions.nginx);
    out.label("python", versions.python);
    out.sample("wsgi_info", 1);
    for (kind, families) in [("counter", &COUNTERS[..]), ("gauge", &GAUGES[..])] {
        for (name, help, value) in families {
            out.family(name, kind, help);
            for (app, worker) in each(snapshot) {
                out.app(app, worker);
                out.sample(name, value(worker));
            }
        }
    }
    rejected(&mut out, snapshot);
    for (name, help, value) in HISTOGRAMS {
        out.family(name, "histogram", help);
        for (app, worker) in each(snapshot) {
            histogram(&mut out, name, app, worker, value(worker));
        }
    }
    workers(&mut out, snapshot);
    out.text
}

/// Each application in each worker.
fn each(snapshot: &Snapshot) -> impl Iterator<Item = (&AppName, &AppWorker)> {
    snapshot.apps.iter().flat_map(|(app, workers)| workers.iter().map(move |worker| (app, worker)))
}

fn rejected(out: &mut Out, snapshot: &Snapshot) {
    let name = "wsgi_rejected_total";
    out.family(
        name,
        "counter",
        "Requests that were answered with 503 without asking the application.",
    );
    for (app, worker) in each(snapshot) {
        let totals = &worker.totals;
        let reasons =
            [("queue_full", totals.rejected_full), ("queue_timeout", totals.rejected_late)];
        for (reason, count) in reasons {
            out.app(app, worker);
            out.label("reason", reason);
            out.sample(name, count);
        }
    }
}

fn histogram(out: &mut Out, name: &str, app: &AppName, worker: &AppWorker, times: &Times) {
    let bounds = BOUNDS.iter().map(|bound| bound.as_secs_f64().to_string());
    let bounds = bounds.chain(core::iter::once("+Inf".to_owned()));
    for (bound, count) in bounds.zip(times.cumulated()) {
        out.app(app, worker);
        out.label("le", &bound);
        out.sample(&format!("{name}_bucket"), count);
    }
    out.app(app, worker);
    out.sample(&format!("{name}_sum"), times.sum());
    out.app(app, worker);
    out.sample(&format!("{name}_count"), times.count());
}

fn workers(out: &mut Out, snapshot: &Snapshot) {
    let name = "wsgi_workers_replaced_total";
    out.family(name, "counter", "Workers that were replaced.");
    for row in &snapshot.workers {
        for (reason, count) in Reason::ALL.into_iter().zip(row.replaced) {
            out.label("worker", &row.worker.to_string());
            out.label("reason", reason.name());
            out.sample(name, count);
        }
    }
    let processes = || {
        snapshot
            .workers
            .iter()
            .flat_map(|row| row.processes.iter().map(move |process| (row, process)))
    };
    let name = "wsgi_worker_start_time_seconds";
    out.family(name, "gauge", "When the process began to serve, in seconds since 1970.");
    for (row, process) in processes() {
        out.process(row.worker, process.pid);
        out.sample(name, process.started);
    }
    let name = "wsgi_worker_resident_memory_bytes";
    out.family(name, "gauge", "Memory that the process has in RAM.");
    for (row, process) in processes() {
        if let Some(resident) = process.resident {
            out.process(row.worker, process.pid);
            out.sample(name, resident);
        }
    }
}

/// The text, and the labels of the sample to come.
#[derive(Default)]
struct Out {
    text: String,
    labels: String,
}

impl Out {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn app(&mut self, app: &AppName, worker: &AppWorker) {
        self.label("application", &app.target);
        // A label that is empty is a label that is not there.
        if !app.interpreter.is_empty() {
            self.label("interpreter", &app.interpreter);
        }
        if !app.middleware.is_empty() {
            self.label("middleware", &app.middleware.join(","));
        }
        self.label("worker", &worker.worker.to_string());
    }

    fn process(&mut self, worker: usize, pid: u32) {
        self.label("worker", &worker.to_string());
        self.label("pid", &pid.to_string());
    }

    fn label(&mut self, name: &str, value: &str) {
        let comma = if self.labels.is_empty() { "" } else { "," };
        let _ = write!(self.labels, "{comma}{name}=\"");
        for character in value.chars() {
            match character {
                '\\' => self.labels.push_str("\\\\"),
                '"' => self.labels.push_str("\\\""),
                '\n' => self.labels.push_str("\\n"),
                other => self.labels.push(other),
            }
        }
        self.labels.push('"');
    }

    fn sample(&mut self, name: &str, value: impl core::fmt::Display) {
        let labels = core::mem::take(&mut self.labels);
        let _ = writeln!(self.text, "{name}{{{labels}}} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let name = AppName { target: "a\"b\\c\nd".to_owned(), ..AppName::default() };
        let workers = vec![AppWorker::default()];
        let snapshot = Snapshot { apps: vec![(name, workers)], ..Snapshot::default() };
        let versions = Versions { module: "1", nginx: "2", python: "3" };
        let text = write(&snapshot, versions);
        let line = r#"wsgi_requests_total{application="a\"b\\c\nd",worker="0"} 0"#;
        assert!(text.lines().any(|other| other == line), "{text}");
        let last =
            r#"wsgi_run_time_seconds_bucket{application="a\"b\\c\nd",worker="0",le="+Inf"} 0"#;
        assert!(text.lines().any(|other| other == last), "{text}");
    }
}
