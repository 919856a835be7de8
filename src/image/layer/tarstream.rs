//! Tar as a stream of members. Header blocks are the tar crate's; what stands between them (PAX records, GNU long
//! names, sparse maps) is read here, for the crate splits PAX records at newlines (a capability's bytes or a name may
//! hold one, and then its idea of path and size differs from everybody else's), puts no bound on them, and expands
//! holes into zeros. This file never writes anything.

use super::pax::{self, Pax};
use std::io::{self, BufRead, Read};
use tar::{EntryType, GnuExtSparseHeader, Header};

const BLOCK: u64 = 512;
/// Extended headers of one member: names are at most 4 KiB and an xattr 64 KiB; more than this is an attack on memory.
const MAX_EXTENDED: u64 = 4 << 20;
/// Segments of one sparse file: a map of this many is 16 MiB in memory.
const MAX_SEGMENTS: usize = 1 << 20;

/// What one member says about itself.
#[derive(Debug)]
pub(crate) struct Member {
    pub path: Vec<u8>,
    pub kind: EntryType,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: crate::sys::at::Time,
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Length of the file as it shall be, holes included.
    pub size: u64,
    /// Where the stored bytes belong, (offset, length), in order; `None`: they are the file.
    pub segments: Option<Vec<(u64, u64)>>,
}

/// A tar archive that is being read. `read` gives the stored bytes of the member that `next` gave last.
#[derive(Debug)]
pub(crate) struct TarStream<R> {
    reader: R,
    left: u64,
    padding: u64,
    global: Pax,
}

fn broken(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl<R: Read> TarStream<R> {
    pub(crate) fn new(reader: R) -> TarStream<R> {
        TarStream { reader, left: 0, padding: 0, global: Pax::default() }
    }

    /// The next member, after skipping what is unread of the last; `None` at the end of the archive.
    pub(crate) fn next(&mut self) -> io::Result<Option<Member>> {
        self.skip_rest()?;
        let mut pax: Option<Pax> = None;
        let (mut long_path, mut long_link) = (None, None);
        loop {
            let Some(header) = self.header()? else {
                let dangling = pax.is_some() || long_path.is_some() || long_link.is_some();
                return if dangling { Err(broken("an extended header without its member")) } else { Ok(None) };
            };
            match header.entry_type() {
                EntryType::XHeader => pax = Some(pax::parse(&self.extended(&header)?, self.global.clone())?),
                EntryType::XGlobalHeader => {
                    self.global = pax::parse(&self.extended(&header)?, Pax::default())?.of_each();
                }
                EntryType::GNULongName => long_path = Some(until_nul(self.extended(&header)?)),
                EntryType::GNULongLink => long_link = Some(until_nul(self.extended(&header)?)),
                _ => {
                    let pax = pax.unwrap_or_else(|| self.global.clone());
                    return self.member(&header, pax, long_path, long_link).map(Some);
                }
            }
        }
    }

    fn member(
        &mut self,
        header: &Header,
        pax: Pax,
        long_path: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> io::Result<Member> {
        let old = header.as_old();
        let stored = match pax.size {
            Some(size) => size,
            None => field(&old.size, || header.entry_size())?,
        };
        let kind = header.entry_type();
        self.expect(if has_data(kind) { stored } else { 0 })?;
        let mut member = Member {
            path: pax.path.or(long_path).unwrap_or_else(|| header.path_bytes().into_owned()),
            kind,
            link: pax.link.or(long_link).unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned()),
            mode: field(&old.mode, || header.mode())? & 0o7777,
            uid: id(pax.uid.map_or_else(|| field(&old.uid, || header.uid()), Ok)?)?,
            gid: id(pax.gid.map_or_else(|| field(&old.gid, || header.gid()), Ok)?)?,
            mtime: pax.mtime.unwrap_or_else(|| plain_time(header)),
            device: (
                header.device_major().ok().flatten().unwrap_or(0),
                header.device_minor().ok().flatten().unwrap_or(0),
            ),
            xattrs: pax.xattrs.into_iter().collect(),
            size: self.left,
            segments: None,
        };
        if kind.is_gnu_sparse() {
            self.gnu_sparse(header, &mut member)?;
        } else if pax.sparse.version == Some((1, 0)) {
            let map = self.map_in_data()?;
            self.set_sparse(&mut member, map, pax.sparse.real_size)?;
        } else if let Some(map) = pax.sparse.map {
            self.set_sparse(&mut member, map, pax.sparse.real_size)?;
        }
        if let Some(name) = pax.sparse.name {
            member.path = name;
        }
        Ok(member)
    }

    /// The old GNU form: four segments in the header, more in blocks after it.
    fn gnu_sparse(&mut self, header: &Header, member: &mut Member) -> io::Result<()> {
        let gnu = header.as_gnu().ok_or_else(|| broken("a sparse member without a GNU header"))?;
        let mut map = Vec::new();
        let mut add = |block: &tar::GnuSparseHeader| -> io::Result<()> {
            if !block.is_empty() {
                map.push((block.offset()?, block.length()?));
            }
            Ok(())
        };
        gnu.sparse.iter().try_for_each(&mut add)?;
        let mut more = gnu.is_extended();
        let mut blocks = 0;
        while more {
            let mut block = GnuExtSparseHeader::new();
            self.reader.read_exact(block.as_mut_bytes())?;
            block.sparse.iter().try_for_each(&mut add)?;
            more = block.is_extended();
            blocks += 1;
            if blocks > MAX_SEGMENTS / 21 {
                return Err(broken("a sparse map that does not end"));
            }
        }
        self.set_sparse(member, map, Some(gnu.real_size()?))
    }

    /// PAX 1.0: the map stands in front of the data, decimal numbers on lines of their own, padded to a block.
    fn map_in_data(&mut self) -> io::Result<Vec<(u64, u64)>> {
        let mut numbers = Vec::new();
        let mut line = Vec::new();
        let mut wanted = 1;
        while numbers.len() < wanted {
            let mut block = [0; BLOCK as usize];
            self.read_exact(&mut block)?;
            for byte in block {
                match byte {
                    b'\n' if numbers.len() < wanted => {
                        numbers.push(pax::number(&line)?);
                        line.clear();
                        if numbers.len() == 1 {
                            let count = usize::try_from(numbers[0]).ok().filter(|n| *n <= MAX_SEGMENTS);
                            wanted = 1 + 2 * count.ok_or_else(|| broken("a sparse map with too many segments"))?;
                        }
                    }
                    _ if line.len() > 20 => return Err(broken("a sparse map without numbers")),
                    _ if numbers.len() < wanted => line.push(byte),
                    _ => {}
                }
            }
        }
        Ok(numbers[1..].chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }

    /// Segments must be in order, must not overlap, and must hold exactly the stored bytes.
    fn set_sparse(&self, member: &mut Member, map: Vec<(u64, u64)>, real_size: Option<u64>) -> io::Result<()> {
        let mut end = 0u64;
        let mut stored = 0u64;
        for (offset, length) in &map {
            if *offset < end {
                return Err(broken("a sparse map out of order"));
            }
            end = offset.checked_add(*length).ok_or_else(|| broken("a sparse map beyond 2^64"))?;
            stored += length;
        }
        let size = real_size.unwrap_or(end);
        if end > size || stored != self.left {
            return Err(broken("a sparse map that does not fit its file"));
        }
        member.size = size;
        member.segments = Some(map);
        Ok(())
    }

    /// One header block; `None` at a block of zeros or where the input ends between members.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        let bytes = header.as_mut_bytes();
        let mut filled = 0;
        while filled < bytes.len() {
            match self.reader.read(&mut bytes[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => filled += n,
            }
        }
        if bytes.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let sum: u32 = bytes[..148].iter().chain(&bytes[156..]).map(|b| u32::from(*b)).sum();
        if header.cksum()? != sum + 8 * u32::from(b' ') {
            return Err(broken("no tar header where one should be (wrong checksum)"));
        }
        Ok(Some(header))
    }

    fn extended(&mut self, header: &Header) -> io::Result<Vec<u8>> {
        let size = header.entry_size()?;
        if size > MAX_EXTENDED {
            return Err(broken(format!("an extended header of {size} bytes")));
        }
        self.expect(size)?;
        let mut bytes = vec![0; size as usize];
        self.read_exact(&mut bytes)?;
        self.skip_rest()?;
        Ok(bytes)
    }

    fn expect(&mut self, size: u64) -> io::Result<()> {
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
        size.checked_add(self.padding).ok_or_else(|| broken("a member beyond 2^64 bytes"))?;
        self.left = size;
        Ok(())
    }

    fn skip_rest(&mut self) -> io::Result<()> {
        let rest = self.left + self.padding;
        if rest > 0 && io::copy(&mut (&mut self.reader).take(rest), &mut io::sink())? < rest {
            // an archive may end without the last padding; GNU tar reads it too
            if self.left > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }
}

impl<R: Read> Read for TarStream<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = (into.len() as u64).min(self.left) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        let n = self.reader.read(&mut into[..wanted])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= n as u64;
        Ok(n)
    }
}

/// The stored bytes as they lie in the reader's buffer.
impl<R: BufRead> BufRead for TarStream<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let bytes = self.reader.fill_buf()?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(&bytes[..bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX))])
    }

    fn consume(&mut self, count: usize) {
        self.reader.consume(count);
        self.left -= count as u64;
    }
}

/// Only files carry bytes; a link or directory that states a size has none stored (POSIX pax, "ustar Interchange
/// Format", size), and readers that disagree see different archives.
fn has_data(kind: EntryType) -> bool {
    !(kind.is_hard_link()
        || kind.is_symlink()
        || kind.is_dir()
        || kind.is_character_special()
        || kind.is_block_special()
        || kind.is_fifo())
}

/// -1 means "unchanged" to chown(2), so it cannot be an owner.
fn id(number: u64) -> io::Result<u32> {
    u32::try_from(number).ok().filter(|n| *n != u32::MAX).ok_or_else(|| broken(format!("owner {number} is no user id")))
}

/// A number of the header block; one that is blank is 0, as tar(1) and Go read it.
fn field<T: Default>(bytes: &[u8], read: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if bytes.iter().all(|byte| matches!(byte, b' ' | 0)) { Ok(T::default()) } else { read() }
}

fn plain_time(header: &Header) -> crate::sys::at::Time {
    let seconds = header.mtime().ok().and_then(|t| i64::try_from(t).ok()).unwrap_or(0);
    crate::sys::at::Time { seconds, nanoseconds: 0 }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    bytes.truncate(length);
    bytes
}
