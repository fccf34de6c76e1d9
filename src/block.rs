//! A block: the bytes of one item that an application yielded.
//!
//! The Python room makes blocks out of `bytes` objects, the nginx room sends them, and neither knows
//! the other. What they agree on is this trait.

/// An owner of bytes whose address and content do not change while the owner lives, moved or not.
///
/// # Safety
///
/// The slice returned by `as_bytes` must be the same (address, length, content) on every call, until
/// the value is dropped. nginx keeps pointers into it while the value is parked elsewhere.
pub unsafe trait Block {
    /// The bytes; never empty in what is handed to nginx.
    fn as_bytes(&self) -> &[u8];
}
