//! Writes one member of a layer at the tree's cursor. Later members win over earlier ones of the same layer;
//! whiteouts hide the layers below only (OCI image-spec, layer.md). In the flat form they remove what those have put there.

use super::attributes::Attributes;
use super::below::{is_whiteout, kind};
use super::tarstream::Member;
use super::tree::{Tree, lossy, named};
use crate::error::{Errno, Error, Result, SysResult};
use crate::sys::{at, data};
use nix::sys::stat::SFlag;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::BufRead;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::FileExt as _;
use tar::EntryType;

/// Length of one file as it shall be, holes included: ext4's largest is 16 TiB.
const MAX_FILE: u64 = 16 << 40;
/// Zeros of this length become a hole.
const HOLE: usize = 4096;
const ROOM: &str = "free some room on that file system";

/// Writes a member; `data` gives its stored bytes.
pub(super) fn member(tree: &mut Tree<'_>, member: &Member, data: &mut impl BufRead) -> Result<()> {
    entry(tree, member, data).map_err(|e| e.during(lossy(&member.path)))
}

fn entry(tree: &mut Tree<'_>, member: &Member, data: &mut impl BufRead) -> Result<()> {
    let Some((parent, name)) = split(&member.path)? else { return root(tree, member) };
    if let Some(hidden) = name.as_bytes().strip_prefix(b".wh.") {
        return whiteout(tree, parent, hidden, member.mtime);
    }
    let attributes = Attributes::of(member);
    match member.kind {
        EntryType::Link => {
            let source = link_source(tree, member)?;
            tree.enter(parent, member.mtime)?;
            return hard_link(tree, &source, &name);
        }
        EntryType::XHeader | EntryType::XGlobalHeader => return Ok(()),
        _ => tree.enter(parent, member.mtime)?,
    }
    match member.kind {
        EntryType::Directory => tree.directory(&name, &attributes, &member.path),
        EntryType::Symlink => {
            put(tree, &name, |dir, name| at::symlink(OsStr::from_bytes(&member.link), dir, name))?;
            attributes.apply_new_link(tree.here(), &name, tree.owner_of_new())
        }
        // overlayfs's own whiteout; the image-spec knows no such device
        EntryType::Char if member.device == (0, 0) => hide(tree, &name),
        EntryType::Char => node(tree, &name, SFlag::S_IFCHR, member.device, &attributes),
        EntryType::Block => node(tree, &name, SFlag::S_IFBLK, member.device, &attributes),
        EntryType::Fifo => node(tree, &name, SFlag::S_IFIFO, (0, 0), &attributes),
        // before POSIX a directory was a file whose name ends in a slash
        EntryType::Regular if member.path.ends_with(b"/") && member.size == 0 => {
            tree.directory(&name, &attributes, &member.path)
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            regular(tree, &name, member, &attributes, data)
        }
        kind => Err(Error::image(format!("a tar member of unknown type {:?}", char::from(kind.as_byte())))),
    }
}

/// Parent and name, or `None` for the root itself.
pub(in crate::image) fn split(path: &[u8]) -> Result<Option<(&[u8], OsString)>> {
    if path.contains(&0) {
        return Err(Error::image("a NUL byte in a name"));
    }
    let mut end = path.len();
    loop {
        let trimmed = &path[..end];
        match trimmed {
            [.., b'/'] => end -= 1,
            [b'.'] | [.., b'/', b'.'] => end -= 1,
            _ => break,
        }
    }
    let start = path[..end].iter().rposition(|b| *b == b'/').map_or(0, |i| i + 1);
    match &path[start..end] {
        b"" => Ok(None),
        b".." => Err(Error::image("a name that ends in `..`")),
        name => Ok(Some((&path[..start], OsString::from_vec(name.to_vec())))),
    }
}

fn root(tree: &mut Tree<'_>, member: &Member) -> Result<()> {
    if !member.kind.is_dir() {
        return Err(Error::image("the root is no directory"));
    }
    tree.root(&Attributes::of(member))
}

/// Makes an entry by `make`; what stands there goes first.
fn put<T>(tree: &mut Tree<'_>, name: &OsStr, make: impl Fn(&OwnedFd, &OsStr) -> SysResult<T>) -> Result<T> {
    let made = match make(tree.change()?, name) {
        Err(e) if e.errno == Errno::EEXIST => {
            tree.remove(name)?;
            make(tree.here(), name)
        }
        done => done,
    };
    tree.written(name);
    made.map_err(named)
}

fn node(tree: &mut Tree<'_>, name: &OsStr, kind: SFlag, device: (u32, u32), attributes: &Attributes) -> Result<()> {
    put(tree, name, |dir, name| at::mknod(dir, name, kind, device.0, device.1))
        .map_err(|e| e.hint("unpacking devices needs CAP_MKNOD in the first user namespace"))?;
    attributes.apply_node(tree.here(), name)
}

fn regular(
    tree: &mut Tree<'_>,
    name: &OsStr,
    member: &Member,
    attributes: &Attributes,
    data: &mut impl BufRead,
) -> Result<()> {
    if member.size > MAX_FILE {
        return Err(Error::image(format!("a file of {} TiB", member.size >> 40)));
    }
    let file = put(tree, name, at::create_file)?;
    segments(&file, member, data)?;
    attributes.apply_new(&file, tree.owner_of_new())?;
    at::set_times_fd(&file, attributes.time).map_err(Error::from)
}

/// Writes a member's bytes where they belong, into an empty file.
pub(in crate::image) fn segments(file: &File, member: &Member, data: &mut impl BufRead) -> Result<()> {
    let whole = [(0, member.size)];
    let mut end = 0;
    for (offset, length) in member.segments.as_deref().unwrap_or(&whole) {
        end = copy_sparse(data, file, *offset, *length)?.max(end);
    }
    if end < member.size {
        at::truncate(file, member.size)?;
    }
    Ok(())
}

/// Copies `length` bytes to `offset`; zeros are not written, so that a bomb of zeros takes no room. Gives the end of
/// what was written.
fn copy_sparse(data: &mut impl BufRead, file: &File, mut offset: u64, mut length: u64) -> Result<u64> {
    let mut end = 0;
    while length > 0 {
        let bytes = data.fill_buf().map_err(|e| Error::image(e.to_string()))?;
        let count = (bytes.len() as u64).min(length) as usize;
        if count == 0 {
            return Err(Error::image(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).to_string()));
        }
        let mut done = 0;
        while done < count {
            let start = done + blocks(&bytes[done..count], true);
            done = start + blocks(&bytes[start..count], false);
            if start < done {
                file.write_all_at(&bytes[start..done], offset + start as u64).map_err(|e| full(&e))?;
                end = offset + done as u64;
            }
        }
        data.consume(count);
        offset += count as u64;
        length -= count as u64;
    }
    Ok(end)
}

fn full(e: &std::io::Error) -> Error {
    Error { errno: e.raw_os_error(), ..Error::host(format!("write: {e}")) }.hint(ROOM)
}

/// Length of the blocks at the start that are of zeros alone, or that are not.
fn blocks(bytes: &[u8], zeros: bool) -> usize {
    bytes.chunks(HOLE).take_while(|block| is_zero(block) == zeros).map(<[u8]>::len).sum()
}

/// Eight bytes at a time: this looks at every byte of an image that is zero.
fn is_zero(block: &[u8]) -> bool {
    let words = block.chunks_exact(8);
    words.remainder().iter().all(|b| *b == 0) && words.into_iter().all(|word| word == [0; 8])
}

/// The entry that a hard link shall share.
struct Source {
    dir: OwnedFd,
    name: OsString,
    inode: u64,
}

/// Finds what a hard link names; a file of the layers below is copied up first, as overlayfs would do.
fn link_source(tree: &mut Tree<'_>, member: &Member) -> Result<Source> {
    let target = || lossy(&member.link);
    let Some((parent, name)) = split(&member.link)? else {
        return Err(Error::image("a hard link to the root"));
    };
    tree.enter(parent, member.mtime)?;
    let mut found = at::stat(tree.here(), &name).map_err(named)?;
    if found.is_none() {
        tree.make_whiteouts()?; // it may be one of those
        found = at::stat(tree.here(), &name)?;
    }
    if found.is_none() {
        copy_up(tree, &name)?;
        found = at::stat(tree.here(), &name)?;
    }
    let Some(stat) = found.filter(|stat| !is_whiteout(stat)) else {
        return Err(Error::image(format!("a hard link to {}, which does not exist", target())));
    };
    if kind(&stat) == libc::S_IFDIR {
        return Err(Error::image(format!("a hard link to {}, which is no file", target())));
    }
    let dir = tree.here().try_clone().map_err(|e| Error::host(format!("dup: {e}")))?;
    Ok(Source { dir, name, inode: stat.st_ino })
}

fn hard_link(tree: &mut Tree<'_>, source: &Source, name: &OsStr) -> Result<()> {
    match at::link(&source.dir, &source.name, tree.change()?, name) {
        Err(e) if e.errno == Errno::EEXIST => {}
        done => {
            tree.written(name);
            return done.map_err(named);
        }
    }
    // a link onto itself is done; removing the old name first would lose the file
    if at::stat(tree.here(), name).map_err(named)?.is_some_and(|stat| stat.st_ino == source.inode) {
        tree.written(name);
        return Ok(());
    }
    put(tree, name, |dir, name| at::link(&source.dir, &source.name, dir, name))
}

/// Brings a file or link of the layers below into this layer, under its own name. Nothing where there is none.
fn copy_up(tree: &mut Tree<'_>, name: &OsStr) -> Result<()> {
    let here = tree.change()?.try_clone().map_err(|e| Error::host(format!("dup: {e}")))?;
    let Some(found) = tree.below()?.find(name)? else { return Ok(()) };
    match kind(&found.stat) {
        libc::S_IFREG => {
            let source = at::open_file(found.parent, name)?;
            let copy = at::create_file(&here, name)?;
            data::copy(&source, &copy).map_err(|e| Error::from(e).hint(ROOM))?; // a hole costs nothing here either
            let attributes = Attributes::read(&source.as_fd())?;
            attributes.apply_fd(&copy)?;
            at::set_times_fd(&copy, attributes.time).map_err(Error::from)
        }
        libc::S_IFLNK => {
            at::symlink(&at::readlink(found.parent, name)?, &here, name)?;
            Attributes::bare(&found.stat).apply_link(&here, name)
        }
        // never a whiteout: of those nothing is found
        kind @ (libc::S_IFIFO | libc::S_IFCHR | libc::S_IFBLK) => {
            let device = (libc::major(found.stat.st_rdev), libc::minor(found.stat.st_rdev));
            at::mknod(&here, name, SFlag::from_bits_truncate(kind), device.0, device.1)?;
            Attributes::bare(&found.stat).apply_node(&here, name)
        }
        _ => Ok(()),
    }
}

/// `.wh.NAME` hides NAME of the layers below, `.wh..wh..opq` all of the directory's. What this layer holds stays.
fn whiteout(tree: &mut Tree<'_>, parent: &[u8], hidden: &[u8], time: at::Time) -> Result<()> {
    match hidden {
        b"" | b"." | b".." => return Err(Error::image("a whiteout that names nothing")),
        b".wh..opq" => {
            tree.enter(parent, time)?;
            return tree.hide_below(None);
        }
        // aufs's own records (.wh..wh.plnk, .wh..wh.orph, .wh..wh.aufs)
        [b'.', b'w', b'h', b'.', ..] => return Ok(()),
        _ => {}
    }
    tree.enter(parent, time)?;
    hide(tree, OsStr::from_bytes(hidden))
}

/// Hides what the layers below have under this name.
fn hide(tree: &mut Tree<'_>, name: &OsStr) -> Result<()> {
    match at::stat(tree.here(), name).map_err(named)? {
        Some(_) if tree.is_flat() && !tree.is_written(name) => Ok(tree.remove(name)?),
        Some(stat) if kind(&stat) == libc::S_IFDIR => tree.hide_below(Some(name)),
        Some(_) => Ok(()),
        None if tree.is_flat() => Ok(()),
        None => tree.hide_name(name),
    }
}
