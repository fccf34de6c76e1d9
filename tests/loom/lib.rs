//! See Cargo.toml. The tests are those of the room.

#![cfg(loom)]
#![allow(dead_code, unused_imports)]

#[path = "../../src/handover/desk.rs"]
mod desk;
#[path = "../../src/handover/pipe.rs"]
mod pipe;
#[path = "../../src/handover/queue.rs"]
mod queue;
#[path = "../../src/handover/sync.rs"]
mod sync;
