//! The status as a page.
//!
//! Everything in it that is not ours goes through `Text`, which escapes: addresses come from strangers.

use core::fmt::{self, Display};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::stats::{AppName, AppWorker, Flying, Process, Reason, Snapshot, Times, Worker};

use super::Versions;

const STYLE: &str = include_str!("page.css");

/// Seconds between two looks.
const REFRESH: u32 = 5;

/// Text within HTML, also within an attribute.
struct Text<T>(T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.to_string().chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // What a browser would do something with, or not show at all.
                '\n' | '\t' => write!(f, "{character}")?,
                other if other.is_control() => write!(f, "\u{fffd}")?,
                other => write!(f, "{other}")?,
            }
        }
        Ok(())
    }
}

pub fn write(snapshot: &Snapshot, versions: Versions<'_>, has_stacks: bool) -> String {
    let mut out = head(versions, snapshot.pid, has_stacks);
    out.push_str("<h2>Applications</h2>\n");
    for (name, workers) in &snapshot.apps {
        out.push_str(&app(name, workers));
    }
    if snapshot.apps.is_empty() {
        out.push_str("<p class=\"soft\">There is no application in this configuration.</p>\n");
    }
    out.push_str(&workers(&snapshot.workers, has_stacks));
    out.push_str(&flights(snapshot, has_stacks));
    out.push_str("</body>\n</html>\n");
    out
}

fn head(versions: Versions<'_>, pid: u32, has_stacks: bool) -> String {
    // Stacks are to be read, and cost something.
    let (refresh, other, hint) = if has_stacks {
        let hint = "with the Python stacks of this moment".to_owned();
        (String::new(), "<a href=\"?\">without stacks</a>", hint)
    } else {
        let refresh = format!("<meta http-equiv=\"refresh\" content=\"{REFRESH}\">\n");
        let hint = format!("renewed every {REFRESH} seconds");
        (refresh, "<a href=\"?stacks=1\">with stacks</a>", hint)
    };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n{refresh}<title>WSGI status</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>WSGI status</h1>\n\
         <nav>{other}<a href=\"?format=json\">JSON</a><a href=\"?format=prometheus\">Prometheus</a></nav>\n\
         </header>\n<p class=\"soft\">nginx mod_wsgi {}, nginx {}, Python {}; answered by process {pid}, {hint}</p>\n",
        Text(versions.module),
        Text(versions.nginx),
        Text(versions.python),
    )
}

fn app(name: &AppName, workers: &[AppWorker]) -> String {
    let sum = AppWorker::sum(workers);
    let totals = &sum.totals;
    let mut out = format!("<section class=\"card\">\n<h3>{}</h3>\n<dl>\n", title(name));
    let mut value = |name: &str, value: String, is_bad: bool| {
        let class = if is_bad { " class=\"bad\"" } else { "" };
        out.push_str(&format!("<div><dt>{name}</dt><dd{class}>{value}</dd></div>\n"));
    };
    value("requests", totals.requests.to_string(), false);
    value("in flight", sum.in_flight.to_string(), false);
    value("queued", sum.queued.to_string(), false);
    let threads = format!("{} of {}", sum.busy, sum.threads);
    value("busy threads", if sum.threads > 0 { threads } else { "&ndash;".to_owned() }, false);
    value("errors", totals.errors.to_string(), totals.errors > 0);
    value("rejected", totals.rejected().to_string(), totals.rejected() > 0);
    value("timeouts", totals.timeouts.to_string(), totals.timeouts > 0);
    value("mean run time", mean(&totals.run) + &percentile(&totals.run), false);
    value("mean queue time", mean(&totals.queue) + &percentile(&totals.queue), false);
    out.push_str("</dl>\n");
    out.push_str(&app_workers(workers));
    out.push_str("</section>\n");
    out
}

fn title(name: &AppName) -> String {
    let mut title = Text(&name.target).to_string();
    if name.interpreter == name.target {
        title.push_str(" <span class=\"soft\">in an interpreter of its own</span>");
    } else if !name.interpreter.is_empty() {
        let interpreter = Text(&name.interpreter);
        title.push_str(&format!(" <span class=\"soft\">in interpreter {interpreter}</span>"));
    }
    if !name.middleware.is_empty() {
        let middleware = Text(name.middleware.join(", "));
        title.push_str(&format!(" <span class=\"soft\">behind {middleware}</span>"));
    }
    title
}

fn app_workers(workers: &[AppWorker]) -> String {
    let columns = [
        "worker",
        "requests",
        "in flight",
        "queued",
        "busy",
        "threads",
        "errors",
        "rejected",
        "timeouts",
        "mean run time",
    ];
    let mut out = "<details><summary>by worker</summary>\n".to_owned();
    out.push_str(&table_head(&columns, &columns[1..]));
    for worker in workers {
        let totals = &worker.totals;
        let values = [
            worker.worker.to_string(),
            totals.requests.to_string(),
            worker.in_flight.to_string(),
            worker.queued.to_string(),
            worker.busy.to_string(),
            worker.threads.to_string(),
            totals.errors.to_string(),
            totals.rejected().to_string(),
            totals.timeouts.to_string(),
            mean(&totals.run),
        ];
        out.push_str("<tr>");
        for (index, (column, value)) in columns.iter().zip(values).enumerate() {
            let class = if index > 0 { " class=\"n\"" } else { "" };
            out.push_str(&format!("<td{class} data-name=\"{column}\">{value}</td>"));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</details>\n");
    out
}

/// The beginning of a table; columns with numbers stand at the right.
fn table_head(columns: &[&str], numbers: &[&str]) -> String {
    let mut out = "<table>\n<thead><tr>".to_owned();
    for column in columns {
        let class = if numbers.contains(column) { " class=\"n\"" } else { "" };
        out.push_str(&format!("<th{class}>{column}</th>"));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    out
}

fn workers(rows: &[Worker], has_stacks: bool) -> String {
    let columns = ["worker", "process", "running for", "memory", "replaced"];
    let mut out = "<h2>Workers</h2>\n<div class=\"card\">\n".to_owned();
    out.push_str(&table_head(&columns, &["running for", "memory"]));
    for row in rows {
        let replaced: Vec<String> = Reason::ALL
            .into_iter()
            .zip(row.replaced)
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| format!("{count} &times; {}", reason.name()))
            .collect();
        let replaced = if replaced.is_empty() { "&ndash;".to_owned() } else { replaced.join(", ") };
        let none = ["&ndash;".to_owned(), String::new(), String::new()];
        let processes: Vec<[String; 3]> =
            row.processes.iter().map(|process| self::process(process, has_stacks)).collect();
        let processes = if processes.is_empty() { vec![none] } else { processes };
        for [pid, age, memory] in processes {
            out.push_str(&format!(
                "<tr><td data-name=\"worker\">{}</td><td data-name=\"process\">{pid}</td>\
                 <td class=\"n\" data-name=\"running for\">{age}</td>\
                 <td class=\"n\" data-name=\"memory\">{memory}</td>\
                 <td data-name=\"replaced\">{replaced}</td></tr>\n",
                row.worker
            ));
        }
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
    out
}

fn process(process: &Process, has_stacks: bool) -> [String; 3] {
    let silent = has_stacks && !process.has_answered;
    let note = if silent { " <span class=\"bad\">(no stacks within 2 s)</span>" } else { "" };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let memory = process.resident.map_or_else(|| "?".to_owned(), size);
    [format!("{}{note}", process.pid), age((now - process.started).max(0.0)), memory]
}

fn flights(snapshot: &Snapshot, has_stacks: bool) -> String {
    let count = snapshot.flights.len();
    let mut out = format!("<h2>Requests in flight <span class=\"soft\">{count}</span></h2>\n");
    if count == 0 {
        out.push_str("<p class=\"soft\">None.</p>\n");
        return out;
    }
    let columns = ["age", "state", "request", "application", "worker", "process", "thread"];
    out.push_str("<div class=\"card\">\n");
    out.push_str(&table_head(&columns, &["age"]));
    for flight in &snapshot.flights {
        out.push_str(&row(flight, has_stacks));
    }
    out.push_str("</tbody>\n</table>\n");
    if snapshot.unlisted > 0 {
        let text = format!("<p class=\"soft\">and {} more</p>\n", snapshot.unlisted);
        out.push_str(&text);
    }
    out.push_str("</div>\n");
    out
}

fn row(flight: &Flying, has_stacks: bool) -> String {
    let state = flight.state.name();
    let stack = match flight.stack.as_deref().filter(|_| has_stacks) {
        Some(stack) => format!("<pre>{}</pre>", Text(stack.trim_end())),
        None => String::new(),
    };
    let thread = match flight.thread_name.as_str() {
        "" => "&ndash;".to_owned(),
        name => Text(name).to_string(),
    };
    format!(
        "<tr><td class=\"n\" data-name=\"age\">{}</td>\
         <td data-name=\"state\"><span class=\"state {state}\">{state}</span></td>\
         <td class=\"wide request\" data-name=\"request\"><code>{} {}</code>{stack}</td>\
         <td class=\"wide\" data-name=\"application\"><span>{}</span></td><td data-name=\"worker\">{}</td>\
         <td data-name=\"process\">{}</td><td data-name=\"thread\">{thread}</td></tr>\n",
        age(flight.age),
        Text(&flight.method),
        Text(&flight.target),
        Text(&flight.app.target),
        flight.worker,
        flight.pid,
    )
}

fn mean(times: &Times) -> String {
    times.mean().map_or_else(|| "&ndash;".to_owned(), duration)
}

fn percentile(times: &Times) -> String {
    let text = match (times.percentile(95), times.count()) {
        (_, 0) => return String::new(),
        (Some(bound), _) => format!("&le; {}", duration(bound.as_secs_f64())),
        (None, _) => "&gt; 60 s".to_owned(),
    };
    format!("<small>95&nbsp;% {text}</small>")
}

/// Seconds with a unit, two digits or three.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0} &micro;s", s * 1e6),
        s if s < 0.01 => format!("{:.1} ms", s * 1e3),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

fn age(seconds: f64) -> String {
    let whole = Duration::from_secs_f64(seconds).as_secs();
    match whole {
        0..=9 => format!("{seconds:.1} s"),
        10..=119 => format!("{whole} s"),
        120..=7199 => format!("{} min", whole / 60),
        7200..=172_799 => format!("{} h", whole / 3600),
        _ => format!("{} d", whole / 86400),
    }
}

fn size(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_elsewhere_is_markup() {
        let shown = Text("<script>\"&'\u{1b}\u{85}\n\u{e9}").to_string();
        assert_eq!(shown, "&lt;script&gt;&quot;&amp;&#39;\u{fffd}\u{fffd}\n\u{e9}");
    }

    #[test]
    fn times_and_sizes() {
        assert_eq!(duration(0.000_05), "50 &micro;s");
        assert_eq!(duration(0.001), "1.0 ms");
        assert_eq!(duration(0.0012), "1.2 ms");
        assert_eq!(duration(0.25), "250 ms");
        assert_eq!(duration(2.0), "2.0 s");
        assert_eq!(
            (age(0.0), age(61.0), age(7199.0)),
            ("0.0 s".into(), "61 s".into(), "119 min".into())
        );
        assert_eq!((age(7200.0), age(200_000.0)), ("2 h".into(), "2 d".into()));
        assert_eq!(size(1_572_864), "1.5 MiB");
    }
}
