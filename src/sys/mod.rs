//! The kernel's door: the only `unsafe`, the only callers of nix and libc. It knows no container.
//! Every failure is a [`SysError`](crate::error::SysError) that shows the call.
#![allow(unsafe_code, clippy::disallowed_methods)]

pub mod at;
pub mod byte_lock;
pub mod cgroup;
pub mod conntrack;
pub mod credentials;
pub mod data;
pub mod dbus;
pub mod event;
pub mod frames;
pub mod fs;
pub mod host;
pub mod idmap;
pub mod iptables;
pub mod mount;
pub mod netlink;
pub mod netns;
pub mod nftables;
pub mod ping;
pub mod process;
pub mod record;
pub mod rlimit;
pub mod seccomp;
pub mod socket;
pub mod tree;
pub mod tty;
pub mod usage;
pub mod watch;

use crate::error::{Errno, SysError, SysResult};
use std::ffi::CStr;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

/// Gives a failed call its text; `call` is built only on failure: `open("/etc/passwd", O_RDONLY)`.
pub(crate) fn named<T>(result: nix::Result<T>, call: impl FnOnce() -> String) -> SysResult<T> {
    result.map_err(|errno| SysError { call: call(), errno })
}

/// The same for the standard library's errors.
pub(crate) fn named_io<T>(result: std::io::Result<T>, call: impl FnOnce() -> String) -> SysResult<T> {
    result.map_err(|e| SysError { call: call(), errno: errno_of(&e).unwrap_or(Errno::EIO) })
}

/// The kernel's word for an error of the standard library's. Where it was wrapped (tempfile adds the path) only its kind
/// is left.
pub fn errno_of(e: &std::io::Error) -> Option<Errno> {
    use std::io::ErrorKind;
    e.raw_os_error().map(Errno::from_raw).or(match e.kind() {
        ErrorKind::StorageFull => Some(Errno::ENOSPC),
        ErrorKind::QuotaExceeded => Some(Errno::EDQUOT),
        ErrorKind::NotFound => Some(Errno::ENOENT),
        ErrorKind::PermissionDenied => Some(Errno::EACCES),
        ErrorKind::ReadOnlyFilesystem => Some(Errno::EROFS),
        _ => None,
    })
}

/// The same for a raw system call that gives -1 and sets errno.
pub(crate) fn named_raw(result: libc::c_long, call: impl FnOnce() -> String) -> SysResult<libc::c_long> {
    named(Errno::result(result), call)
}

/// A file that lives in memory alone, holding these bytes, read from its start, close-on-exec (memfd_create(2)).
pub fn memory_file(name: &CStr, bytes: &[u8]) -> SysResult<OwnedFd> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use std::io::{Seek as _, Write as _};
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let fd = named(memfd_create(name, flags), || format!("memfd_create({name:?})"))?;
    let mut file = std::fs::File::from(fd);
    named_io(file.write_all(bytes).and_then(|()| file.rewind()), || format!("write(memfd {name:?})"))?;
    Ok(file.into())
}

/// Makes these three descriptors standard input, output and error.
pub fn redirect_stdio(fds: &[BorrowedFd<'_>; 3]) -> SysResult<()> {
    for (target, fd) in (0..).zip(fds) {
        // SAFETY: both are plain numbers; replacing 0, 1 and 2 is the purpose, nothing of ours owns them.
        let done = unsafe { libc::dup3(fd.as_raw_fd(), target, 0) };
        if fd.as_raw_fd() != target {
            named_raw(done.into(), || format!("dup3({}, {target})", fd.as_raw_fd()))?;
        }
    }
    Ok(())
}

/// Another descriptor of the same open file, close-on-exec.
pub fn duplicate(fd: &OwnedFd) -> SysResult<OwnedFd> {
    named_io(fd.try_clone(), || "fcntl(F_DUPFD_CLOEXEC)".into())
}

/// Closes every descriptor from a number on, whoever in this process had them: for a copy of it that goes its own way
/// (close_range(2), Linux 5.9).
pub fn close_from(first: u32) -> SysResult<()> {
    // SAFETY: takes no pointer. Nothing uses these descriptors any more: the caller ends by _exit, without destructors.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    named_raw(done, || format!("close_range({first})")).map(drop)
}

/// Lets a descriptor survive the next exec.
pub fn keep_on_exec(fd: &OwnedFd) -> SysResult<()> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    named(fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())), || "fcntl(F_SETFD, 0)".into()).map(drop)
}

/// Takes over a descriptor that was inherited under a known number, and makes it close-on-exec.
/// EBADF where nothing is open there.
pub fn inherited(number: i32) -> SysResult<OwnedFd> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use std::os::fd::FromRawFd as _;
    // SAFETY: borrowed for this one call; a number behind which nothing is open gives EBADF and no more.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    named(fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)), || format!("fcntl({number}, F_SETFD, FD_CLOEXEC)"))?;
    // SAFETY: open, as the call above has shown, and handed to this process by number, so nobody else owns it here.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
