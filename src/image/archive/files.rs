//! The files of a layout directory or of an archive, by their names there. An archive is read from a plain tar; one
//! that is compressed, or comes through a pipe, becomes such a tar first, in a file without a name: whatever is killed
//! meanwhile leaves nothing. No link leads out of either, and nothing but regular files is opened.

use super::xz;
use crate::error::{Errno, Error, Result};
use crate::image::assemble::{Slice, failed};
use crate::image::ingest::MAX_BLOB;
use crate::image::layer::{self, Taken, TarStream};
use crate::image::progress::{Counted, Progress};
use crate::image::store::MAX_METADATA;
use crate::sys::at;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Members of an archive: 500 layers with three files each, and many images.
const MAX_MEMBERS: usize = 100_000;
/// A link to a link to a layer: docker wrote one, never two.
const MAX_LINKS: usize = 4;
/// From here on an archive must not inflate to more than xz could make of it: its best is some 7000:1.
const MAX_FREE: u64 = 1 << 30;
const MAX_RATIO: u64 = 8000;
const BLOCK: u64 = 512;
const BUFFER: usize = 256 << 10;

#[derive(Debug)]
pub(in crate::image) enum Files {
    /// Its root.
    Layout(OwnedFd),
    Archive {
        tar: File,
        nodes: BTreeMap<String, Node>,
    },
}

/// What an archive's member is.
#[derive(Debug)]
pub(in crate::image) enum Node {
    /// Its bytes in the tar.
    File {
        offset: u64,
        size: u64,
    },
    Link(String),
}

impl Files {
    /// A directory, a file, or a pipe; `spool` is a directory with room for what has to be inflated.
    pub(in crate::image) fn open(input: File, what: &str, spool: &Path, progress: &dyn Progress) -> Result<Files> {
        let unknown = |e| failed("looking at it", &e);
        let metadata = input.metadata().map_err(unknown)?;
        if metadata.is_dir() {
            return Ok(Files::Layout(input.into()));
        }
        let mut start = [0; 6];
        // a pipe cannot be read at a place, nor a file's beginning be where somebody has read on
        let is_plain = metadata.is_file()
            && (&input).stream_position().is_ok_and(|at| at == 0)
            && input.read_exact_at(&mut start, 0).is_ok()
            && layer::is_plain(&start);
        if is_plain {
            return Files::index(input);
        }
        let total = metadata.is_file().then_some(metadata.len());
        Files::spool(Counted::new(input, what, total, progress), spool)
    }

    /// What can only be read once.
    pub(in crate::image) fn spool(input: impl Read + Send, spool: &Path) -> Result<Files> {
        let writing = |e: io::Error| failed(format!("unpacking it in {}", spool.display()), &e);
        let taken = AtomicU64::new(0);
        let stored = BufReader::with_capacity(BUFFER, Taken { inner: input, taken: &taken });
        let mut plain = Bounded { plain: outside(stored).map_err(|e| broken(&e))?, taken: &taken, count: 0 };
        let mut tar = BufWriter::with_capacity(BUFFER, tempfile::tempfile_in(spool).map_err(writing)?);
        let mut buffer = vec![0; BUFFER];
        loop {
            let n = plain.read(&mut buffer).map_err(|e| broken(&e))?;
            if n == 0 {
                break;
            }
            tar.write_all(&buffer[..n]).map_err(writing)?;
        }
        let tar = tar.into_inner().map_err(|e| writing(e.into_error()))?;
        Files::index(tar)
    }

    /// Where each member is; their bytes are not read.
    fn index(tar: File) -> Result<Files> {
        let mut nodes = BTreeMap::new();
        let mut at = Slice { file: &tar, offset: 0, left: u64::MAX };
        // a stream of its own for each member, for a stream would read through what is between
        while let Some(member) = TarStream::new(&mut at).next().map_err(|e| broken(&e))? {
            let offset = at.offset;
            at.offset = offset.saturating_add(member.size.next_multiple_of(BLOCK));
            if nodes.len() > MAX_MEMBERS {
                return Err(Error::image(format!("more than {MAX_MEMBERS} files")));
            }
            let Some(path) = std::str::from_utf8(&member.path).ok().and_then(|path| normal("", path)) else { continue };
            if member.segments.is_some() {
                return Err(Error::image(format!("{path} is stored with holes")));
            } else if member.kind.is_file() {
                nodes.insert(path, Node::File { offset, size: member.size });
            } else if member.kind.is_symlink() || member.kind.is_hard_link() {
                let dir = if member.kind.is_symlink() { path.rsplit_once('/').map_or("", |(dir, _)| dir) } else { "" };
                if let Some(target) = std::str::from_utf8(&member.link).ok().and_then(|target| normal(dir, target)) {
                    nodes.insert(path, Node::Link(target));
                }
            }
        }
        if nodes.is_empty() {
            return Err(Error::image("it holds no file"));
        }
        Ok(Files::Archive { tar, nodes })
    }

    /// A file's bytes and how many they are; `None` where there is no such file.
    pub(in crate::image) fn get(&self, path: &str) -> Result<Option<(Box<dyn Read + Send + '_>, u64)>> {
        match self {
            Files::Layout(root) => {
                let file = match at::open_file(root, path.as_ref()) {
                    Err(e) if e.errno == Errno::ENOENT => return Ok(None),
                    Err(e) if e.errno == Errno::ELOOP => return Err(Error::image(format!("{path} is a link"))),
                    file => file?,
                };
                match file.metadata() {
                    Ok(metadata) if metadata.is_file() => Ok(Some((Box::new(file), metadata.len()))),
                    _ => Err(Error::image(format!("{path} is no file"))),
                }
            }
            Files::Archive { tar, nodes } => {
                let Some((offset, size)) = find(nodes, path) else { return Ok(None) };
                Ok(Some((Box::new(Slice { file: tar, offset, left: size }), size)))
            }
        }
    }

    pub(in crate::image) fn need(&self, path: &str) -> Result<(Box<dyn Read + Send + '_>, u64)> {
        self.get(path)?.ok_or_else(|| Error::image(format!("{path} is missing")))
    }

    /// The whole of a small file.
    pub(in crate::image) fn text(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let Some((mut reader, size)) = self.get(path)? else { return Ok(None) };
        if size > MAX_METADATA {
            return Err(Error::image(format!("{path} has {size} bytes, too many for a manifest")));
        }
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(|e| Error::image(format!("{path}: {e}")))?;
        Ok(Some(bytes))
    }
}

/// What could not be read is in the tar package's words, byte for byte, and tells nobody anything.
fn broken(e: &io::Error) -> Error {
    match e.to_string() {
        text if text.contains("cksum") => Error::image("it is no tar archive, or a header in it is damaged"),
        text => Error::image(text),
    }
}

/// What was inflated, as long as it is no bomb.
struct Bounded<'t, R> {
    plain: R,
    taken: &'t AtomicU64,
    count: u64,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.plain.read(into)?;
        self.count += n as u64;
        let (stored, count) = (self.taken.load(Ordering::Relaxed), self.count);
        match count >= MAX_BLOB || (count > MAX_FREE && count / MAX_RATIO > stored) {
            true => Err(io::Error::other(format!("{stored} bytes inflate to {count} and more: a compression bomb"))),
            false => Ok(n),
        }
    }
}

/// A tar as it can be kept as a layer: as it comes, but inflated where it is of xz. `taken` counts what came.
pub(super) fn as_layer<'a>(tar: impl Read + Send + 'a, taken: &'a AtomicU64) -> io::Result<Box<dyn Read + 'a>> {
    let mut stored = BufReader::with_capacity(BUFFER, Taken { inner: tar, taken });
    Ok(match xz::is_xz(stored.fill_buf()?) {
        true => Box::new(Bounded { plain: xz::reader(stored), taken, count: 0 }),
        false => Box::new(stored),
    })
}

/// The inflated bytes. Only here xz is read, for others make archives of it, and nobody layers.
fn outside<'a>(mut stored: impl BufRead + Send + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match xz::is_xz(stored.fill_buf()?) {
        true => Box::new(xz::reader(stored)),
        false => layer::inflated(stored)?.0,
    })
}

fn find(nodes: &BTreeMap<String, Node>, path: &str) -> Option<(u64, u64)> {
    let mut path = path;
    for _ in 0..=MAX_LINKS {
        match nodes.get(path)? {
            Node::File { offset, size } => return Some((*offset, *size)),
            Node::Link(target) => path = target,
        }
    }
    None
}

/// A path without `.`, `..` and double slashes; `None` where it leaves the archive. Only ever a key, never opened.
pub(super) fn normal(dir: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in dir.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}
