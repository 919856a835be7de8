//! One entry of a layer, and how it is written to a tar stream: ustar, with PAX records only where ustar is too small.
//! Owners are numbers, names of users are never written.

use super::blob::failed;
use crate::error::{Error, Result};
use crate::sys::at;
use crate::sys::fs::Root;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use tar::{EntryType, Header};

/// Something at a path of a layer.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Relative to the root, without `.` and `..`; empty is the root directory itself.
    pub path: PathBuf,
    pub kind: EntryKind,
    /// Permission bits with set-user-ID, set-group-ID and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    /// Full names: `security.capability`.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, Clone)]
pub enum EntryKind {
    File(Content),
    Directory,
    /// The target as it is to be read back, absolute or relative.
    Symlink(PathBuf),
    /// The path of another entry of the same layer.
    Hardlink(PathBuf),
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// Where a file's bytes come from.
#[derive(Debug, Clone)]
pub enum Content {
    Bytes(Vec<u8>),
    /// A part of an open file: an unpacked archive, say. In bytes.
    Slice {
        file: Arc<File>,
        offset: u64,
        length: u64,
    },
    /// A regular file below a directory; links on the way stay inside, one at the end is refused.
    Inside {
        root: Arc<Root>,
        path: PathBuf,
    },
}

/// Since 1970, as stat(2) has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    pub seconds: i64,
    pub nanoseconds: u32,
}

impl Time {
    pub fn from_seconds(seconds: i64) -> Time {
        Time { seconds, nanoseconds: 0 }
    }
}

/// Largest values of ustar's octal fields of 7 and 11 digits (pax(1), "ustar header block").
const USTAR_MAX_ID: u32 = 0o7_777_777;
const USTAR_MAX: u64 = 0o77_777_777_777;

/// Directories stand before what they hold; hard links last, behind what they link to. Refuses a path that is there
/// twice, or that is not plainly below the root.
pub(super) fn sort(entries: &mut [Entry]) -> Result<()> {
    entries.sort_by(|a, b| {
        let order = |entry: &Entry| matches!(entry.kind, EntryKind::Hardlink(_));
        order(a).cmp(&order(b)).then_with(|| a.path.cmp(&b.path))
    });
    let mut seen = std::collections::HashSet::new();
    for entry in entries.iter() {
        check(&entry.path)?;
        if let EntryKind::Hardlink(target) = &entry.kind {
            check(target)?;
        }
        if !seen.insert(&entry.path) {
            return Err(Error::user(format!("{} is in the layer twice", entry.path.display())));
        }
    }
    Ok(())
}

fn check(path: &Path) -> Result<()> {
    let normal = path.components().all(|part| matches!(part, Component::Normal(_)));
    // components() hides doubled and trailing slashes, which would make two names of one path
    let plain = path.components().collect::<PathBuf>().as_os_str() == path.as_os_str();
    if !normal || !plain || path.as_os_str().as_bytes().contains(&0) {
        return Err(Error::user(format!("{path:?} is not a path below the root"))
            .hint("write it without a leading or doubled slash, `.` and `..`"));
    }
    Ok(())
}

/// Writes one entry; `latest` is the upper bound of its time.
pub(in crate::image) fn append<W: Write>(tar: &mut tar::Builder<W>, entry: &Entry, latest: Option<i64>) -> Result<()> {
    let doing = || format!("adding {} to a layer", entry.path.display());
    let (mut content, size): (Box<dyn Read + '_>, u64) = match &entry.kind {
        EntryKind::File(content) => content.open().map_err(|e| e.during(doing()))?,
        _ => (Box::new(io::empty()), 0),
    };
    let mut pax = BTreeMap::new();
    let header = header(entry, size, latest, &mut pax);
    let mut exact = Exact { inner: &mut content, left: size };
    tar.append_pax_extensions(pax.iter().map(|(key, value)| (key.as_str(), value.as_slice())))
        .and_then(|()| tar.append(&header, &mut exact))
        .map_err(|e| failed(doing(), &e))
}

impl Content {
    /// The bytes and how many they are.
    pub fn open(&self) -> Result<(Box<dyn Read + '_>, u64)> {
        match self {
            Content::Bytes(bytes) => Ok((Box::new(bytes.as_slice()), bytes.len() as u64)),
            Content::Slice { file, offset, length } => {
                Ok((Box::new(Slice { file, offset: *offset, left: *length }), *length))
            }
            Content::Inside { root, path } => {
                // looked at before it is opened: opening a device may do something
                let found = root.name_fd(path)?;
                let stat = at::stat_fd(&found)?;
                if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
                    return Err(Error::user(format!("{} is not a regular file", path.display())));
                }
                Ok((Box::new(at::reopen_file(&found)?), stat.st_size.unsigned_abs()))
            }
        }
    }
}

/// The ustar header; what does not fit goes into `pax`.
fn header(entry: &Entry, size: u64, latest: Option<i64>, pax: &mut BTreeMap<String, Vec<u8>>) -> Header {
    let mut header = Header::new_ustar();
    let (kind, link, (major, minor)) = match &entry.kind {
        EntryKind::File(_) => (EntryType::Regular, None, (0, 0)),
        EntryKind::Directory => (EntryType::Directory, None, (0, 0)),
        EntryKind::Symlink(target) => (EntryType::Symlink, Some(target), (0, 0)),
        EntryKind::Hardlink(target) => (EntryType::Link, Some(target), (0, 0)),
        EntryKind::CharDevice { major, minor } => (EntryType::Char, None, (*major, *minor)),
        EntryKind::BlockDevice { major, minor } => (EntryType::Block, None, (*major, *minor)),
        EntryKind::Fifo => (EntryType::Fifo, None, (0, 0)),
    };
    header.set_entry_type(kind);
    header.set_mode(entry.mode & 0o7777);
    header.set_uid(fitting("uid", u64::from(entry.uid), u64::from(USTAR_MAX_ID), pax));
    header.set_gid(fitting("gid", u64::from(entry.gid), u64::from(USTAR_MAX_ID), pax));
    header.set_size(fitting("size", size, USTAR_MAX, pax));
    header.set_mtime(fitting_time(entry.mtime, latest, pax));
    set_names(&mut header, &tar_name(entry), link.map(|target| target.as_os_str()), pax);
    set_device(&mut header, major, minor);
    for (name, value) in &entry.xattrs {
        // GNU tar, bsdtar and Go's archive/tar read this key of star's
        pax.insert(format!("SCHILY.xattr.{name}"), value.clone());
    }
    header.set_cksum();
    header
}

/// `./` for the root, a slash behind a directory's name, as tar programs write it.
fn tar_name(entry: &Entry) -> Vec<u8> {
    let mut name = entry.path.as_os_str().as_bytes().to_vec();
    match (&entry.kind, name.is_empty()) {
        (EntryKind::Directory, true) => name.extend(b"./"),
        (EntryKind::Directory, false) => name.push(b'/'),
        _ => {}
    }
    name
}

fn fitting(key: &str, value: u64, largest: u64, pax: &mut BTreeMap<String, Vec<u8>>) -> u64 {
    if value <= largest {
        return value;
    }
    pax.insert(key.to_owned(), value.to_string().into_bytes());
    0
}

fn fitting_time(time: Time, latest: Option<i64>, pax: &mut BTreeMap<String, Vec<u8>>) -> u64 {
    let time = latest.map_or(time, |latest| time.min(Time::from_seconds(latest)));
    let seconds = u64::try_from(time.seconds).ok().filter(|seconds| *seconds <= USTAR_MAX);
    if seconds.is_none() || time.nanoseconds != 0 {
        pax.insert("mtime".to_owned(), decimal(time).into_bytes());
    }
    seconds.unwrap_or(0)
}

/// A decimal number of seconds; before 1970 it is the whole number that is negative (pax(1), "mtime").
fn decimal(time: Time) -> String {
    let nanoseconds = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    let (sign, size) = (if nanoseconds < 0 { "-" } else { "" }, nanoseconds.unsigned_abs());
    let text = format!("{sign}{}.{:09}", size / 1_000_000_000, size % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn set_names(header: &mut Header, name: &[u8], link: Option<&OsStr>, pax: &mut BTreeMap<String, Vec<u8>>) {
    let Some(ustar) = header.as_ustar_mut() else { return };
    match split_name(name, ustar.name.len(), ustar.prefix.len()) {
        Some((prefix, name)) => {
            ustar.prefix[..prefix.len()].copy_from_slice(prefix);
            ustar.name[..name.len()].copy_from_slice(name);
        }
        None => {
            let length = ustar.name.len();
            ustar.name.copy_from_slice(&name[..length]);
            pax.insert("path".to_owned(), name.to_vec());
        }
    }
    let link = link.map_or(&b""[..], |target| target.as_bytes());
    let length = link.len().min(ustar.linkname.len());
    ustar.linkname[..length].copy_from_slice(&link[..length]);
    if length < link.len() {
        pax.insert("linkpath".to_owned(), link.to_vec());
    }
}

/// Prefix and name, to be joined by a slash; `None` where the two fields are too short.
fn split_name(name: &[u8], longest_name: usize, longest_prefix: usize) -> Option<(&[u8], &[u8])> {
    if name.len() <= longest_name {
        return Some((b"", name));
    }
    // the rest must not be empty: the slash behind a directory's name is no place to split
    let slash = name[..name.len() - 1]
        .iter()
        .enumerate()
        .position(|(at, byte)| *byte == b'/' && name.len() - at - 1 <= longest_name)?;
    (slash <= longest_prefix).then(|| (&name[..slash], &name[slash + 1..]))
}

fn set_device(header: &mut Header, major: u32, minor: u32) {
    if let Some(ustar) = header.as_ustar_mut() {
        ustar.set_device_major(major);
        ustar.set_device_minor(minor);
    }
}

/// A part of a file that others read too: its position is never moved.
#[derive(Debug)]
pub(in crate::image) struct Slice<'a> {
    pub file: &'a File,
    pub offset: u64,
    pub left: u64,
}

impl Read for Slice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..length], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// Exactly as many bytes as the header says: a file that grows is cut, one that shrinks is an error.
struct Exact<'a> {
    inner: &'a mut dyn Read,
    left: u64,
}

impl Read for Exact<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if length == 0 {
            return Ok(0);
        }
        let count = self.inner.read(&mut buffer[..length])?;
        self.left -= count as u64;
        if count == 0 {
            return Err(io::Error::other("the file became shorter while it was read"));
        }
        Ok(count)
    }
}
