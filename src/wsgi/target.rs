//! What `wsgi_pass` names: a script or a module, and the callable in it.

use core::fmt;

/// Where an application's code is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file. Relative paths are still relative to nginx's prefix.
    Script(String),
    /// A module by its dotted name.
    Module(String),
}

/// A parsed argument of `wsgi_pass`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The script or module.
    pub source: Source,
    /// Dotted path of the callable in it.
    pub callable: String,
    /// Whether the callable is to be called once, its result being the application.
    pub is_factory: bool,
}

/// Why an argument of `wsgi_pass` makes no sense; the text is complete but for file and line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetError(String);

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Target {
    /// Parses `TARGET[:callable | :factory()]` and the optional second argument of `wsgi_pass`.
    ///
    /// A TARGET with a slash in it, or one that ends in `.py`, is a path; anything else is a module.
    /// `:callable` and `:factory()` are spelled as gunicorn spells them.
    pub fn parse(target: &str, callable: Option<&str>) -> Result<Self, TargetError> {
        refuse_foreign(target)?;
        let (source, suffix) = split(target);
        let callable = match (suffix, callable) {
            (Some(_), Some(_)) => {
                return error("the callable of \"wsgi_pass\" is given twice".to_owned());
            }
            (Some(callable), None) | (None, Some(callable)) => callable,
            (None, None) => "application",
        };
        let (name, is_factory) = match callable.strip_suffix("()") {
            Some(name) => (name, true),
            None => (callable, false),
        };
        if !is_dotted_name(name) {
            return error(format!("invalid callable \"{callable}\" in \"wsgi_pass\""));
        }
        let source = if source.contains('/') || source.ends_with(".py") {
            Source::Script(source.to_owned())
        } else if is_dotted_name(source) {
            Source::Module(source.to_owned())
        } else {
            return error(format!("invalid module name \"{source}\" in \"wsgi_pass\""));
        };
        Ok(Self { source, callable: name.to_owned(), is_factory })
    }

    /// The script's path, if it is a script.
    pub fn script(&self) -> Option<&str> {
        match &self.source {
            Source::Script(path) => Some(path),
            Source::Module(_) => None,
        }
    }

    /// The module's name, if it is a module.
    pub fn module(&self) -> Option<&str> {
        match &self.source {
            Source::Script(_) => None,
            Source::Module(name) => Some(name),
        }
    }
}

fn error<T>(text: String) -> Result<T, TargetError> {
    Err(TargetError(text))
}

/// What users of other `_pass` directives may try.
fn refuse_foreign(target: &str) -> Result<(), TargetError> {
    if target.contains('$') {
        return error("\"wsgi_pass\" takes no variables".to_owned());
    }
    if target.contains("://") || target.starts_with("unix:") {
        return error(format!(
            "\"wsgi_pass\" takes a script or a module, \"{target}\" is an address"
        ));
    }
    Ok(())
}

/// Cuts the callable off: what follows the last colon after the last slash.
fn split(target: &str) -> (&str, Option<&str>) {
    let name = target.rfind('/').map_or(0, |slash| slash + 1);
    match target[name..].rfind(':') {
        Some(colon) => (&target[..name + colon], Some(&target[name + colon + 1..])),
        None => (target, None),
    }
}

fn is_dotted_name(name: &str) -> bool {
    let is_identifier = |part: &str| {
        let mut chars = part.chars();
        chars.next().is_some_and(|c| c == '_' || c.is_alphabetic())
            && chars.all(|c| c == '_' || c.is_alphanumeric())
    };
    name.split('.').all(is_identifier)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Source::Script(source) | Source::Module(source)) = &self.source;
        f.write_str(source)?;
        match (self.callable.as_str(), self.is_factory) {
            ("application", false) => Ok(()),
            (callable, false) => write!(f, ":{callable}"),
            (callable, true) => write!(f, ":{callable}()"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(target: &str, callable: Option<&str>) -> (Source, String, bool) {
        let target = Target::parse(target, callable).unwrap();
        (target.source, target.callable, target.is_factory)
    }

    fn script(path: &str) -> Source {
        Source::Script(path.to_owned())
    }

    fn module(name: &str) -> Source {
        Source::Module(name.to_owned())
    }

    #[test]
    fn every_form() {
        let application = || "application".to_owned();
        assert_eq!(parsed("/srv/a.py", None), (script("/srv/a.py"), application(), false));
        assert_eq!(parsed("app.py", None), (script("app.py"), application(), false));
        assert_eq!(parsed("dir/app.wsgi", None), (script("dir/app.wsgi"), application(), false));
        assert_eq!(parsed("shop", None), (module("shop"), application(), false));
        assert_eq!(parsed("shop.api:app", None), (module("shop.api"), "app".to_owned(), false));
        assert_eq!(parsed("shop.api", Some("app")), (module("shop.api"), "app".to_owned(), false));
        assert_eq!(parsed("shop:create()", None), (module("shop"), "create".to_owned(), true));
        assert_eq!(parsed("/a.py", Some("make()")), (script("/a.py"), "make".to_owned(), true));
        assert_eq!(parsed("/a:b/c.py:d.e", None), (script("/a:b/c.py"), "d.e".to_owned(), false));
    }

    #[test]
    fn every_refusal() {
        let refused = |target, callable| Target::parse(target, callable).unwrap_err().to_string();
        assert_eq!(refused("shop:a", Some("b")), "the callable of \"wsgi_pass\" is given twice");
        assert_eq!(refused("$app", None), "\"wsgi_pass\" takes no variables");
        assert_eq!(refused("a.b:", None), "invalid callable \"\" in \"wsgi_pass\"");
        assert_eq!(refused("a.b:f(1)", None), "invalid callable \"f(1)\" in \"wsgi_pass\"");
        assert_eq!(refused("a-b", None), "invalid module name \"a-b\" in \"wsgi_pass\"");
        assert_eq!(refused("a..b", None), "invalid module name \"a..b\" in \"wsgi_pass\"");
        assert_eq!(refused("", None), "invalid module name \"\" in \"wsgi_pass\"");
        assert!(refused("http://127.0.0.1:80", None).ends_with("is an address"));
        assert!(refused("unix:/tmp/s", None).ends_with("is an address"));
    }

    #[test]
    fn shown_as_written() {
        for text in ["/srv/a.py", "shop.api:app", "shop:create()"] {
            assert_eq!(Target::parse(text, None).unwrap().to_string(), text);
        }
    }
}
