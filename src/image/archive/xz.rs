//! The container of xz (xz-file-format.txt 1.1.0): streams of blocks, each of LZMA2 alone, which is what `xz` writes.
//! The dictionary is bounded, and the check of each block is made. Only ever the outside of an archive.

use lzma_rust2::Lzma2Reader;
use std::io::{self, Read};

/// Largest dictionary: twice that of `xz -9`, and what zstd is granted.
const MAX_DICTIONARY: u32 = 128 << 20;
const MAGIC: &[u8] = b"\xfd7zXZ\0";
const FOOTER: usize = 12;
/// The id of LZMA2 among the filters.
const LZMA2: u64 = 0x21;
/// Bytes of a block's check, by its kind.
const CHECK_SIZES: [usize; 16] = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];
const CRC32: u8 = 1;
const CRC64: u8 = 4;

/// Whether this is how a file of xz begins.
pub(super) fn is_xz(start: &[u8]) -> bool {
    start.starts_with(MAGIC)
}

/// The inflated bytes of all streams.
pub(super) fn reader(inner: impl Read) -> impl Read {
    Reader { state: State::Between(Counted { inner, count: 0 }), kind: 0, crc32: flate2::Crc::new(), crc64: !0 }
}

struct Reader<R> {
    state: State<R>,
    /// Of the stream's checks.
    kind: u8,
    crc32: flate2::Crc,
    crc64: u64,
}

enum State<R> {
    /// Before a stream, or at the end.
    Between(Counted<R>),
    /// Before a block or the index.
    InStream(Counted<R>),
    Block(Box<Lzma2Reader<Counted<R>>>),
    Ended,
}

/// Counts what was read, for parts are padded to four bytes.
struct Counted<R> {
    inner: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        self.count += n as u64;
        Ok(n)
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("xz: {what}"))
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            // after an error it has ended
            self.state = match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Ok(0),
                State::Between(inner) => self.begin_stream(inner)?,
                State::InStream(inner) => self.begin_block(inner)?,
                State::Block(mut block) => match block.read(into)? {
                    0 => self.end_block(block.into_inner())?,
                    n => {
                        match self.kind {
                            CRC32 => self.crc32.update(&into[..n]),
                            CRC64 => self.crc64 = into[..n].iter().fold(self.crc64, |crc, byte| crc64(crc, *byte)),
                            _ => {}
                        }
                        self.state = State::Block(block);
                        return Ok(n);
                    }
                },
            }
        }
    }
}

impl<R: Read> Reader<R> {
    /// Skips the zeros between streams.
    fn begin_stream(&mut self, mut inner: Counted<R>) -> io::Result<State<R>> {
        let mut header = [0; 12];
        loop {
            if inner.read(&mut header[..1])? == 0 {
                return Ok(State::Ended);
            }
            if header[0] != 0 {
                break;
            }
        }
        inner.read_exact(&mut header[1..])?;
        if !is_xz(&header) || header[6] != 0 || header[7] > 15 || !is_crc32(&header[6..8], &header[8..]) {
            return Err(broken("no stream where one should be"));
        }
        self.kind = header[7];
        inner.count = 0;
        Ok(State::InStream(inner))
    }

    fn begin_block(&mut self, mut inner: Counted<R>) -> io::Result<State<R>> {
        let start = inner.count;
        let mut header = vec![byte(&mut inner)?];
        if header[0] == 0 {
            return skip_index(inner, start);
        }
        header.resize(4 * (usize::from(header[0]) + 1), 0);
        inner.read_exact(&mut header[1..])?;
        let (fields, crc) = header.split_at(header.len() - 4);
        if !is_crc32(fields, crc) {
            return Err(broken("a damaged block header"));
        }
        let flags = fields[1];
        let mut fields = &fields[2..];
        for present in [0x40, 0x80] {
            if flags & present != 0 {
                number(&mut fields)?;
            }
        }
        if flags & 0x3f != 0 || number(&mut fields)? != LZMA2 || number(&mut fields)? != 1 {
            return Err(broken("a filter besides LZMA2"));
        }
        let dictionary = match byte(&mut fields)? {
            bits @ 0..=39 => (2 | u32::from(bits & 1)) << (bits / 2 + 11),
            _ => u32::MAX,
        };
        if dictionary > MAX_DICTIONARY {
            return Err(broken(&format!(
                "a dictionary of {} MiB, more than {}",
                dictionary >> 20,
                MAX_DICTIONARY >> 20
            )));
        }
        (self.crc32, self.crc64) = (flate2::Crc::new(), !0);
        Ok(State::Block(Box::new(Lzma2Reader::new(inner, dictionary, None))))
    }

    fn end_block(&mut self, mut inner: Counted<R>) -> io::Result<State<R>> {
        pad(&mut inner, 0)?;
        let mut check = [0; 64];
        let check = &mut check[..CHECK_SIZES[usize::from(self.kind)]];
        inner.read_exact(check)?;
        let right = match self.kind {
            CRC32 => *check == self.crc32.sum().to_le_bytes(),
            CRC64 => *check == (!self.crc64).to_le_bytes(),
            _ => true, // a digest, if any: what is in an archive is checked by its own
        };
        if right { Ok(State::InStream(inner)) } else { Err(broken("a damaged block")) }
    }
}

/// The index says where blocks are, for who wants to jump.
fn skip_index<R: Read>(mut inner: Counted<R>, start: u64) -> io::Result<State<R>> {
    for _ in 0..number(&mut inner)? {
        number(&mut inner)?;
        number(&mut inner)?;
    }
    pad(&mut inner, start)?;
    inner.read_exact(&mut [0; 4])?;
    let mut footer = [0; FOOTER];
    inner.read_exact(&mut footer)?;
    if footer.ends_with(b"YZ") { Ok(State::Between(inner)) } else { Err(broken("a damaged end")) }
}

/// Up to four bytes, counted from `start`.
fn pad<R: Read>(inner: &mut Counted<R>, start: u64) -> io::Result<()> {
    while !(inner.count - start).is_multiple_of(4) {
        byte(inner)?;
    }
    Ok(())
}

fn byte(from: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    from.read_exact(&mut byte)?;
    Ok(byte[0])
}

/// Seven bits a byte, the lowest first, at most nine bytes.
fn number(from: &mut impl Read) -> io::Result<u64> {
    let mut number = 0;
    for place in 0..9 {
        let byte = byte(from)?;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(broken("a number without end"))
}

fn is_crc32(bytes: &[u8], sum: &[u8]) -> bool {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    sum == crc.sum().to_le_bytes()
}

/// One byte more (ECMA-182, reflected).
fn crc64(crc: u64, byte: u8) -> u64 {
    const TABLE: [u64; 256] = table();
    TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8)
}

const fn table() -> [u64; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let (mut value, mut bit) = (at as u64, 0);
        while bit < 8 {
            value = (value >> 1) ^ (0xc96c_5795_d787_0f42 & (value & 1).wrapping_neg());
            bit += 1;
        }
        table[at] = value;
        at += 1;
    }
    table
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn crc32(bytes: &[u8]) -> [u8; 4] {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum().to_le_bytes()
    }

    fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// A stream of one block of stored chunks; `filter` and `bits` are what its header says of filter and dictionary.
    fn stream(plain: &[u8], filter: u8, bits: u8) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend([0, CRC64]);
        file.extend(crc32(&[0, CRC64]));
        let header = [2, 0, filter, 1, bits, 0, 0, 0];
        file.extend(header);
        file.extend(crc32(&header));
        let mut block = Vec::new();
        for chunk in plain.chunks(1 << 16) {
            block.push(1);
            block.extend(((chunk.len() - 1) as u16).to_be_bytes());
            block.extend(chunk);
        }
        block.push(0);
        file.extend(padded(block));
        file.extend((!plain.iter().fold(!0, |crc, byte| crc64(crc, *byte))).to_le_bytes());
        let index = padded(vec![0, 1, 9, 9]);
        file.extend(&index);
        file.extend(crc32(&index));
        file.extend([0; 10]);
        file.extend(b"YZ");
        file
    }

    pub(in crate::image::archive) fn stored(plain: &[u8]) -> Vec<u8> {
        stream(plain, LZMA2 as u8, 22)
    }

    fn read(file: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        reader(file).read_to_end(&mut plain).map(|_| plain)
    }

    #[test]
    fn streams_are_read_one_behind_the_other() {
        let check = !b"123456789".iter().fold(!0, |crc, byte| crc64(crc, *byte));
        assert_eq!(check, 0x995d_c9bb_df19_39fa, "the check value of CRC-64/XZ");
        let plain: Vec<u8> = (0..200_000u32).map(|n| (n / 7) as u8).collect();
        let one = stored(&plain);
        assert!(read(&one).unwrap() == plain);
        let two = [&one[..], &[0; 8], &stored(b"tail")].concat();
        assert!(read(&two).unwrap() == [&plain[..], b"tail"].concat());
    }

    #[test]
    fn what_is_damaged_or_too_large_is_said() {
        let good = stored(b"some text");
        let flipped = |at: usize| {
            let mut bad = good.clone();
            bad[at] ^= 1;
            bad
        };
        for (file, word) in [
            (flipped(30), "damaged block"),
            (flipped(13), "damaged block header"),
            (flipped(8), "no stream"),
            (flipped(good.len() - 1), "damaged end"),
            (stream(b"x", 4, 22), "a filter besides LZMA2"),
            (stream(b"x", LZMA2 as u8, 32), "a dictionary of 256 MiB, more than 128"),
            (stream(b"x", LZMA2 as u8, 40), "a dictionary of 4095 MiB"),
            ([&good[..], b"garbage, and a lot"].concat(), "no stream"),
            (good[..good.len() - 20].to_vec(), "fill whole buffer"),
        ] {
            let error = read(&file).unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
        assert!(read(&stream(b"x", LZMA2 as u8, 30)).is_ok());
    }
}
