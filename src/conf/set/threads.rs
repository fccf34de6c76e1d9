//! Who runs the applications: pools of threads, and for how long.

use std::sync::Arc;

use core::ffi::c_char;

use nginx_sys::{ngx_conf_t, ngx_msec_t};

use crate::conf::ext::{ConfExt, FAILED};
use crate::conf::{LocationConf, MainConf, Threads};
use crate::exec::{DEFAULT_QUEUE, Pool};

use super::{DONE, choice, is_duplicate, say, time};

/// More threads than this in one pool are a mistake.
const MAX_THREADS: usize = 1024;
const MAX_QUEUE: usize = 1_000_000;

setter! {
    /// `wsgi_threads N [queue=M]`, `wsgi_threads NAME`
    threads(cf, conf: LocationConf) {
        if conf.threads.is_some() {
            return is_duplicate();
        }
        match threads_of(cf) {
            Ok(threads) => conf.threads = Some(cf.placed(threads)),
            Err(error) => return cf.error(&error),
        }
        DONE
    }
}

setter! {
    /// `wsgi_thread_pool NAME threads=N [queue=M]`
    thread_pool(cf, conf: MainConf) {
        let name = cf.args()[1].to_string();
        if !is_name(&name) {
            return cf.error(&format!("invalid name \"{name}\" of \"wsgi_thread_pool\""));
        }
        if let Some(other) = conf.pools.iter().find(|pool| pool.value.name() == Some(name.as_str())) {
            let (file, line) = (&other.file, other.line);
            let text = format!("duplicate \"wsgi_thread_pool\" \"{name}\", the first one is that of {file}:{line}");
            return cf.error(&text);
        }
        let (mut threads, mut queue) = (None, None);
        for index in 2..cf.args().len() {
            let word = cf.args()[index].to_string();
            let result = match word.split_once('=') {
                Some(("threads", value)) if threads.is_none() => {
                    number(value, 1, MAX_THREADS).map(|number| threads = Some(number))
                }
                Some(("queue", value)) if queue.is_none() => {
                    number(value, 0, MAX_QUEUE).map(|number| queue = Some(number))
                }
                _ => None,
            };
            if result.is_none() {
                return cf.error(&format!("invalid parameter \"{word}\" in \"wsgi_thread_pool\""));
            }
        }
        let Some(threads) = threads else {
            return cf.error("\"wsgi_thread_pool\" needs \"threads=\"");
        };
        let pool = Arc::new(Pool::named(name, threads, queue.unwrap_or(DEFAULT_QUEUE)));
        conf.pools.push(cf.placed(pool));
        DONE
    }
}

setter! {
    /// `wsgi_queue_timeout time`
    queue_timeout(cf, conf: LocationConf) {
        limit(cf, &mut conf.queue_timeout)
    }
}

setter! {
    /// `wsgi_timeout time`
    timeout(cf, conf: LocationConf) {
        limit(cf, &mut conf.timeout)
    }
}

setter! {
    /// `wsgi_slow_log time`
    slow_log(cf, conf: LocationConf) {
        limit(cf, &mut conf.slow_log)
    }
}

setter! {
    /// `wsgi_suspend_timeout time`
    suspend_timeout(cf, conf: LocationConf) {
        if conf.suspend_timeout.is_some() {
            return is_duplicate();
        }
        // Without any limit a worker that quits gracefully would not end.
        conf.suspend_timeout = time(cf, 1).filter(|time| *time > 0);
        if conf.suspend_timeout.is_some() { DONE } else { say(c"takes a time above 0") }
    }
}

setter! {
    /// `wsgi_request_buffering on|off`
    request_buffering(cf, conf: LocationConf) {
        if conf.request_buffering.is_some() {
            return is_duplicate();
        }
        let Some(value) = choice(cf, &[("on", true), ("off", false)]) else { return FAILED };
        conf.request_buffering = Some(cf.placed(value));
        DONE
    }
}

/// A time, or `off` (0), given once.
fn limit(cf: &ngx_conf_t, slot: &mut Option<ngx_msec_t>) -> *mut c_char {
    if slot.is_some() {
        return is_duplicate();
    }
    *slot = match cf.args()[1].as_bytes() {
        b"off" => Some(0),
        _ => time(cf, 1),
    };
    if slot.is_some() { DONE } else { say(c"takes a time or \"off\"") }
}

fn threads_of(cf: &ngx_conf_t) -> Result<Threads, String> {
    let (first, second) = (cf.args()[1].to_string(), cf.args().get(2).map(|word| word.to_string()));
    if is_name(&first) {
        return match second {
            Some(word) if word.starts_with("queue=") => {
                Err("\"queue\" belongs to \"wsgi_thread_pool\"".to_owned())
            }
            Some(word) => Err(format!("invalid parameter \"{word}\" in \"wsgi_threads\"")),
            None => Ok(Threads::Named(first)),
        };
    }
    let Some(threads) = number(&first, 0, MAX_THREADS) else {
        return Err(format!(
            "invalid value \"{first}\" in \"wsgi_threads\", it must be a number up to {MAX_THREADS} or the \
             name of a \"wsgi_thread_pool\""
        ));
    };
    let queue = match second.as_deref().map(|word| (word, word.strip_prefix("queue="))) {
        None => DEFAULT_QUEUE,
        Some((word, value)) => value
            .and_then(|value| number(value, 0, MAX_QUEUE))
            .filter(|_| threads > 0)
            .ok_or_else(|| format!("invalid parameter \"{word}\" in \"wsgi_threads\""))?,
    };
    Ok(if threads == 0 { Threads::Inline } else { Threads::Own { threads, queue } })
}

/// A name begins like no number.
fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

fn number(text: &str, least: usize, most: usize) -> Option<usize> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_number)?;
    (least..=most).contains(&number).then_some(number)
}
