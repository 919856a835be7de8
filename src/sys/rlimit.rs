//! Resource limits: getrlimit(2), setrlimit(2).

use super::named;
use crate::error::SysResult;
use oci_spec::runtime::PosixRlimitType;

const ALL: [PosixRlimitType; 16] = [
    PosixRlimitType::RlimitCpu,
    PosixRlimitType::RlimitFsize,
    PosixRlimitType::RlimitData,
    PosixRlimitType::RlimitStack,
    PosixRlimitType::RlimitCore,
    PosixRlimitType::RlimitRss,
    PosixRlimitType::RlimitNproc,
    PosixRlimitType::RlimitNofile,
    PosixRlimitType::RlimitMemlock,
    PosixRlimitType::RlimitAs,
    PosixRlimitType::RlimitLocks,
    PosixRlimitType::RlimitSigpending,
    PosixRlimitType::RlimitMsgqueue,
    PosixRlimitType::RlimitNice,
    PosixRlimitType::RlimitRtprio,
    PosixRlimitType::RlimitRttime,
];

/// The kernel's number of this resource (include/uapi/asm-generic/resource.h; the same on x86_64 and aarch64).
fn number(resource: PosixRlimitType) -> u32 {
    match resource {
        PosixRlimitType::RlimitCpu => 0,
        PosixRlimitType::RlimitFsize => 1,
        PosixRlimitType::RlimitData => 2,
        PosixRlimitType::RlimitStack => 3,
        PosixRlimitType::RlimitCore => 4,
        PosixRlimitType::RlimitRss => 5,
        PosixRlimitType::RlimitNproc => 6,
        PosixRlimitType::RlimitNofile => 7,
        PosixRlimitType::RlimitMemlock => 8,
        PosixRlimitType::RlimitAs => 9,
        PosixRlimitType::RlimitLocks => 10,
        PosixRlimitType::RlimitSigpending => 11,
        PosixRlimitType::RlimitMsgqueue => 12,
        PosixRlimitType::RlimitNice => 13,
        PosixRlimitType::RlimitRtprio => 14,
        PosixRlimitType::RlimitRttime => 15,
    }
}

/// Our own limits: resource, soft, hard; `u64::MAX` is unlimited.
pub fn all() -> SysResult<Vec<(PosixRlimitType, u64, u64)>> {
    ALL.into_iter().map(|resource| prlimit(resource, None).map(|old| (resource, old.rlim_cur, old.rlim_max))).collect()
}

pub fn set(resource: PosixRlimitType, soft: u64, hard: u64) -> SysResult<()> {
    prlimit(resource, Some(libc::rlimit64 { rlim_cur: soft, rlim_max: hard })).map(drop)
}

/// The raw call: C libraries differ in the type of the resource's number and in the size of the values.
fn prlimit(resource: PosixRlimitType, new: Option<libc::rlimit64>) -> SysResult<libc::rlimit64> {
    let new_pointer = new.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let mut old = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel reads one rlimit64 where the first pointer is not null and writes one to the second;
    // both live until the call returns.
    let done =
        unsafe { libc::syscall(libc::SYS_prlimit64, 0, number(resource), new_pointer, std::ptr::from_mut(&mut old)) };
    let call = || match new {
        Some(new) => format!("setrlimit({resource}, {}:{})", new.rlim_cur, new.rlim_max),
        None => format!("getrlimit({resource})"),
    };
    named(nix::errno::Errno::result(done), call).map(|_| old)
}
