//! Loads a system call filter: seccomp(2) itself, for no library loads one without no_new_privs.

use super::named_raw;
use crate::error::SysResult;

#[cfg(not(target_endian = "little"))]
compile_error!("a word of a filter is a struct sock_filter only where the low half comes first");

/// The words are `struct sock_filter { u16 code; u8 jt, jf; u32 k }` (linux/filter.h) as little-endian 64-bit numbers.
/// Needs no_new_privs or CAP_SYS_ADMIN.
pub fn load(program: &[u64], flags: u32) -> SysResult<()> {
    const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
    let len = libc::c_ushort::try_from(program.len()).unwrap_or(0); // too long is as invalid as empty: EINVAL
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the kernel reads `len` instructions of 8 bytes, which live until the call returns, and writes nothing;
    // from here on it is the filter, not we, who decides what this thread may call.
    let done =
        unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(&program)) };
    named_raw(done, || format!("seccomp(SECCOMP_SET_MODE_FILTER, {flags:#x}, {len} instructions)")).map(drop)
}
