//! A compressed stream read once: bytes, their digest, the inflated bytes and their digest. The compression is told
//! by the first bytes, never by what the media type says. Never writes a file.

use crate::error::{Error, Result};
use crate::id::Digest;
use oci_spec::image::MediaType;
use sha2::{Digest as _, Sha256};
use std::io::{self, BufRead, BufReader, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// 128 MiB: what `zstd -19` and every registry's layers need; `--long=31` would take 2 GiB of memory to read.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Inflated bytes of one layer: larger than any image in the wild, small enough that a bomb ends.
const MAX_INFLATED: u64 = 64 << 30;
/// Stored bytes of one layer: empty gzip members and skippable frames inflate to nothing, without end.
const MAX_STORED: u64 = 64 << 30;
/// From here on a stream must not inflate to more than deflate could make of it (1032:1): zstd packs 10^5 and more
/// zeros into a byte.
const MAX_FREE: u64 = 1 << 30;
const MAX_RATIO: u64 = 1100;
/// One piece on its way from the producer to the consumer.
const PIECE: usize = 256 << 10;
/// Pieces under way: enough that neither side waits for the other's hiccups.
const PIECES: usize = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// What a layer of this compression is called in a manifest.
    pub(crate) fn media_type(self) -> MediaType {
        match self {
            Compression::None => MediaType::ImageLayer,
            Compression::Gzip => MediaType::ImageLayerGzip,
            Compression::Zstd => MediaType::ImageLayerZstd,
        }
    }
}

/// By the magic number; xz and bzip2 are refused by name.
fn sniff(start: &[u8]) -> io::Result<Compression> {
    let refuse =
        |what: &str| Err(io::Error::new(io::ErrorKind::Unsupported, format!("{what} compression is not read")));
    match start {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Compression::Zstd),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => refuse("xz"),
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => refuse("bzip2"),
        _ => Ok(Compression::None),
    }
}

/// Whether bytes that begin so are not compressed.
pub(crate) fn is_plain(start: &[u8]) -> bool {
    matches!(sniff(start), Ok(Compression::None))
}

/// A reader of the inflated bytes, concatenated members included.
pub(crate) fn inflated<'a, R: BufRead + Send + 'a>(
    mut reader: R,
) -> io::Result<(Box<dyn Read + Send + 'a>, Compression)> {
    let compression = sniff(reader.fill_buf()?)?;
    let plain: Box<dyn Read + Send + 'a> = match compression {
        Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(reader)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
    };
    Ok((plain, compression))
}

/// Hashes and counts what is read through it.
#[derive(Debug)]
pub(crate) struct Hashed<R> {
    inner: R,
    hash: Sha256,
    pub(crate) count: u64,
}

impl<R> Hashed<R> {
    pub(crate) fn new(inner: R) -> Hashed<R> {
        Hashed { inner, hash: Sha256::new(), count: 0 }
    }
    pub(crate) fn digest(self) -> Digest {
        Digest::from_sha256(self.hash.finalize().into())
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        self.hash.update(&into[..n]);
        self.count += n as u64;
        Ok(n)
    }
}

/// What a stream turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Of the bytes as they are stored.
    pub digest: Digest,
    /// Of the inflated bytes.
    pub diff_id: Digest,
}

/// Reads `blob` to its end in a thread of its own (read, hash, inflate) while `consume` takes the inflated
/// bytes here. What `consume` leaves unread is read all the same, for the digests cover it. The thread has ended when
/// this returns.
pub(crate) fn in_parallel<T>(
    blob: impl Read + Send,
    consume: impl FnOnce(&mut Pieces) -> Result<T>,
) -> Result<(T, Sums)> {
    one_after_the_other(Box::new(std::iter::once(Ok(Box::new(blob) as Blob<'_>))), |pieces| {
        let value = consume(pieces)?;
        Ok((value, pieces.finish()?))
    })
}

/// A layer as it is stored.
pub(crate) type Blob<'a> = Box<dyn Read + Send + 'a>;
/// Several, each opened when its turn comes.
pub(crate) type Blobs<'a> = Box<dyn Iterator<Item = Result<Blob<'a>>> + Send + 'a>;

/// The same for several, the next of which is inflated while `consume` still writes the last;
/// [`Pieces::finish`] leads from one to the other.
pub(crate) fn one_after_the_other<T>(blobs: Blobs<'_>, consume: impl FnOnce(&mut Pieces) -> Result<T>) -> Result<T> {
    let (full, pieces) = sync_channel(PIECES);
    let (empty, used) = channel();
    std::thread::scope(|scope| {
        let producer = scope.spawn(move || produce_all(blobs, &full, &used));
        let mut pieces = Pieces { pieces, empty, current: Vec::new(), at: 0, hash: Sha256::new(), end: None };
        let consumed = consume(&mut pieces);
        drop(pieces);
        producer.join().map_err(|_| Error::internal("the inflating thread panicked"))?;
        consumed
    })
}

fn produce_all(blobs: Blobs<'_>, full: &SyncSender<Piece>, used: &Receiver<Vec<u8>>) {
    for blob in blobs {
        let made = blob.map_err(|e| io::Error::other(e.message)).and_then(|blob| produce(blob, full, used));
        let last = match made {
            Ok(Some(digest)) => Piece::End(digest),
            Ok(None) => return, // nobody listens: it failed itself
            Err(e) => Piece::Failed(e),
        };
        let failed = matches!(last, Piece::Failed(_));
        if full.send(last).is_err() || failed {
            return;
        }
    }
}

/// What comes from the producer.
#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    /// With the digest of the bytes as they are stored.
    End(Digest),
    Failed(io::Error),
}

/// `None` when the consumer went away.
fn produce(blob: Blob<'_>, full: &SyncSender<Piece>, used: &Receiver<Vec<u8>>) -> io::Result<Option<Digest>> {
    let taken = AtomicU64::new(0);
    let blob = Bounded { inner: blob, left: MAX_STORED };
    let mut stored = BufReader::with_capacity(PIECE, Hashed::new(Taken { inner: blob, taken: &taken }));
    let mut count = 0;
    {
        let mut plain = inflated(&mut stored)?.0;
        loop {
            let mut piece = used.try_recv().unwrap_or_default();
            piece.resize(PIECE, 0);
            let length = fill(&mut plain, &mut piece)?;
            count += length as u64;
            check_bomb(taken.load(Ordering::Relaxed), count)?;
            piece.truncate(length);
            if length == 0 {
                break;
            }
            if full.send(Piece::Bytes(piece)).is_err() {
                return Ok(None);
            }
        }
    }
    io::copy(&mut stored, &mut io::sink())?;
    Ok(Some(stored.into_inner().digest()))
}

fn check_bomb(stored: u64, plain: u64) -> io::Result<()> {
    if plain > MAX_INFLATED {
        return Err(io::Error::other(format!("inflates to more than {} GiB", MAX_INFLATED >> 30)));
    }
    if plain > MAX_FREE && plain / MAX_RATIO > stored {
        return Err(io::Error::other(format!("{stored} bytes inflate to more than {plain}: a compression bomb")));
    }
    Ok(())
}

/// Gives so many bytes and no more: what comes then is an error.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| io::Error::other("a layer without an end"))?;
        Ok(n)
    }
}

/// Counts what was taken from the blob, for one who does not own the reader.
pub(crate) struct Taken<'a, R> {
    pub inner: R,
    pub taken: &'a AtomicU64,
}

impl<R: Read> Read for Taken<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        self.taken.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

fn fill(reader: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match reader.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// The inflated bytes of one blob, as they come from the producer.
#[derive(Debug)]
pub(crate) struct Pieces {
    pieces: Receiver<Piece>,
    empty: Sender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
    /// Of the inflated bytes so far: taken here, for inflating takes the other thread longer than writing takes this one.
    hash: Sha256,
    /// What the blob was, where it has been read to its end.
    end: Option<Sums>,
}

impl Pieces {
    /// Reads what is left of the blob and gives its sums; the next blob's bytes follow.
    pub(crate) fn finish(&mut self) -> Result<Sums> {
        let broken = |e: io::Error| Error::image(e.to_string());
        loop {
            let length = self.fill_buf().map_err(broken)?.len();
            self.consume(length);
            if let Some(sums) = self.end.take() {
                return Ok(sums);
            }
        }
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.current.len() && self.end.is_none() {
            let _ = self.empty.send(std::mem::take(&mut self.current)); // the producer has ended: nobody needs it
            self.at = 0;
            match self.pieces.recv() {
                Ok(Piece::Bytes(piece)) => {
                    self.hash.update(&piece);
                    self.current = piece;
                }
                Ok(Piece::End(digest)) => {
                    let diff_id = Digest::from_sha256(self.hash.finalize_reset().into());
                    self.end = Some(Sums { digest, diff_id });
                }
                Ok(Piece::Failed(e)) => return Err(e),
                // after a failure that somebody went on from, or a panic, which is told where the thread is joined
                Err(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(&self.current[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(blob: &[u8]) -> Result<(Vec<u8>, Sums)> {
        in_parallel(blob, |pieces| {
            let mut bytes = Vec::new();
            pieces.read_to_end(&mut bytes).map_err(|e| Error::image(e.to_string()))?;
            Ok(bytes)
        })
    }

    #[test]
    fn every_form_gives_the_bytes_and_both_digests() {
        let plain: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
        let two_members = [gzip(&plain[..100]), gzip(&plain[100..])].concat();
        let two_frames =
            [zstd::encode_all(&plain[..7], 1).unwrap(), zstd::encode_all(&plain[7..], 1).unwrap()].concat();
        for blob in [plain.clone(), gzip(&plain), two_members, two_frames] {
            let (bytes, sums) = read(&blob).unwrap();
            assert!(bytes == plain);
            assert_eq!(sums, Sums { digest: Digest::of(&blob), diff_id: Digest::of(&plain) });
        }
    }

    #[test]
    fn what_the_consumer_leaves_is_hashed_too() {
        let plain = vec![7; 3 << 20];
        let ((), sums) = in_parallel(&plain[..], |_| Ok(())).unwrap();
        assert_eq!(sums.digest, Digest::of(&plain));
    }

    #[test]
    fn broken_streams_are_errors() {
        let good = gzip(&[1; 100_000]);
        let trailing = [&good[..], b"garbage"].concat();
        for blob in [&good[..good.len() - 5], &trailing, b"\xfd7zXZ\0\0", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd\0"] {
            assert!(read(blob).is_err(), "{blob:?}");
        }
    }

    #[test]
    fn a_bomb_is_cut() {
        for (stored, plain, good) in [
            (1000, 1 << 30, true),
            (1 << 20, (1 << 30) + 1, true),
            (1 << 10, (1 << 30) + 1, false),
            (u64::MAX, 65 << 30, false),
        ] {
            assert_eq!(check_bomb(stored, plain).is_ok(), good, "{stored} {plain}");
        }
        // 1.5 GiB of zeros in some 50 KiB
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        let zeros = vec![0; 1 << 20];
        (0..1536).for_each(|_| encoder.write_all(&zeros).unwrap());
        let bomb = encoder.finish().unwrap();
        let error = in_parallel(&bomb[..], |_| Ok(())).unwrap_err();
        assert!(error.message.contains("compression bomb"), "{error}");
    }

    #[test]
    fn what_inflates_to_nothing_without_end_is_cut() {
        let frame = b"\x50\x2a\x4d\x18\x04\0\0\0skip"; // RFC 8878, skippable frames
        for member in [gzip(b""), frame.to_vec()] {
            let endless = member.repeat(1000);
            let bounded = |left| BufReader::new(Bounded { inner: &endless[..], left });
            let read = |left| io::copy(&mut inflated(bounded(left)).unwrap().0, &mut io::sink());
            assert_eq!(read(endless.len() as u64).unwrap(), 0);
            assert_eq!(read(endless.len() as u64 - 1).unwrap_err().to_string(), "a layer without an end");
        }
    }

    #[test]
    fn a_window_of_2_gib_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(30).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(&[1; 1000]).unwrap();
        assert!(read(&encoder.finish().unwrap()).is_err());
    }

    #[test]
    fn a_consumer_that_fails_stops_the_producer() {
        let endless = io::repeat(0);
        let result: Result<((), Sums)> = in_parallel(endless, |_| Err(Error::image("enough")));
        assert_eq!(result.unwrap_err().message, "enough");
    }
}
