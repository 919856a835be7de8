//! Owner, mode, extended attributes and time of one entry, from an archive or from a lower layer's file. What would
//! let an image speak to overlayfs or to the host's security modules is dropped here.

use super::tarstream::Member;
use crate::error::{Errno, Error, Kind, Result, SysError};
use crate::sys::at;
use nix::sys::stat::FileStat;
use std::ffi::OsStr;
use std::os::fd::AsFd;

#[derive(Debug, Clone)]
pub(in crate::image) struct Attributes {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub time: at::Time,
}

impl Attributes {
    pub(in crate::image) fn of(member: &Member) -> Attributes {
        let xattrs = member.xattrs.iter().filter(|(name, _)| is_kept(name)).cloned().collect();
        Attributes { uid: member.uid, gid: member.gid, mode: member.mode, xattrs, time: member.mtime }
    }

    /// A directory that nobody described.
    pub(super) fn plain_dir(time: at::Time) -> Attributes {
        Attributes { uid: 0, gid: 0, mode: 0o755, xattrs: Vec::new(), time }
    }

    /// Those of a file or directory that is there.
    pub(in crate::image) fn read(fd: &impl AsFd) -> Result<Attributes> {
        let mut attributes = Attributes::bare(&at::stat_fd(fd)?);
        for name in at::xattr_names(fd)?.into_iter().filter(|name| is_kept(name)) {
            if let Some(value) = at::xattr(fd, &name)? {
                attributes.xattrs.push((name, value));
            }
        }
        Ok(attributes)
    }

    /// Those of what has no extended ones: a link, a device, a FIFO.
    pub(in crate::image) fn bare(stat: &FileStat) -> Attributes {
        let time = at::Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec };
        let mode = stat.st_mode & 0o7777;
        Attributes { uid: stat.st_uid, gid: stat.st_gid, mode, xattrs: Vec::new(), time }
    }

    /// Everything but the time. The order matters: chown(2) clears setuid and security.capability.
    pub(in crate::image) fn apply_fd(&self, fd: &impl AsFd) -> Result<()> {
        self.apply_new(fd, None)
    }

    /// The same for what was just made and belongs to `owner`, where that is known.
    pub(super) fn apply_new(&self, fd: &impl AsFd, owner: Option<(u32, u32)>) -> Result<()> {
        if owner != Some((self.uid, self.gid)) {
            at::chown_fd(fd, self.uid, self.gid)?;
        }
        at::chmod_fd(fd, self.mode)?;
        for (name, value) in &self.xattrs {
            match at::set_xattr(fd, name, value) {
                // a file system without them runs the image all the same; a lost capability would not be noticed
                Err(e) if e.errno == Errno::EOPNOTSUPP && name != b"security.capability" => {}
                done => done.map_err(refused)?,
            }
        }
        Ok(())
    }

    /// The same for a directory that was there and had attributes of its own.
    pub(super) fn apply_over(&self, fd: &impl AsFd) -> Result<()> {
        for name in at::xattr_names(fd)?.into_iter().filter(|name| is_kept(name)) {
            at::remove_xattr(fd, &name)?;
        }
        self.apply_fd(fd)
    }

    /// Owner, mode and time of a device or FIFO that was just made.
    pub(in crate::image) fn apply_node(&self, parent: &impl AsFd, name: &OsStr) -> Result<()> {
        at::chown(parent, name, self.uid, self.gid)?;
        at::chmod(parent, name, self.mode)?;
        at::set_times(parent, name, self.time).map_err(Error::from)
    }

    /// Owner and time of a symbolic link; it has no mode of its own.
    pub(in crate::image) fn apply_link(&self, parent: &impl AsFd, name: &OsStr) -> Result<()> {
        self.apply_new_link(parent, name, None)
    }

    /// The same for one that was just made and belongs to `owner`, where that is known.
    pub(super) fn apply_new_link(&self, parent: &impl AsFd, name: &OsStr, owner: Option<(u32, u32)>) -> Result<()> {
        if owner != Some((self.uid, self.gid)) {
            at::chown(parent, name, self.uid, self.gid)?;
        }
        at::set_times(parent, name, self.time).map_err(Error::from)
    }
}

/// Whose fault an attribute is that cannot be set: setxattr(2), capabilities(7).
fn refused(e: SysError) -> Error {
    match e.errno {
        // a malformed capability; a value above 64 KiB; a name above 255 bytes
        Errno::EINVAL | Errno::E2BIG | Errno::ERANGE => Error { kind: Kind::Image, ..Error::from(e) }
            .hint("the image has an attribute that no file can have: it must be made again"),
        Errno::EOPNOTSUPP => Error::from(e).hint("keep the images on ext4, xfs, btrfs or tmpfs"),
        Errno::ENOSPC => Error { hint: None, ..Error::from(e) }
            .hint("free some room there; ext4 keeps 4 KiB of attributes a file, xfs and btrfs more"),
        _ => e.into(),
    }
}

/// `user.*`, file capabilities and POSIX ACLs. Not `trusted.overlay.*` and `user.overlay.*`: an image could rename
/// and hide across layers with them; not the host's own labels (security.selinux, security.ima, security.evm).
fn is_kept(name: &[u8]) -> bool {
    (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
        || name == b"security.capability"
        || name.starts_with(b"system.posix_acl_")
}

/// The error where a layer cannot be kept as overlayfs wants it.
pub(super) fn overlay_form(e: SysError) -> Error {
    match e.errno {
        Errno::EPERM | Errno::EOPNOTSUPP | Errno::EACCES => Error::from(e)
            .during("whiteouts and opaque directories cannot be kept here")
            .hint("unpacking layers needs root (CAP_SYS_ADMIN, CAP_MKNOD) and a file system with trusted.* attributes"),
        _ => e.into(),
    }
}
