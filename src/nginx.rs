//! The nginx room: safe views of what nginx hands to a module.
//!
//! Nothing here knows of Python. Functions take and give bytes, blocks and nginx's own types; pointers
//! are followed here and nowhere else.

mod accel;
mod address;
pub mod alarm;
mod allowance;
mod bell;
mod body;
pub mod capture;
pub mod child;
mod descriptor;
pub mod entry;
pub mod event;
mod headers;
pub mod hold;
pub mod listening;
pub mod log;
mod output;
pub mod pool;
pub mod process;
mod request;
mod shim;
mod spool;
pub mod subrequest;
pub mod upload;
pub mod variable;
pub mod zone;

pub use accel::{Ignored, Redirect, ResponseRules};
pub use address::LocalAddress;
pub use alarm::Alarm;
pub use allowance::Roomy;
pub use bell::Bell;
pub use body::{ClientBody, OwnedBody};
pub use descriptor::{Descriptor, Direction};
pub use event::Wake;
pub use headers::{Ranges, ResponseHead};
pub use log::{Level, Log};
pub use output::{Flow, HeadFlow, Output, is_one_buffer, regular_file_size};
pub use request::{Headers, Request};
pub use spool::{Spool, os_error_text};
pub use subrequest::Subrequest;
pub use upload::Upload;

/// nginx's return code as its functions spell it.
pub type Code = nginx_sys::ngx_int_t;

/// Return codes that nginx-sys gives other integer types.
pub const OK: Code = nginx_sys::NGX_OK as Code;
pub const ERROR: Code = nginx_sys::NGX_ERROR as Code;
pub const DONE: Code = nginx_sys::NGX_DONE as Code;
pub const INTERNAL_SERVER_ERROR: Code = nginx_sys::NGX_HTTP_INTERNAL_SERVER_ERROR as Code;
pub const BAD_REQUEST: Code = nginx_sys::NGX_HTTP_BAD_REQUEST as Code;
pub const NOT_ALLOWED: Code = nginx_sys::NGX_HTTP_NOT_ALLOWED as Code;
pub const NOT_FOUND: Code = nginx_sys::NGX_HTTP_NOT_FOUND as Code;
pub const SERVICE_UNAVAILABLE: Code = nginx_sys::NGX_HTTP_SERVICE_UNAVAILABLE as Code;
pub const GATEWAY_TIME_OUT: Code = nginx_sys::NGX_HTTP_GATEWAY_TIME_OUT as Code;
pub const REQUEST_TIME_OUT: Code = nginx_sys::NGX_HTTP_REQUEST_TIME_OUT as Code;
pub const REQUEST_ENTITY_TOO_LARGE: Code = nginx_sys::NGX_HTTP_REQUEST_ENTITY_TOO_LARGE as Code;
pub const CLIENT_CLOSED_REQUEST: Code = nginx_sys::NGX_HTTP_CLIENT_CLOSED_REQUEST as Code;
