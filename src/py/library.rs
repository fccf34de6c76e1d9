//! The file of the Python library that is loaded, and whether it was built to be fast.
//!
//! Debian, and everybody who configures CPython without more ado, has a libpython without profile-guided
//! optimisation. Everything that needs to be known about that stands in files beside it, so Python need not run.

use core::ffi::CStr;
use core::mem::MaybeUninit;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyo3::ffi;

use super::runtime::BUILD_VERSION;

/// The Python library in this process, if it is known to be configured without `--enable-optimizations`.
/// `None` also if that cannot be known. Needs no interpreter.
pub fn unoptimised_library() -> Option<PathBuf> {
    let library = loaded_library()?;
    let config = configuration(&library, BUILD_VERSION)?;
    let optimised = value(&config, "CONFIG_ARGS")?.contains("--enable-optimizations");
    (!optimised).then_some(library)
}

fn loaded_library() -> Option<PathBuf> {
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    let inside: unsafe extern "C" fn() -> *const core::ffi::c_char = ffi::Py_GetVersion;
    // SAFETY: dladdr accepts any address. When it returns non-zero, it has filled the structure, and the name
    // belongs to the library, which is never unloaded.
    let name = unsafe {
        if libc::dladdr(inside as *const _, info.as_mut_ptr()) == 0 {
            return None;
        }
        let name = info.assume_init().dli_fname;
        (!name.is_null()).then(|| CStr::from_ptr(name))?
    };
    fs::canonicalize(OsStr::from_bytes(name.to_bytes())).ok()
}

/// What `sysconfig` would read to say how `library` was built: a module in the standard library, which is beside
/// the library, or beside the library's folder where that has the name of an architecture. Only one that names
/// this very file counts: it may also be that of another Python.
fn configuration(library: &Path, version: &str) -> Option<String> {
    let folder = library.parent()?;
    [Some(folder), folder.parent()].into_iter().flatten().find_map(|beside| {
        let standard_library = fs::read_dir(beside.join(format!("python{version}"))).ok()?;
        standard_library.flatten().find_map(|entry| {
            let name = entry.file_name();
            let name = name.to_str()?;
            if !name.starts_with("_sysconfigdata_") || !name.ends_with(".py") {
                return None;
            }
            let text = fs::read_to_string(entry.path()).ok()?;
            let named = Path::new(word(&text, "LIBDIR")?).join(word(&text, "INSTSONAME")?);
            (fs::canonicalize(named).ok()? == library).then_some(text)
        })
    })
}

/// What the dictionary in `text` has for `key`, as Python source. `pprint` has written it: one space before
/// every key, more before the further lines of a long value.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let start = format!("\n '{key}': ");
    let (_, rest) = text.split_once(&start)?;
    let value = rest.split_once("\n '").map_or(rest, |(value, _)| value);
    Some(value.trim_end_matches(['}', '\n', ',']))
}

/// The same for a short string.
fn word<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    value(text, key)?.strip_prefix('\'')?.strip_suffix('\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An installation in a folder of its own: a library, and what `sysconfig` would read about it.
    struct Installation(PathBuf);

    impl Installation {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("wsgi-{name}-{}", std::process::id()));
            fs::create_dir_all(&root).unwrap();
            Self(root.canonicalize().unwrap())
        }

        fn library(&self, folder: &str) -> PathBuf {
            let folder = self.0.join(folder);
            fs::create_dir_all(&folder).unwrap();
            let library = folder.join("libpython3.11.so.1.0");
            fs::write(&library, "").unwrap();
            library
        }

        fn describe(&self, folder: &str, name: &str, library: &Path, args: &str) {
            let folder = self.0.join(folder);
            fs::create_dir_all(&folder).unwrap();
            let libdir = library.parent().unwrap().display();
            let soname = library.file_name().unwrap().display();
            let text = format!(
                "# generated\nbuild_time_vars = {{'ABIFLAGS': '',\n 'CONFIG_ARGS': {args},\n \
                 'INSTSONAME': '{soname}',\n 'LIBDIR': '{libdir}'}}\n"
            );
            fs::write(folder.join(name), text).unwrap();
        }
    }

    impl Drop for Installation {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn arguments(library: &Path) -> Option<String> {
        let text = configuration(library, "3.11")?;
        value(&text, "CONFIG_ARGS").map(str::to_owned)
    }

    #[test]
    fn beside_the_library_or_beside_its_folder() {
        let one = Installation::new("prefix");
        let library = one.library("lib");
        assert_eq!(arguments(&library), None);
        let name = "_sysconfigdata__linux_x86_64-linux-gnu.py";
        let args = "\"'--enable-shared' '--prefix=/opt/python' \"\n                \"'CC=gcc'\"";
        one.describe("lib/python3.11", name, &library, args);
        assert_eq!(arguments(&library).as_deref(), Some(args));

        let debian = Installation::new("multiarch");
        let library = debian.library("lib/x86_64-linux-gnu");
        let name = "_sysconfigdata__x86_64-linux-gnu.py";
        debian.describe("lib/python3.11", name, &library, "'--enable-shared'");
        assert_eq!(arguments(&library).as_deref(), Some("'--enable-shared'"));
    }

    #[test]
    fn what_describes_another_library_says_nothing_about_this_one() {
        let one = Installation::new("others");
        let library = one.library("lib");
        let debug = one.library("lib/debug");
        one.describe("lib/python3.11", "_sysconfigdata_d_linux.py", &debug, "'--with-pydebug'");
        assert_eq!(arguments(&library), None);
        one.describe("lib/python3.11", "_sysconfigdata__linux.py", &library, "''");
        assert_eq!(arguments(&library).as_deref(), Some("''"));
    }

    #[test]
    fn the_last_of_the_values_and_those_that_are_missing() {
        let text = "x = {'A': '',\n 'B': 'b c',\n 'C': 3}\n";
        assert_eq!(word(text, "B"), Some("b c"));
        assert_eq!(value(text, "C"), Some("3"));
        assert_eq!(word(text, "C"), None);
        assert_eq!(value(text, "D"), None);
    }

    #[test]
    fn the_library_of_this_process_is_found() {
        let library = loaded_library().unwrap();
        assert!(library.to_string_lossy().contains("libpython3."));
    }
}
