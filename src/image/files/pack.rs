//! Writes a tree as a tar stream: owners as numbers, hard links as such, sockets left out. A file is read from the
//! very inode that was looked at.

use super::ids::Ids;
use super::walk::{self, Found, Mounts};
use crate::error::{Error, Result};
use crate::image::assemble::{Content, Entry, EntryKind, Time, append};
use crate::image::layer::{Attributes, kind};
use crate::sys::at;
use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Writes what `start` (a descriptor of O_PATH) names, and all below it, under `name`; the empty name is the root.
pub fn pack(out: impl Write, start: &OwnedFd, name: &Path, mounts: Mounts, ids: Ids) -> Result<()> {
    pack_but(&BTreeSet::new(), out, start, name, mounts, ids)
}

/// The same without some paths; what is below them is left out by itself alone.
pub fn pack_but(
    left_out: &BTreeSet<PathBuf>,
    out: impl Write,
    start: &OwnedFd,
    name: &Path,
    mounts: Mounts,
    ids: Ids,
) -> Result<()> {
    let mut tar = tar::Builder::new(out);
    let mut links = Links::default();
    walk::each(start, name, mounts, &mut |found| {
        if left_out.contains(found.path) {
            return Ok(());
        }
        let Some(mut entry) = entry(found, &mut links, content)? else { return Ok(()) };
        ids.number_inside(&mut entry);
        append(&mut tar, &entry, None)
    })?;
    let failed = |e: std::io::Error| Error { errno: e.raw_os_error(), ..Error::host(format!("writing a tar: {e}")) };
    tar.into_inner().and_then(|mut out| out.flush()).map_err(failed)
}

/// The files with several names that were met, each with its first name.
#[derive(Debug, Default)]
pub(super) struct Links(HashMap<(u64, u64), PathBuf>);

/// Names and values.
pub(super) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// An object as an entry of a tar; `None` for a socket. `content` gives the bytes of a regular file.
pub(super) fn entry(
    found: &Found<'_>,
    links: &mut Links,
    content: impl Fn(&Found<'_>) -> Result<(Content, Xattrs)>,
) -> Result<Option<Entry>> {
    let stat = &found.stat;
    let device = || (libc::major(stat.st_rdev), libc::minor(stat.st_rdev));
    let (kind, xattrs) = match kind(stat) {
        libc::S_IFDIR => {
            let xattrs = found.dir.map(Attributes::read).transpose()?.map_or_else(Vec::new, |a| a.xattrs);
            (EntryKind::Directory, xattrs)
        }
        libc::S_IFREG => match links.0.get(&(stat.st_dev, stat.st_ino)) {
            Some(first) => (EntryKind::Hardlink(first.clone()), Vec::new()),
            None => {
                if stat.st_nlink > 1 {
                    links.0.insert((stat.st_dev, stat.st_ino), found.path.to_owned());
                }
                let (content, xattrs) = content(found)?;
                (EntryKind::File(content), xattrs)
            }
        },
        libc::S_IFLNK => (EntryKind::Symlink(PathBuf::from(at::readlink_fd(found.fd)?)), Vec::new()),
        libc::S_IFCHR => (EntryKind::CharDevice { major: device().0, minor: device().1 }, Vec::new()),
        libc::S_IFBLK => (EntryKind::BlockDevice { major: device().0, minor: device().1 }, Vec::new()),
        libc::S_IFIFO => (EntryKind::Fifo, Vec::new()),
        _ => return Ok(None),
    };
    // names of attributes are ASCII prefixes and what a program chose; one that is not UTF-8 cannot stand in a record
    let xattrs = xattrs.into_iter().filter_map(|(name, value)| Some((String::from_utf8(name).ok()?, value)));
    Ok(Some(Entry {
        path: found.path.to_owned(),
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
        xattrs: xattrs.collect(),
    }))
}

fn content(found: &Found<'_>) -> Result<(Content, Xattrs)> {
    let file = at::reopen_file(found.fd).map_err(|e| Error::from(e).during(found.path.display()))?;
    let xattrs = Attributes::read(&file)?.xattrs;
    let length = found.stat.st_size.unsigned_abs();
    Ok((Content::Slice { file: Arc::new(file), offset: 0, length }, xattrs))
}
