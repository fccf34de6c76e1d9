//! The C shim's functions, and the proof that Rust, clang and the C compiler see the same structures.

#![allow(non_camel_case_types, non_upper_case_globals, dead_code)]

include!(concat!(env!("OUT_DIR"), "/shim.rs"));
