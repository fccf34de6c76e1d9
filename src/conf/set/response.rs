//! What becomes of a response: the twins of `uwsgi_hide_header` and its neighbours.

use nginx_sys::{ngx_conf_t, ngx_parse_size};

use crate::conf::LocationConf;
use crate::conf::ext::{ConfExt, FAILED};

use super::{DONE, is_duplicate, say};

setter! {
    /// `wsgi_hide_header field`
    hide_header(cf, conf: LocationConf) {
        let Some(field) = field(cf) else { return FAILED };
        conf.hide_headers.get_or_insert_default().push(field);
        DONE
    }
}

setter! {
    /// `wsgi_pass_header field`
    pass_header(cf, conf: LocationConf) {
        let Some(field) = field(cf) else { return FAILED };
        conf.pass_headers.get_or_insert_default().push(field);
        DONE
    }
}

setter! {
    /// `wsgi_ignore_headers field ...`
    ignore_headers(cf, conf: LocationConf) {
        let mut ignored = conf.ignore_headers.unwrap_or_default();
        for index in 1..cf.args().len() {
            let name = cf.args()[index].to_string();
            if !ignored.add(&name) {
                return cf.error(&format!("invalid value \"{name}\""));
            }
        }
        conf.ignore_headers = Some(ignored);
        DONE
    }
}

setter! {
    /// `wsgi_write_buffer_size size`
    write_buffer_size(cf, conf: LocationConf) {
        if conf.write_buffer_size.is_some() {
            return is_duplicate();
        }
        let mut value = cf.args()[1];
        // SAFETY: parses the bytes of the string.
        let size = unsafe { ngx_parse_size(&mut value) };
        conf.write_buffer_size = usize::try_from(size).ok().filter(|size| *size > 0);
        if conf.write_buffer_size.is_some() { DONE } else { say(c"takes a size above 0") }
    }
}

/// The name of a header, in lower case; logs what is wrong with it.
fn field(cf: &mut ngx_conf_t) -> Option<Vec<u8>> {
    let field = cf.args()[1].as_bytes().to_ascii_lowercase();
    if !field.is_empty() && field.iter().all(|byte| byte.is_ascii_graphic() && *byte != b':') {
        return Some(field);
    }
    let (directive, name) = (cf.args()[0].to_string(), cf.args()[1].to_string());
    cf.error(&format!("invalid header name \"{name}\" in \"{directive}\""));
    None
}
