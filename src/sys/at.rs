//! One name below an open directory: the calls that write a tree nobody trusts. Every name is a single component,
//! no link is ever followed, no mount point crossed, so what is made lies in that directory and nowhere else.

use super::{named, named_io, named_raw};
use crate::error::{Errno, SysResult};
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags};
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;

/// Opens the directory `path` below `parent`: one component, or several where all are known to be directories.
/// A link anywhere is ELOOP, another kind of file ENOTDIR.
pub fn open_dir(parent: &impl AsFd, path: &OsStr) -> SysResult<OwnedFd> {
    open_strict(parent, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
}

/// Opens a regular file for reading; the caller has looked what it is, and a FIFO would not block all the same.
pub fn open_file(parent: &impl AsFd, name: &OsStr) -> SysResult<File> {
    open_strict(parent, name, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).map(File::from)
}

fn open_strict(parent: &impl AsFd, path: &OsStr, flags: OFlag) -> SysResult<OwnedFd> {
    let how = OpenHow::new().flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).resolve(
        ResolveFlag::RESOLVE_IN_ROOT
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS
            | ResolveFlag::RESOLVE_NO_XDEV,
    );
    loop {
        match nix::fcntl::openat2(parent, path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {} // a rename elsewhere raced it (openat2(2))
            done => return named(done, || format!("openat2({path:?}, {flags:?}, RESOLVE_NO_SYMLINKS)")),
        }
    }
}

/// What stands under a name, be it a link, without opening it (O_PATH). Mount points are crossed.
pub fn name_fd(parent: &impl AsFd, name: &OsStr) -> SysResult<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).resolve(resolve);
    loop {
        match nix::fcntl::openat2(parent, name, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {} // a rename elsewhere raced it (openat2(2))
            done => return named(done, || format!("openat2({name:?}, O_PATH, RESOLVE_NO_SYMLINKS)")),
        }
    }
}

/// Whether something is mounted on an entry, in whatever mount namespace the directory was reached through. The kernel
/// would remove such an entry all the same for who is in another namespace, and with it the mount.
pub fn is_mounted_on(parent: &impl AsFd, name: &OsStr) -> SysResult<bool> {
    match open_strict(parent, name, OFlag::O_PATH) {
        Ok(_) => Ok(false),
        Err(e) if e.errno == Errno::EXDEV => Ok(true),
        Err(e) if e.errno == Errno::ENOENT => Ok(false),
        Err(e) => Err(e),
    }
}

/// Opens for reading what a descriptor of O_PATH names and the caller has seen to be a regular file: this very file,
/// whatever has become of its name.
pub fn reopen_file(found: &OwnedFd) -> SysResult<File> {
    reopen(found, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).map(File::from)
}

/// The same for a directory; ENOTDIR where it is none.
pub fn reopen_dir(found: &OwnedFd) -> SysResult<OwnedFd> {
    reopen(found, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
}

fn reopen(found: &OwnedFd, flags: OFlag) -> SysResult<OwnedFd> {
    let path = super::fs::proc_path(found);
    named(super::fs::open(&path, flags | OFlag::O_CLOEXEC, Mode::empty()), || format!("open({path:?}, {flags:?})"))
}

/// Where the link points that a descriptor of O_PATH names.
pub fn readlink_fd(link: &OwnedFd) -> SysResult<OsString> {
    readlink(link, OsStr::new(""))
}

/// Sets the mode of what a descriptor of O_PATH names and the caller has seen to be no link.
pub fn chmod_found(found: &OwnedFd, mode: u32) -> SysResult<()> {
    let (path, bits) = (super::fs::proc_path(found), Mode::from_bits_truncate(mode));
    named(nix::sys::stat::fchmodat(nix::fcntl::AT_FDCWD, &path, bits, FchmodatFlags::FollowSymlink), || {
        format!("chmod({path:?}, {mode:o})")
    })
}

/// Whether a directory belongs to a file system that shows the kernel's own data: /proc, /sys and their like.
pub fn is_of_kernel(dir: &impl AsFd) -> SysResult<bool> {
    /// include/uapi/linux/magic.h: proc, sysfs, cgroup, cgroup2, devpts, debugfs, tracefs, securityfs, bpf, mqueue.
    const KERNEL: [u32; 10] = [
        0x9fa0,
        0x6265_6572,
        0x27_e0eb,
        0x6367_7270,
        0x1cd1,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0xcafe_4a11,
        0x1980_0202,
    ];
    let found = named(nix::sys::statfs::fstatfs(dir), || "fstatfs()".into())?;
    Ok(KERNEL.contains(&(found.filesystem_type().0 as u32)))
}

/// A new, empty regular file, open for writing, mode 0600. EEXIST where anything is.
pub fn create_file(parent: &impl AsFd, name: &OsStr) -> SysResult<File> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(0o600);
    named(nix::fcntl::openat(parent, name, flags, mode), || format!("openat({name:?}, O_CREAT|O_EXCL)")).map(File::from)
}

pub fn mkdir(parent: &impl AsFd, name: &OsStr) -> SysResult<()> {
    let mode = Mode::from_bits_truncate(0o700);
    named(nix::sys::stat::mkdirat(parent, name, mode), || format!("mkdirat({name:?})"))
}

pub fn symlink(target: &OsStr, parent: &impl AsFd, name: &OsStr) -> SysResult<()> {
    named(nix::unistd::symlinkat(target, parent, name), || format!("symlinkat({target:?}, {name:?})"))
}

/// A hard link to the entry itself, be it a symbolic link.
pub fn link(old_parent: &impl AsFd, old: &OsStr, parent: &impl AsFd, name: &OsStr) -> SysResult<()> {
    named(nix::unistd::linkat(old_parent, old, parent, name, AtFlags::empty()), || format!("linkat({old:?}, {name:?})"))
}

/// Gives an entry another name, in this directory or another one of the same file system.
pub fn rename(old_parent: &impl AsFd, old: &OsStr, parent: &impl AsFd, name: &OsStr) -> SysResult<()> {
    named(nix::fcntl::renameat(old_parent, old, parent, name), || format!("renameat({old:?}, {name:?})"))
}

/// A device, FIFO or socket. Character device 0/0 is overlayfs's whiteout.
pub fn mknod(parent: &impl AsFd, name: &OsStr, kind: SFlag, major: u32, minor: u32) -> SysResult<()> {
    let device = libc::makedev(major, minor);
    let mode = Mode::from_bits_truncate(0o600);
    named(nix::sys::stat::mknodat(parent, name, kind, mode, device), || {
        format!("mknodat({name:?}, {kind:?}, {major}:{minor})")
    })
}

pub fn readlink(parent: &impl AsFd, name: &OsStr) -> SysResult<OsString> {
    named(nix::fcntl::readlinkat(parent, name), || format!("readlinkat({name:?})"))
}

/// What `name` is; `None` where nothing is.
pub fn stat(parent: &impl AsFd, name: &OsStr) -> SysResult<Option<FileStat>> {
    match nix::sys::stat::fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => Ok(None),
        done => named(done, || format!("fstatat({name:?})")).map(Some),
    }
}

pub fn stat_fd(fd: &impl AsFd) -> SysResult<FileStat> {
    named(nix::sys::stat::fstat(fd), || "fstat".into())
}

pub fn unlink(parent: &impl AsFd, name: &OsStr) -> SysResult<()> {
    named(nix::unistd::unlinkat(parent, name, UnlinkatFlags::NoRemoveDir), || format!("unlinkat({name:?})"))
}

pub fn rmdir(parent: &impl AsFd, name: &OsStr) -> SysResult<()> {
    named(nix::unistd::unlinkat(parent, name, UnlinkatFlags::RemoveDir), || format!("unlinkat({name:?}, AT_REMOVEDIR)"))
}

/// Owner and group of the entry itself, a link included. Comes before the mode: chown(2) clears setuid.
pub fn chown(parent: &impl AsFd, name: &OsStr, uid: u32, gid: u32) -> SysResult<()> {
    let (owner, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    named(nix::unistd::fchownat(parent, name, owner, group, AtFlags::AT_SYMLINK_NOFOLLOW), || {
        format!("fchownat({name:?}, {uid}, {gid})")
    })
}

pub fn chown_fd(fd: &impl AsFd, uid: u32, gid: u32) -> SysResult<()> {
    named(nix::unistd::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))), || {
        format!("fchown({uid}, {gid})")
    })
}

/// Only for what was just made and is no link: fchmodat(2) would follow one.
pub fn chmod(parent: &impl AsFd, name: &OsStr, mode: u32) -> SysResult<()> {
    let bits = Mode::from_bits_truncate(mode);
    named(nix::sys::stat::fchmodat(parent, name, bits, FchmodatFlags::FollowSymlink), || {
        format!("fchmodat({name:?}, {mode:o})")
    })
}

pub fn chmod_fd(fd: &impl AsFd, mode: u32) -> SysResult<()> {
    named(nix::sys::stat::fchmod(fd, Mode::from_bits_truncate(mode)), || format!("fchmod({mode:o})"))
}

/// Seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Time {
    pub seconds: i64,
    pub nanoseconds: i64,
}

/// Sets both times of the entry itself, a link included.
pub fn set_times(parent: &impl AsFd, name: &OsStr, time: Time) -> SysResult<()> {
    let time = TimeSpec::new(time.seconds, time.nanoseconds);
    named(nix::sys::stat::utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink), || {
        format!("utimensat({name:?})")
    })
}

pub fn set_times_fd(fd: &impl AsFd, time: Time) -> SysResult<()> {
    let time = TimeSpec::new(time.seconds, time.nanoseconds);
    named(nix::sys::stat::futimens(fd, &time, &time), || "futimens".into())
}

pub fn set_xattr(fd: &impl AsFd, name: &[u8], value: &[u8]) -> SysResult<()> {
    // the name may be an archive's, and as long as that likes
    let call = || format!("fsetxattr({:?})", String::from_utf8_lossy(&name[..name.len().min(XATTR_NAME_MAX)]));
    let name_c = named(CString::new(name).map_err(|_| Errno::EINVAL), call)?;
    // SAFETY: a wrong length would let the kernel read past `value`; pointer and length come from one slice, the name
    // ends in NUL, and both outlive the call.
    let result =
        unsafe { libc::fsetxattr(fd.as_fd().as_raw_fd(), name_c.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    named_raw(result.into(), call).map(drop)
}

/// Removes an extended attribute. Gone already is success.
pub fn remove_xattr(fd: &impl AsFd, name: &[u8]) -> SysResult<()> {
    let call = || format!("fremovexattr({:?})", String::from_utf8_lossy(name));
    let name_c = named(CString::new(name).map_err(|_| Errno::EINVAL), call)?;
    // SAFETY: a name without its NUL would be read past its end; a CString has it, and outlives the call.
    let result = unsafe { libc::fremovexattr(fd.as_fd().as_raw_fd(), name_c.as_ptr()) };
    match Errno::result(result) {
        Ok(_) | Err(Errno::ENODATA) => Ok(()),
        Err(errno) => named(Err(errno), call),
    }
}

/// The value of an extended attribute; `None` where there is none.
pub fn xattr(fd: &impl AsFd, name: &[u8]) -> SysResult<Option<Vec<u8>>> {
    let call = || format!("fgetxattr({:?})", String::from_utf8_lossy(name));
    let name_c = named(CString::new(name).map_err(|_| Errno::EINVAL), call)?;
    for size in [XATTR_USUAL, XATTR_SIZE_MAX] {
        let mut value = vec![0u8; size];
        let pointer = value.as_mut_ptr().cast();
        // SAFETY: a length above the buffer's would be an overflow; it is the buffer's own, and the buffer outlives
        // the call.
        let result = unsafe { libc::fgetxattr(fd.as_fd().as_raw_fd(), name_c.as_ptr(), pointer, size) };
        match Errno::result(result) {
            Ok(length) => {
                value.truncate(length.unsigned_abs());
                return Ok(Some(value));
            }
            Err(Errno::ERANGE) if size < XATTR_SIZE_MAX => {}
            Err(Errno::ENODATA | Errno::EOPNOTSUPP) => return Ok(None),
            Err(errno) => return named(Err(errno), call),
        }
    }
    named(Err(Errno::ERANGE), call)
}

/// The names of all extended attributes.
pub fn xattr_names(fd: &impl AsFd) -> SysResult<Vec<Vec<u8>>> {
    let mut names = vec![0u8; XATTR_SIZE_MAX];
    // SAFETY: as in `xattr`: length and pointer are one buffer's.
    let result = unsafe { libc::flistxattr(fd.as_fd().as_raw_fd(), names.as_mut_ptr().cast(), names.len()) };
    match Errno::result(result) {
        Ok(length) => names.truncate(length.unsigned_abs()),
        Err(Errno::EOPNOTSUPP) => names.clear(),
        Err(errno) => return named(Err(errno), || "flistxattr".into()),
    }
    Ok(names.split(|b| *b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
}

/// What nearly every value fits in; a longer one costs a second call.
const XATTR_USUAL: usize = 256;

/// The largest value and the largest list of names that the kernel knows (include/uapi/linux/limits.h).
const XATTR_SIZE_MAX: usize = 65536;
/// The same of its name.
const XATTR_NAME_MAX: usize = 255;

/// Makes the file this long; what was not written is a hole.
pub fn truncate(file: &File, size: u64) -> SysResult<()> {
    named_io(file.set_len(size), || format!("ftruncate({size})"))
}

/// The names in an open directory, without `.` and `..`, with the kernel's word whether each is a directory.
pub fn entries(dir: OwnedFd) -> SysResult<Vec<(OsString, Option<bool>)>> {
    use nix::dir::{Dir, Type};
    use std::os::unix::ffi::OsStrExt as _;
    let mut dir = named(Dir::from_fd(dir), || "fdopendir".into())?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        let entry = named(entry, || "readdir".into())?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let is_dir = entry.file_type().map(|kind| kind == Type::Directory);
            names.push((OsStr::from_bytes(name).to_owned(), is_dir));
        }
    }
    Ok(names)
}

/// A directory of our own, opened as the root of a tree that is not trusted.
pub fn open_root(path: &Path) -> SysResult<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    named(super::fs::open(path, flags, Mode::empty()), || format!("open({path:?}, O_DIRECTORY)"))
}

/// Writes everything of this file system to the disk.
pub fn syncfs(fd: &impl AsFd) -> SysResult<()> {
    named(nix::unistd::syncfs(fd), || "syncfs".into())
}
