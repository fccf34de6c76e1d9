//! What `wsgi_pass` and `wsgi_middleware` name: a script or a module, and the callable in it.

use core::fmt;

/// Where an application's code is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file. Relative paths are still relative to nginx's prefix.
    Script(String),
    /// A module by its dotted name.
    Module(String),
}

/// A directive that names a callable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// `wsgi_pass`
    Pass,
    /// `wsgi_middleware`
    Middleware,
}

impl Naming {
    fn directive(self) -> &'static str {
        match self {
            Self::Pass => "wsgi_pass",
            Self::Middleware => "wsgi_middleware",
        }
    }

    fn default_callable(self) -> &'static str {
        match self {
            Self::Pass => "application",
            Self::Middleware => "middleware",
        }
    }
}

/// A parsed argument of such a directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    naming: Naming,
    /// The script or module.
    pub source: Source,
    /// Dotted path of the callable in it.
    pub callable: String,
    /// Whether the callable is to be called once, its result being the application.
    pub is_factory: bool,
}

/// Why an argument makes no sense; the text is complete but for file and line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetError(String);

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Target {
    /// Parses `TARGET[:callable | :factory()]` and the optional second argument of a directive.
    ///
    /// A TARGET with a slash in it, or one that ends in `.py`, is a path; anything else is a module.
    /// `:callable` and `:factory()` are spelled as gunicorn spells them. A middleware is no factory: what
    /// it is called with is the application.
    pub fn parse(
        naming: Naming,
        target: &str,
        callable: Option<&str>,
    ) -> Result<Self, TargetError> {
        let directive = naming.directive();
        refuse_foreign(directive, target)?;
        let (source, suffix) = split(target);
        let callable = match (suffix, callable) {
            (Some(_), Some(_)) => {
                return error(format!("the callable of \"{directive}\" is given twice"));
            }
            (Some(callable), None) | (None, Some(callable)) => callable,
            (None, None) => naming.default_callable(),
        };
        let (name, is_factory) = match callable.strip_suffix("()") {
            Some(name) => (name, true),
            None => (callable, false),
        };
        if !is_dotted_name(name) {
            return error(format!("invalid callable \"{callable}\" in \"{directive}\""));
        }
        if is_factory && naming == Naming::Middleware {
            return error(format!("\"{directive}\" takes no factory \"{callable}\""));
        }
        let source = if source.contains('/') || source.ends_with(".py") {
            Source::Script(source.to_owned())
        } else if is_dotted_name(source) {
            Source::Module(source.to_owned())
        } else {
            return error(format!("invalid module name \"{source}\" in \"{directive}\""));
        };
        Ok(Self { naming, source, callable: name.to_owned(), is_factory })
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
fn refuse_foreign(directive: &str, target: &str) -> Result<(), TargetError> {
    if target.contains('$') {
        return error(format!("\"{directive}\" takes no variables"));
    }
    if target.contains("://") || target.starts_with("unix:") {
        return error(format!(
            "\"{directive}\" takes a script or a module, \"{target}\" is an address"
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

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Script(source) | Self::Module(source)) = self;
        f.write_str(source)
    }
}

impl fmt::Display for Target {
    /// As written, without the callable if it is the default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)?;
        match (self.callable.as_str(), self.is_factory) {
            (callable, false) if callable == self.naming.default_callable() => Ok(()),
            (callable, false) => write!(f, ":{callable}"),
            (callable, true) => write!(f, ":{callable}()"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(target: &str, callable: Option<&str>) -> (Source, String, bool) {
        let target = Target::parse(Naming::Pass, target, callable).unwrap();
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
        let refused = |target, callable| {
            Target::parse(Naming::Pass, target, callable).unwrap_err().to_string()
        };
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
            assert_eq!(Target::parse(Naming::Pass, text, None).unwrap().to_string(), text);
        }
    }

    #[test]
    fn middleware() {
        let parse = |target, callable| Target::parse(Naming::Middleware, target, callable);
        assert_eq!(parse("paste.lint", None).unwrap().callable, "middleware");
        assert_eq!(parse("paste.lint", None).unwrap().to_string(), "paste.lint");
        let validator = parse("wsgiref.validate", Some("validator")).unwrap();
        assert_eq!(validator.to_string(), "wsgiref.validate:validator");
        let refused = |target, callable| parse(target, callable).unwrap_err().to_string();
        assert_eq!(refused("m:make()", None), "\"wsgi_middleware\" takes no factory \"make()\"");
        assert_eq!(refused("$m", None), "\"wsgi_middleware\" takes no variables");
    }
}
