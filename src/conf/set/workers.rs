//! The workers: when one is replaced, and how much memory it has for bodies.

use nginx_sys::{ngx_parse_offset, ngx_str_t};

use crate::conf::ext::ConfExt;
use crate::conf::{MainConf, MaxRequests};

use super::{DONE, is_duplicate, say};

setter! {
    /// `wsgi_max_requests number [jitter=number]`
    max_requests(cf, conf: MainConf) {
        if conf.max_requests.is_some() {
            return is_duplicate();
        }
        let Some(requests) = number(cf.args()[1].as_bytes()) else {
            return say(c"takes a number of requests");
        };
        let jitter = match cf.args().get(2).map(|word| word.as_bytes()) {
            None => 0,
            Some(word) => match word.strip_prefix(b"jitter=").map(number) {
                Some(Some(jitter)) => jitter,
                Some(None) => return say(c"takes a number of requests as \"jitter\""),
                None => {
                    let word = cf.args()[2].to_string();
                    let text = format!("invalid parameter \"{word}\" in \"wsgi_max_requests\"");
                    return cf.error(&text);
                }
            },
        };
        conf.max_requests = Some(MaxRequests { number: requests, jitter });
        DONE
    }
}

setter! {
    /// `wsgi_max_memory size|off`
    max_memory(cf, conf: MainConf) {
        if conf.max_memory.is_some() {
            return is_duplicate();
        }
        conf.max_memory = size_or_off(cf.args()[1]);
        if conf.max_memory.is_some() { DONE } else { say(c"takes a size or \"off\"") }
    }
}

setter! {
    /// `wsgi_body_memory size|off`
    body_memory(cf, conf: MainConf) {
        if conf.body_memory.is_some() {
            return is_duplicate();
        }
        conf.body_memory = size_or_off(cf.args()[1]);
        if conf.body_memory.is_some() { DONE } else { say(c"takes a size or \"off\"") }
    }
}

/// Bytes; 0 is `off`.
fn size_or_off(mut word: ngx_str_t) -> Option<u64> {
    match word.as_bytes() {
        b"off" => Some(0),
        // SAFETY: parses the bytes of the string. Unlike ngx_parse_size() it knows "g".
        _ => u64::try_from(unsafe { ngx_parse_offset(&mut word) }).ok(),
    }
}

/// Digits and nothing else, of a number that is far from all limits.
fn number(word: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(word).ok()?;
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_number && *number <= u64::from(u32::MAX))
}
