//! The kernel's door: the only `unsafe`, the only callers of nix and libc. It knows no container.
//! Every failure is a [`SysError`](crate::error::SysError) that shows the call.
#![allow(unsafe_code, clippy::disallowed_methods)]

pub mod at;
pub mod fs;
pub mod record;
pub mod tree;

use crate::error::{Errno, SysError, SysResult};

/// Gives a failed call its text; `call` is built only on failure: `open("/etc/passwd", O_RDONLY)`.
pub(crate) fn named<T>(result: nix::Result<T>, call: impl FnOnce() -> String) -> SysResult<T> {
    result.map_err(|errno| SysError { call: call(), errno })
}

/// The same for the standard library's errors.
pub(crate) fn named_io<T>(result: std::io::Result<T>, call: impl FnOnce() -> String) -> SysResult<T> {
    result.map_err(|e| SysError { call: call(), errno: Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)) })
}

/// The same for a raw system call that gives -1 and sets errno.
pub(crate) fn named_raw(result: libc::c_long, call: impl FnOnce() -> String) -> SysResult<libc::c_long> {
    named(Errno::result(result), call)
}
