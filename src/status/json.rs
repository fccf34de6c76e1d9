//! The status as JSON.

use serde_json::{Value, json};

use crate::stats::{AppName, AppWorker, BOUNDS, Flying, Reason, Snapshot, Times, Worker};

use super::Versions;

pub fn write(snapshot: &Snapshot, versions: Versions<'_>, has_stacks: bool) -> String {
    let apps = snapshot.apps.iter().map(|(name, workers)| {
        let mut app = name_value(name);
        app["total"] = app_worker(&AppWorker::sum(workers));
        app["workers"] = workers
            .iter()
            .map(|worker| {
                let mut value = app_worker(worker);
                value["worker"] = worker.worker.into();
                value
            })
            .collect();
        app
    });
    let status = json!({
        "module": versions.module,
        "nginx": versions.nginx,
        "python": versions.python,
        "answered_by": snapshot.pid,
        "applications": apps.collect::<Value>(),
        "workers": snapshot.workers.iter().map(|row| worker(row, has_stacks)).collect::<Value>(),
        "requests": snapshot.flights.iter().map(|row| flight(row, has_stacks)).collect::<Value>(),
        "requests_not_listed": snapshot.unlisted,
    });
    format!("{status}\n")
}

fn name_value(name: &AppName) -> Value {
    let interpreter = Some(&name.interpreter).filter(|name| !name.is_empty());
    json!({ "application": name.target, "interpreter": interpreter, "middleware": name.middleware })
}

fn app_worker(worker: &AppWorker) -> Value {
    let totals = &worker.totals;
    json!({
        "requests": totals.requests,
        "errors": totals.errors,
        "rejected": { "queue_full": totals.rejected_full, "queue_timeout": totals.rejected_late },
        "timeouts": totals.timeouts,
        "in_flight": worker.in_flight,
        "queued": worker.queued,
        "busy_threads": worker.busy,
        "threads": worker.threads,
        "queue_time": times(&totals.queue),
        "run_time": times(&totals.run),
    })
}

fn times(times: &Times) -> Value {
    let cumulated = times.cumulated();
    let buckets = BOUNDS
        .iter()
        .zip(cumulated)
        .map(|(bound, count)| json!({ "at_most": bound.as_secs_f64(), "count": count }));
    json!({ "count": times.count(), "seconds": times.sum(), "buckets": buckets.collect::<Value>() })
}

fn worker(row: &Worker, has_stacks: bool) -> Value {
    let mut replaced = serde_json::Map::new();
    for (reason, count) in Reason::ALL.into_iter().zip(row.replaced) {
        replaced.insert(reason.name().to_owned(), count.into());
    }
    let processes = row.processes.iter().map(|process| {
        let mut value = json!({
            "pid": process.pid,
            "started": process.started,
            "resident_bytes": process.resident,
        });
        if has_stacks {
            value["has_answered"] = process.has_answered.into();
        }
        value
    });
    json!({ "worker": row.worker, "replaced": replaced, "processes": processes.collect::<Value>() })
}

fn flight(row: &Flying, has_stacks: bool) -> Value {
    let mut value = name_value(&row.app);
    value["worker"] = row.worker.into();
    value["pid"] = row.pid.into();
    value["state"] = row.state.name().into();
    value["age"] = row.age.into();
    value["method"] = row.method.as_str().into();
    value["target"] = row.target.as_str().into();
    value["thread"] = match row.thread_name.as_str() {
        "" => Value::Null,
        name => json!({ "number": row.thread, "name": name }),
    };
    if has_stacks {
        value["stack"] = row.stack.as_deref().into();
    }
    value
}
