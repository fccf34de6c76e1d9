//! The Python room: the interpreter and what it takes to give it Rust objects.
//!
//! Nothing here knows of requests or of nginx. PyO3's process-wide conveniences (`#[pyclass]`,
//! `intern!`, `PyOnceLock`, `create_exception!`) are not used: every Python object of ours belongs to
//! one interpreter, so that more than one interpreter stays possible.

mod block;
mod class;
mod context;
mod dict;
mod filling;
mod gil;
mod guarded;
mod handle;
mod interpreter;
mod library;
mod owned;
mod package;
mod runtime;
mod text;

pub use block::PyBlock;
pub use class::{Class, HeapType, Instance, Kept, Method, Methods, is_referred_to, references};
pub use context::Context;
pub use dict::{set, set_default, version};
pub use filling::Filling;
pub use gil::Gil;
pub use guarded::Guarded;
pub use handle::Handle;
pub use interpreter::Interpreter;
#[cfg(not(test))]
pub use library::unoptimised_library;
pub use owned::Owned;
#[cfg(debug_assertions)]
pub use package::panic;
pub use package::{Interruption, Stamp, Wanted, forget_interruption, this_thread};
pub use runtime::{BUILD_VERSION, Settings, environment_version, python_version, start, stop};
pub use text::{latin1, latin1_bytes};
