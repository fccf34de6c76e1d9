//! The workers of one nginx among themselves: who is being replaced, and who takes new connections.
//!
//! A worker joins as it starts, before it imports the applications, and is then known to the others by its
//! slot in a table in shared memory. Everything here runs on nginx's thread.

#[cfg(not(test))]
mod admission;
mod ears;
#[cfg(not(test))]
mod heap;
#[cfg(not(test))]
mod local;
#[cfg(not(test))]
mod replacement;
mod table;

#[cfg(not(test))]
pub use local::{
    ask_for_table, end, join, note_threads, replace, request_begins, request_ends, start_serving,
};
#[cfg(not(test))]
pub use replacement::Reason;
pub use table::Table;
