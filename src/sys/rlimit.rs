//! Resource limits: prlimit(2), by the kernel's numbers; `u64::MAX` is unlimited.

use super::named;
use super::process::Pid;
use crate::error::SysResult;

/// Soft and hard limit of this resource.
pub fn get(resource: u32) -> SysResult<(u64, u64)> {
    prlimit(Pid(0), resource, None).map(|old| (old.rlim_cur, old.rlim_max))
}

/// Of a child that was not reaped yet; 0 is ourselves.
pub fn set(of: Pid, resource: u32, soft: u64, hard: u64) -> SysResult<()> {
    prlimit(of, resource, Some(libc::rlimit64 { rlim_cur: soft, rlim_max: hard })).map(drop)
}

/// As many descriptors as this process may have: each published port holds one, and each question on its way. What it
/// starts gets limits of its own.
pub fn raise_descriptors() -> SysResult<()> {
    let descriptors = libc::RLIMIT_NOFILE as u32;
    let (_, hard) = get(descriptors)?;
    set(Pid(0), descriptors, hard, hard)
}

/// The raw call: C libraries differ in the type of the resource's number and in the size of the values.
fn prlimit(of: Pid, resource: u32, new: Option<libc::rlimit64>) -> SysResult<libc::rlimit64> {
    let new_pointer = new.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let mut old = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel reads one rlimit64 where the first pointer is not null and writes one to the second;
    // both live until the call returns.
    let done = unsafe { libc::syscall(libc::SYS_prlimit64, of.0, resource, new_pointer, std::ptr::from_mut(&mut old)) };
    let call = || match new {
        Some(new) => format!("prlimit({of}, {resource}, {}:{})", new.rlim_cur, new.rlim_max),
        None => format!("prlimit({of}, {resource})"),
    };
    named(nix::errno::Errno::result(done), call).map(|_| old)
}
