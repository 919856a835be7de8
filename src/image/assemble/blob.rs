//! Blobs of an OCI layout: written through a temporary file, hashed on the way, named by what came out.
//! A blob is never in memory as a whole, and never seen under its name before it is complete.

use super::Layer;
use crate::error::{Errno, Error, Kind, NO_ROOM, Result};
use crate::id::{Digest, HostPath};
use crate::sys::errno_of;
use flate2::{GzBuilder, write::GzEncoder};
use oci_spec::image::MediaType;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::Permissions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use tempfile::NamedTempFile;

/// A file below `blobs/sha256`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

/// How a layer's tar is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    None,
    #[default]
    Gzip,
    /// Packed by who asks for it ([`Packer`]): minirun itself reads zstd and writes none.
    Zstd,
}

impl Compression {
    pub fn media_type(self) -> MediaType {
        match self {
            Compression::None => MediaType::ImageLayer,
            Compression::Gzip => MediaType::ImageLayerGzip,
            Compression::Zstd => MediaType::ImageLayerZstd,
        }
    }
}

/// A compressor of a caller's: bytes in, those that are ready out. It sees blocks of one size, whoever wrote them.
pub trait Packer {
    fn pack(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>>;
    /// The rest; the last call.
    fn finish(&mut self) -> io::Result<Vec<u8>>;
}

/// gzip's own default: a step up costs twice the time for two or three per cent.
const GZIP_LEVEL: u32 = 6;

/// The header's field "operating system": unknown (RFC 1952), for it says nothing about the content.
const GZIP_OS_UNKNOWN: u8 = 255;

/// A layer on its way: tar bytes in, a compressed blob and both digests out, in one pass.
pub(super) struct Stream(Hashed<Blocks>);

/// What the compressed bytes are written to.
type Sink = Hashed<BufWriter<NamedTempFile>>;

enum Compressor {
    Plain(Sink),
    Gzip(Box<GzEncoder<Sink>>),
    Zstd(Sink, Box<dyn Packer>),
}

impl Stream {
    pub(super) fn create(dir: &HostPath, compression: Compression) -> Result<Stream> {
        let sink = sink(dir)?;
        let compressor = match compression {
            Compression::None => Compressor::Plain(sink),
            Compression::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                let gzip = GzBuilder::new().mtime(0).operating_system(GZIP_OS_UNKNOWN).write(sink, level);
                Compressor::Gzip(Box::new(gzip))
            }
            Compression::Zstd => return Err(Error::internal("a zstd layer was asked for without its packer")),
        };
        Ok(Stream::through(compressor))
    }

    pub(super) fn zstd(dir: &HostPath, packer: Box<dyn Packer>) -> Result<Stream> {
        Ok(Stream::through(Compressor::Zstd(sink(dir)?, packer)))
    }

    fn through(compressor: Compressor) -> Stream {
        Stream(Hashed::new(Blocks { compressor, block: Vec::with_capacity(BLOCK) }))
    }

    /// Ends the stream and gives the blob its name in the layout it was created in.
    pub(super) fn finish(self) -> Result<Layer> {
        let Hashed { inner: mut blocks, hash: tar, .. } = self.0;
        blocks.pass_on().map_err(|e| failed("compressing a layer", &e))?;
        let compressor = blocks.compressor;
        let compression = match &compressor {
            Compressor::Plain(_) => Compression::None,
            Compressor::Gzip(_) => Compression::Gzip,
            Compressor::Zstd(..) => Compression::Zstd,
        };
        let sink = match compressor {
            Compressor::Plain(sink) => Ok(sink),
            Compressor::Gzip(gzip) => gzip.finish(),
            Compressor::Zstd(mut sink, mut packer) => {
                packer.finish().and_then(|rest| sink.write_all(&rest)).map(|()| sink)
            }
        };
        let blob = store(sink.map_err(|e| failed("compressing a layer", &e))?)?;
        Ok(Layer { blob, diff_id: Digest::from_sha256(tar.finalize().into()), compression })
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Hands the compressor blocks of one size: what zlib-rs makes of some bytes depends on how they are cut, and the same
/// tar must give the same blob whoever wrote it.
struct Blocks {
    compressor: Compressor,
    block: Vec<u8>,
}

const BLOCK: usize = 64 << 10;

impl Blocks {
    fn pass_on(&mut self) -> io::Result<()> {
        self.compressor.write_all(&self.block)?;
        self.block.clear();
        Ok(())
    }
}

impl Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK {
            self.pass_on()?;
        }
        Ok(taken)
    }
    /// Nothing: a flush in the middle of a stream would change its bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Compressor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Compressor::Plain(sink) => sink.write(bytes),
            Compressor::Gzip(gzip) => gzip.write(bytes),
            Compressor::Zstd(sink, packer) => sink.write_all(&packer.pack(bytes)?).map(|()| bytes.len()),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts and hashes what goes through.
struct Hashed<W> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Hashed<W> {
    fn new(inner: W) -> Hashed<W> {
        Hashed { inner, hash: Sha256::new(), size: 0 }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A blob that has no name yet.
fn sink(dir: &HostPath) -> Result<Sink> {
    Ok(Hashed::new(BufWriter::with_capacity(64 << 10, temporary(&dir.child("blobs/sha256"))?)))
}

/// Writes a small blob: a configuration or a manifest.
pub(super) fn add(dir: &HostPath, bytes: &[u8]) -> Result<Blob> {
    let mut sink = sink(dir)?;
    sink.write_all(bytes).map_err(|e| failed(format!("writing a blob below {dir}"), &e))?;
    store(sink)
}

/// Gives a complete blob its name, beside where it was written.
fn store(sink: Sink) -> Result<Blob> {
    let digest = Digest::from_sha256(sink.hash.finalize().into());
    let file = sink.inner.into_inner().map_err(|e| failed(format!("writing blob {digest}"), e.error()))?;
    let path = file.path().with_file_name(digest.hex());
    persist(file, &path)?;
    Ok(Blob { digest, size: sink.size })
}

/// Replaces the file `name` of the layout, whole or not at all.
pub(in crate::image) fn replace(dir: &HostPath, name: &str, bytes: &[u8]) -> Result<()> {
    let path = dir.child(name);
    let mut file = temporary(dir)?;
    file.write_all(bytes).map_err(|e| failed(format!("writing {path}"), &e))?;
    persist(file, path.as_path())
}

/// Mode 0644 less the umask: what may be read decides the directory above the layout.
pub(in crate::image) fn temporary(dir: &HostPath) -> Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".new-")
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(dir.as_path())
        .map_err(|e| failed(format!("creating a file in {dir}"), &e))
}

/// fsync, then rename: a name never stands for half a file, not even after a power cut.
pub(in crate::image) fn persist(file: NamedTempFile, path: &std::path::Path) -> Result<()> {
    file.as_file().sync_all().map_err(|e| failed(format!("writing {}", path.display()), &e))?;
    file.persist(path).map_err(|e| failed(format!("renaming to {}", path.display()), &e.error)).map(drop)
}

/// A failure of the standard library's, with what was being done.
pub(in crate::image) fn failed(doing: impl std::fmt::Display, e: &io::Error) -> Error {
    let errno = errno_of(e);
    let hint = matches!(errno, Some(Errno::ENOSPC | Errno::EDQUOT)).then(|| NO_ROOM.to_owned());
    Error { kind: Kind::Host, message: format!("{doing}: {e}"), hint, errno: errno.map(|errno| errno as i32) }
}
