//! Prepares the build for one nginx and one Python: turns what nginx-sys and PyO3 found out about
//! them into cfgs, compiles and binds the C shim, and says how the shared object is to be linked.
//! Whatever the user can repair ends as one sentence, never as a backtrace. `tools/check` says the
//! same sentences earlier, before the build scripts of other crates can stumble.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

use pyo3_build_config::{InterpreterConfig, PythonImplementation};

const SHIM_C: &str = "src/nginx/shim.c";
const SHIM_H: &str = "src/nginx/shim.h";
const SIZEOF: &str = "NGX_WSGI_SIZEOF_";

/// nginx versions at which something we use changed, and the cfg that says "this one or newer".
const NGINX_CFGS: &[(u32, &str)] = &[
    // Repeated headers became linked lists.
    (1_023_000, "nginx_1_23"),
    // `http2` became a directive of its own, HTTP/3 arrived.
    (1_025_001, "nginx_1_25"),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let nginx = Nginx::from_env();
    let python = pyo3_build_config::get();
    check_python(python);

    nginx_cfgs(&nginx);
    pyo3_build_config::use_pyo3_cfgs();
    if let Some(executable) = python.executable() {
        println!("cargo::rustc-env=WSGI_PYTHON_EXECUTABLE={executable}");
    }
    let version = python.target_abi().version();
    println!("cargo::rustc-env=WSGI_PYTHON_VERSION={}.{}", version.major, version.minor);
    println!("cargo::rustc-env=WSGI_NGINX_VERSION={}", nginx.version);

    shim(&nginx);
    link(python);
}

/// Ends the build with one sentence: what is wrong and what to do about it.
fn fail(sentence: &str) -> ! {
    println!("cargo::error={sentence}");
    exit(1);
}

/// What nginx-sys tells its direct dependents.
struct Nginx {
    version: String,
    version_number: u32,
    includes: Vec<PathBuf>,
    defines: Vec<(String, Option<String>)>,
}

impl Nginx {
    fn from_env() -> Self {
        let version_number = dep_nginx("VERSION_NUMBER").parse().unwrap_or(0);
        let version = dep_nginx("VERSION").trim_start_matches("nginx/").to_owned();
        if version_number < 1_022_000 {
            fail(&format!(
                "nginx {version} is too old for this module, which needs nginx 1.22.0 or newer: \
                 point NGINX_SOURCE_DIR and NGINX_BUILD_DIR to a newer one."
            ));
        }
        let features = dep_nginx("FEATURES");
        if !features.split(',').any(|feature| feature == "http") {
            fail("nginx was configured without HTTP: configure it without --without-http.");
        }
        let includes = env::split_paths(&dep_nginx("INCLUDE")).collect();

        // nginx-sys 0.5 prints this one with the old syntax, so that its key is lost.
        println!("cargo::rerun-if-env-changed=DEP_NGINX_METADATA");
        let cflags = env::var("DEP_NGINX_CFLAGS")
            .or_else(|_| env::var("DEP_NGINX_METADATA"))
            .unwrap_or_default();
        let cflags = cflags.strip_prefix("cflags=").unwrap_or(&cflags);
        let defines = format!(" {cflags}")
            .split(" -D")
            .map(str::trim)
            .filter(|define| !define.is_empty())
            .map(|define| match define.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (define.to_owned(), None),
            })
            .collect();
        Nginx { version, version_number, includes, defines }
    }
}

fn dep_nginx(name: &str) -> String {
    let name = format!("DEP_NGINX_{name}");
    println!("cargo::rerun-if-env-changed={name}");
    env::var(name).unwrap_or_default()
}

fn nginx_cfgs(nginx: &Nginx) {
    for (cfg, known) in [("feature", "FEATURES_CHECK"), ("os", "OS_CHECK")] {
        let known = dep_nginx(known);
        println!("cargo::rustc-check-cfg=cfg(ngx_{cfg}, values({known}))");
    }
    for feature in dep_nginx("FEATURES").split(',').map(str::trim).filter(|f| !f.is_empty()) {
        println!("cargo::rustc-cfg=ngx_feature=\"{feature}\"");
    }
    println!("cargo::rustc-cfg=ngx_os=\"{}\"", dep_nginx("OS"));

    for (version, cfg) in NGINX_CFGS {
        println!("cargo::rustc-check-cfg=cfg({cfg})");
        if nginx.version_number >= *version {
            println!("cargo::rustc-cfg={cfg}");
        }
    }
}

/// PyO3 has its own opinion about versions; this is about what an embedded interpreter needs.
fn check_python(python: &InterpreterConfig) {
    let abi = python.target_abi();
    let version = abi.version();
    let name = format!("Python {}.{}", version.major, version.minor);
    let what = match python.executable() {
        Some(executable) => format!("{name} ({executable})"),
        None => name.clone(),
    };

    if abi.implementation() != PythonImplementation::CPython {
        fail(&format!("{what} is not CPython: set PYTHON to a CPython 3.9 or newer."));
    }
    if (version.major, version.minor) < (3, 9) {
        fail(&format!("{what} is too old for this module: set PYTHON to a Python 3.9 or newer."));
    }
    if abi.kind().is_free_threaded() {
        fail(&format!("{what} is a free-threaded build: set PYTHON to one with the usual lock."));
    }
    if abi.is_debug() {
        println!("cargo::warning={what} is a debug build.");
    }

    // A static libpython would hide its symbols inside the module, where Python's own extension
    // modules (_ctypes, _ssl, and so on) do not find them.
    if !python.shared() {
        fail(&format!(
            "{what} has no shared libpython, and the module cannot use a static one: install a \
             Python configured with --enable-shared (with pyenv: \
             PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install {}.{}).",
            version.major, version.minor
        ));
    }
    let Some(lib_name) = python.lib_name() else {
        fail(&format!("{what} does not say how its library is called: set PYTHON to another one."));
    };
    let file = format!("lib{lib_name}.so");
    let in_lib_dir = python.lib_dir().is_some_and(|dir| Path::new(dir).join(&file).exists());
    if cfg!(target_os = "linux") && !in_lib_dir && !linker_finds(&file) {
        fail(&format!(
            "{what} is installed without {file}: install its development package \
             (Debian: apt-get install python3-dev)."
        ));
    }
}

/// The C compiler knows the folders where the linker looks; it answers a bare name if it has none.
fn linker_finds(file: &str) -> bool {
    let compiler = cc::Build::new().get_compiler();
    let answer = Command::new(compiler.path()).arg(format!("-print-file-name={file}")).output();
    answer.is_ok_and(|out| Path::new(String::from_utf8_lossy(&out.stdout).trim()).is_absolute())
}

/// Binds shim.h for Rust (`OUT_DIR/shim.rs`), then compiles shim.c.
fn shim(nginx: &Nginx) {
    println!("cargo::rerun-if-changed={SHIM_C}");
    println!("cargo::rerun-if-changed={SHIM_H}");

    let includes = nginx.includes.iter().map(|path| format!("-I{}", path.display()));
    let defines = nginx.defines.iter().map(|(name, value)| match value {
        Some(value) => format!("-D{name}={value}"),
        None => format!("-D{name}"),
    });
    let msrv = env::var("CARGO_PKG_RUST_VERSION").expect("cargo sets it");
    let bindings = bindgen::Builder::default()
        .header(SHIM_H)
        .clang_args(includes.chain(defines))
        // Our own names only. nginx's types are those of nginx-sys, not a second copy.
        .allowlist_item("(?i)ngx_wsgi_.*")
        .allowlist_recursively(false)
        .raw_line("use nginx_sys::*;")
        .prepend_enum_name(false)
        .layout_tests(false)
        .generate_cstr(true)
        .rust_target(msrv.parse().expect("a Rust version that bindgen knows"))
        .rust_edition(bindgen::RustEdition::Edition2024)
        .formatter(bindgen::Formatter::Prettyplease)
        .generate();
    let mut bindings = match bindings {
        Ok(bindings) => bindings.to_string(),
        Err(error) => fail(&format!("{SHIM_H} could not be read with nginx's headers: {error}.")),
    };

    let sizes = sizes(&bindings);
    assert!(!sizes.is_empty(), "{SHIM_H} has no {SIZEOF} constants");
    let mut c = cc::Build::new();
    for (structure, size) in &sizes {
        writeln!(
            bindings,
            "const _: () = assert!(size_of::<nginx_sys::{structure}>() == {size}, \
             \"nginx-sys and nginx's headers disagree about the size of {structure}\");"
        )
        .expect("a String takes everything");
        c.define(&format!("NGX_WSGI_CLANG_SIZEOF_{structure}"), Some(size.as_str()));
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("shim.rs");
    fs::write(&out, bindings).expect("OUT_DIR is writable");

    for (name, value) in &nginx.defines {
        c.define(name, value.as_deref());
    }
    c.file(SHIM_C)
        .includes(&nginx.includes)
        .std("gnu11")
        .warnings(true)
        .extra_warnings(true)
        // nginx's own headers and callbacks are full of them.
        .flag_if_supported("-Wno-unused-parameter")
        // Only where clippy and the unit tests look: a user's newer compiler may know more of them.
        .warnings_into_errors(env::var("PROFILE").is_ok_and(|profile| profile == "debug"));
    if let Err(error) = c.try_compile("ngx_wsgi_shim") {
        fail(&format!("{SHIM_C} could not be compiled with nginx's headers: {error}."));
    }
}

/// The pairs (structure, bytes) of `enum ngx_wsgi_sizeof` as bindgen evaluated it.
fn sizes(bindings: &str) -> Vec<(String, String)> {
    bindings
        .lines()
        .filter_map(|line| {
            let (name, value) = line.trim().strip_prefix("pub const ")?.split_once(" = ")?;
            let structure = name.split(':').next()?.trim().strip_prefix(SIZEOF)?;
            Some((structure.to_owned(), value.trim_end_matches(';').to_owned()))
        })
        .collect()
}

fn link(python: &InterpreterConfig) {
    if cfg!(target_os = "macos") {
        // nginx's symbols are there only once the module is loaded.
        println!("cargo::rustc-cdylib-link-arg=-undefined");
        println!("cargo::rustc-cdylib-link-arg=dynamic_lookup");
    } else {
        // The module stays mapped when nginx closes it: Python's threads and exit functions may
        // still have a foot in it, and libpython with it.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }

    // A Python outside of the loader's folders, such as one of pyenv, must be found by path.
    if let Some(dir) = python.lib_dir()
        && !loader_searches(Path::new(dir))
    {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{dir}");
    }
}

/// Whether the dynamic loader looks into `dir` without being told.
fn loader_searches(dir: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let dir = real(dir);
    let usual = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"];
    if usual.iter().any(|usual| real(Path::new(usual)) == dir) {
        return true;
    }
    // Its cache lists every library with its path: `libz.so.1 (libc6,x86-64) => /lib/.../libz.so.1`.
    let cache = ["/sbin/ldconfig", "ldconfig"]
        .iter()
        .find_map(|ldconfig| Command::new(ldconfig).arg("-p").output().ok());
    let Some(cache) = cache else { return false };
    String::from_utf8_lossy(&cache.stdout)
        .lines()
        .filter_map(|line| line.rsplit_once("=> "))
        .filter_map(|(_, path)| Path::new(path.trim()).parent())
        .any(|folder| folder == dir || real(folder) == dir)
}
