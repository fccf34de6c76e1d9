//! Where an application is mounted: SCRIPT_NAME and PATH_INFO out of the URI.

/// What the location says about SCRIPT_NAME.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mount {
    /// Nothing: an exact, regular expression or named location.
    #[default]
    Root,
    /// A prefix location; its name without trailing slashes.
    Prefix(Vec<u8>),
}

impl Mount {
    /// The mount of a prefix location with this name.
    pub fn prefix(name: &[u8]) -> Self {
        match trim_slashes(name) {
            [] => Self::Root,
            name => Self::Prefix(name.to_vec()),
        }
    }

    /// Cuts `uri` into SCRIPT_NAME and PATH_INFO. Location `/wsgi` also matches `/wsgix`, which is not
    /// below it: SCRIPT_NAME is empty then.
    pub fn split<'a>(&self, uri: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        match self {
            Self::Prefix(name) if is_below(uri, name) => uri.split_at(name.len()),
            _ => (&[], uri),
        }
    }

    /// Cuts `uri` at a configured SCRIPT_NAME; a URI that is not below it is PATH_INFO as a whole.
    ///
    /// # Errors
    /// A name that is neither empty nor begins with a slash (PEP 3333, environ Variables).
    pub fn split_at<'a>(name: &'a [u8], uri: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), String> {
        let name = trim_slashes(name);
        if !(name.is_empty() || name.starts_with(b"/")) {
            let name = String::from_utf8_lossy(name);
            return Err(format!("wsgi_script_name \"{name}\" does not begin with \"/\""));
        }
        Ok(if is_below(uri, name) { uri.split_at(name.len()) } else { (name, uri) })
    }
}

fn is_below(uri: &[u8], name: &[u8]) -> bool {
    uri.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn trim_slashes(mut name: &[u8]) -> &[u8] {
    while let Some(shorter) = name.strip_suffix(b"/") {
        name = shorter;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(location: &str, uri: &'static str) -> (String, String) {
        let (name, info) = Mount::prefix(location.as_bytes()).split(uri.as_bytes());
        (String::from_utf8(name.to_vec()).unwrap(), String::from_utf8(info.to_vec()).unwrap())
    }

    fn pair(name: &str, info: &str) -> (String, String) {
        (name.to_owned(), info.to_owned())
    }

    #[test]
    fn prefix_locations() {
        assert_eq!(split("/", "/a/b"), pair("", "/a/b"));
        assert_eq!(split("/wsgi", "/wsgi"), pair("/wsgi", ""));
        assert_eq!(split("/wsgi", "/wsgi/"), pair("/wsgi", "/"));
        assert_eq!(split("/wsgi/", "/wsgi/a"), pair("/wsgi", "/a"));
        assert_eq!(split("/wsgi", "/wsgix"), pair("", "/wsgix"));
        assert_eq!(split("/wsgi", "/rewritten"), pair("", "/rewritten"));
    }

    #[test]
    fn configured_names() {
        let split = |name: &'static str, uri: &'static str| {
            Mount::split_at(name.as_bytes(), uri.as_bytes())
        };
        assert_eq!(split("/app", "/app/x"), Ok((&b"/app"[..], &b"/x"[..])));
        assert_eq!(split("/app/", "/app"), Ok((&b"/app"[..], &b""[..])));
        assert_eq!(split("/app", "/other"), Ok((&b"/app"[..], &b"/other"[..])));
        assert_eq!(split("", "/other"), Ok((&b""[..], &b"/other"[..])));
        assert_eq!(split("/", "/other"), Ok((&b""[..], &b"/other"[..])));
        assert!(split("app", "/app").is_err());
    }
}
