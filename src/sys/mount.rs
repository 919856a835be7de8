//! Mounts: the descriptor calls of Linux 5.2 (open_tree, fsopen, move_mount), pivot_root and umount2.

use super::fs::{self, Root};
use super::{named, named_raw, process};
use crate::error::{SysError, SysResult};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;

fn c_path(path: &Path) -> CString {
    use std::os::unix::ffi::OsStrExt as _;
    // a path with a NUL names nothing: the empty string gives ENOENT, as such a path should
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

fn c_text(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: called only with what a successful call has just returned: a new descriptor that nobody else owns.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// A detached copy of the mount (or mounts, if `recursive`) at a path: open_tree(2), OPEN_TREE_CLONE.
pub fn open_tree(path: &Path, recursive: bool) -> SysResult<OwnedFd> {
    open_tree_at(None::<&OwnedFd>, path, recursive)
}

/// The same for the object that a descriptor names, or for a path below it.
pub fn open_tree_at(dir: Option<&impl AsFd>, path: &Path, recursive: bool) -> SysResult<OwnedFd> {
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as libc::c_uint;
    if recursive {
        flags |= libc::AT_RECURSIVE as libc::c_uint;
    }
    let dir = dir.map_or(libc::AT_FDCWD, |dir| dir.as_fd().as_raw_fd());
    let name = c_path(path);
    // SAFETY: the path is NUL-terminated and lives through the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, dir, name.as_ptr(), flags) };
    named_raw(fd, || format!("open_tree({path:?}, OPEN_TREE_CLONE)")).map(owned)
}

/// The same for a path in another mount namespace, links followed inside that one's root: open_tree(2) copies only
/// mounts of the namespace in which it is called. Back here, the root and the working directory are what they were.
pub fn open_tree_elsewhere(namespace: &impl AsFd, path: &Path, recursive: bool) -> SysResult<OwnedFd> {
    elsewhere(|| {
        process::setns(namespace, libc::CLONE_NEWNS)?;
        let at = Root::open(Path::new("/"))?.path_fd(path)?;
        open_tree_at(Some(&at), Path::new(""), recursive)
    })
}

/// Does something in a new mount namespace, a copy of this one that neither hears of others' mounts nor tells of its own,
/// with an empty file system as the working directory: there mounts may be attached, and have short names. Both are gone
/// afterwards; the root and the working directory are what they were.
pub fn in_a_copy<T, E: From<SysError>>(deed: impl FnOnce(&Root) -> Result<T, E>) -> Result<T, E> {
    elsewhere(|| {
        process::unshare(libc::CLONE_NEWNS)?;
        propagate(Path::new("/"), libc::MS_PRIVATE | libc::MS_REC)?;
        let empty = detached("tmpfs", &[Parameter::Text("source", "tmpfs")], 0)?;
        attach(&empty, &Root::open(Path::new("/"))?)?;
        named(nix::unistd::fchdir(&empty), || "fchdir(tmpfs)".into())?;
        deed(&Root::from_fd(empty))
    })
}

/// Comes back from another mount namespace, whatever came of the deed there.
fn elsewhere<T, E: From<SysError>>(deed: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let (here, root) = (fs::open_read(Path::new("/proc/self/ns/mnt"))?, Root::open(Path::new("/"))?);
    let working = Root::open(Path::new(".")).or_else(|_| root.try_clone())?; // one that was removed is none any more
    let done = deed();
    process::setns(&here, libc::CLONE_NEWNS)?;
    named(nix::unistd::fchdir(&root), || "fchdir(\"/\")".into())?;
    named(nix::unistd::chroot("."), || "chroot(\".\")".into())?;
    named(nix::unistd::fchdir(&working), || "fchdir(\".\")".into())?;
    done
}

/// Sets MOUNT_ATTR_* flags on a mount, and on all below it if `recursive`: mount_setattr(2), Linux 5.12.
pub fn set_attributes(mount: &impl AsFd, set: u64, recursive: bool) -> SysResult<()> {
    let attr = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    mount_setattr(mount, &attr, recursive)
}

/// Shows what belongs to the ids inside of a user namespace as belonging to those that it maps them to, on a copy that
/// is attached nowhere, and on all below it if `recursive`: MOUNT_ATTR_IDMAP. EINVAL where the file system cannot.
pub fn map_ids(mount: &impl AsFd, user_namespace: &impl AsFd, recursive: bool) -> SysResult<()> {
    let userns_fd = user_namespace.as_fd().as_raw_fd() as u64;
    let attr = libc::mount_attr { attr_set: libc::MOUNT_ATTR_IDMAP, attr_clr: 0, propagation: 0, userns_fd };
    mount_setattr(mount, &attr, recursive)
}

/// Changes how a mount, and all below it if `recursive`, propagates: MS_PRIVATE, MS_SLAVE, MS_SHARED.
pub fn set_propagation(mount: &impl AsFd, propagation: u64, recursive: bool) -> SysResult<()> {
    let attr = libc::mount_attr { attr_set: 0, attr_clr: 0, propagation, userns_fd: 0 };
    mount_setattr(mount, &attr, recursive)
}

fn mount_setattr(mount: &impl AsFd, attr: &libc::mount_attr, recursive: bool) -> SysResult<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let fd = mount.as_fd().as_raw_fd();
    // SAFETY: the path is a literal; the structure is read only, and its size is given.
    let done = unsafe {
        libc::syscall(libc::SYS_mount_setattr, fd, c"".as_ptr(), flags, &raw const *attr, size_of::<libc::mount_attr>())
    };
    named_raw(done, || format!("mount_setattr({:#x}, {:#x})", attr.attr_set, attr.propagation)).map(drop)
}

/// One parameter of a file system that is being made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter<'a> {
    Flag(&'a str),
    Text(&'a str, &'a str),
}

/// Whether the kernel has a file system, or can load it; who may not mount is told yes.
pub fn is_known(fstype: &str) -> bool {
    !matches!(context(fstype), Err(e) if e.errno == crate::error::Errno::ENODEV)
}

fn context(fstype: &str) -> SysResult<OwnedFd> {
    let name = c_text(fstype);
    // SAFETY: the name is NUL-terminated and lives through the call.
    let fd = unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), libc::FSOPEN_CLOEXEC) };
    named_raw(fd, || format!("fsopen({fstype:?})")).map(owned)
}

/// Makes a mount that is attached nowhere: fsopen(2), fsconfig(2), fsmount(2). `attributes` are MOUNT_ATTR_*.
pub fn detached(fstype: &str, parameters: &[Parameter<'_>], attributes: u64) -> SysResult<OwnedFd> {
    let context = context(fstype)?;
    for parameter in parameters {
        match parameter {
            Parameter::Flag(key) => configure(&context, libc::FSCONFIG_SET_FLAG, key, None),
            Parameter::Text(key, value) => configure(&context, libc::FSCONFIG_SET_STRING, key, Some(value)),
        }
        .map_err(|e| explained(e, &context))?;
    }
    configure(&context, libc::FSCONFIG_CMD_CREATE, fstype, None).map_err(|e| explained(e, &context))?;
    let raw = context.as_raw_fd();
    // SAFETY: no pointers.
    let mount = unsafe { libc::syscall(libc::SYS_fsmount, raw, libc::FSMOUNT_CLOEXEC, attributes) };
    named_raw(mount, || format!("fsmount({fstype:?})")).map(owned)
}

/// Makes a mount by mount(2) and gives it attached nowhere: in a directory of its own in `place`, the working directory
/// of [`in_a_copy`]. `options` are at most 4095 bytes, `flags` are MS_*.
pub fn detached_by_name(place: &Root, fstype: &str, options: &str, flags: u64) -> SysResult<OwnedFd> {
    let at = Path::new("made");
    place.mkdir_all(at, 0o700)?;
    let flags = nix::mount::MsFlags::from_bits_truncate(flags);
    named(nix::mount::mount(Some(fstype), at, Some(fstype), flags, Some(options)), || {
        format!("mount({fstype:?}, {options:?})")
    })?;
    open_tree(at, false)
}

fn configure(context: &OwnedFd, command: libc::c_uint, key: &str, value: Option<&str>) -> SysResult<()> {
    let (name, text) = (c_text(key), value.map(c_text));
    let key_pointer = if command == libc::FSCONFIG_CMD_CREATE { std::ptr::null() } else { name.as_ptr() };
    let value_pointer = text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
    // SAFETY: key and value are null or NUL-terminated strings that live through the call.
    let done =
        unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key_pointer, value_pointer, 0) };
    named_raw(done, || match value {
        Some(value) => format!("fsconfig({key}={value})"),
        None => format!("fsconfig({key})"),
    })
    .map(drop)
}

/// Adds what the kernel says of a failed fsconfig: a read from the context gives its messages, `e overlay: …`.
fn explained(mut e: SysError, context: &OwnedFd) -> SysError {
    let mut buffer = [0_u8; 512];
    while let Ok(length) = nix::unistd::read(context, &mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]);
        e.call = format!("{} [{}]", e.call, text.trim_start_matches(['e', 'w', 'i', ' ']).trim());
    }
    e
}

/// Attaches a detached mount at the object that `target` names: move_mount(2), both sides by descriptor.
pub fn attach(mount: &impl AsFd, target: &impl AsFd) -> SysResult<()> {
    let (from, to) = (mount.as_fd().as_raw_fd(), target.as_fd().as_raw_fd());
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are literals.
    let done = unsafe { libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), to, c"".as_ptr(), flags) };
    named_raw(done, || format!("move_mount({from}, {to})")).map(drop)
}

/// mount(2) that only changes how the mounts at a path propagate.
pub fn propagate(path: &Path, flags: u64) -> SysResult<()> {
    let flags = nix::mount::MsFlags::from_bits_truncate(flags);
    named(nix::mount::mount(None::<&str>, path, None::<&str>, flags, None::<&str>), || {
        format!("mount({path:?}, {flags:?})")
    })
}

/// Makes `root` (a mount) the root of this mount namespace and lets the old one go: fchdir, pivot_root(".", "."),
/// umount2(".", MNT_DETACH) (pivot_root(2), "pivot_root(".", ".")").
pub fn pivot(root: &impl AsFd) -> SysResult<()> {
    named(nix::unistd::fchdir(root), || "fchdir(root)".into())?;
    named(nix::unistd::pivot_root(".", "."), || "pivot_root(\".\", \".\")".into())?;
    named(nix::mount::umount2(".", nix::mount::MntFlags::MNT_DETACH), || "umount2(\".\", MNT_DETACH)".into())?;
    process::chdir(Path::new("/"))
}

/// Lets a mount go; not mounted is success.
pub fn detach(path: &Path) -> SysResult<()> {
    let flags = nix::mount::MntFlags::MNT_DETACH | nix::mount::MntFlags::UMOUNT_NOFOLLOW;
    match nix::mount::umount2(path, flags) {
        Err(nix::Error::EINVAL | nix::Error::ENOENT) => Ok(()),
        done => named(done, || format!("umount2({path:?}, MNT_DETACH)")),
    }
}
