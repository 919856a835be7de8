//! The bytes of a regular file, holes left as holes: a file of 16 TiB that holds nothing costs nothing to copy.

use super::{named, named_io};
use crate::error::{Errno, SysResult};
use nix::unistd::{Whence, lseek};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

/// Copies what a file holds into an empty one, and makes that as long.
pub fn copy(from: &File, to: &File) -> SysResult<()> {
    let call = || "copy a file's data".to_owned();
    let size = named_io(from.metadata(), call)?.len();
    let mut at = 0;
    while let Some((start, end)) = next_data(from, at, size)? {
        let mut reader = from;
        let mut writer = to;
        named_io(reader.seek(SeekFrom::Start(start)).and_then(|_| writer.seek(SeekFrom::Start(start))), call)?;
        named_io(std::io::copy(&mut reader.take(end - start), &mut writer), call)?;
        at = end;
    }
    super::at::truncate(to, size)
}

/// One block of [`blocks`].
const BLOCK: u64 = 64 << 10;

/// Gives a file's bytes in blocks of 64 KiB with their numbers, but for blocks of zeros: a file that is one hole of 8 EiB
/// has none, and costs nothing to read.
pub fn blocks(file: &File, visit: &mut dyn FnMut(u64, &[u8])) -> SysResult<()> {
    use std::os::unix::fs::FileExt as _;
    let call = || "read a file's data".to_owned();
    let size = named_io(file.metadata(), call)?.len();
    let mut block = vec![0; BLOCK as usize];
    let mut at = 0;
    while let Some((start, _)) = next_data(file, at, size)? {
        at = start - start % BLOCK;
        let mut filled = 0;
        while filled < block.len() {
            match named_io(file.read_at(&mut block[filled..], at + filled as u64), call)? {
                0 => break,
                n => filled += n,
            }
        }
        if block[..filled].iter().any(|byte| *byte != 0) {
            visit(at / BLOCK, &block[..filled]);
        }
        match at.checked_add(BLOCK).filter(|_| filled > 0) {
            Some(next) => at = next,
            None => break, // it was cut meanwhile
        }
    }
    Ok(())
}

/// The next stretch that is no hole, from `at` on (lseek(2), SEEK_DATA). A file system that knows no holes has one.
fn next_data(file: &File, at: u64, size: u64) -> SysResult<Option<(u64, u64)>> {
    if at >= size {
        return Ok(None);
    }
    let seek = |offset: u64, whence| lseek(file, i64::try_from(offset).unwrap_or(i64::MAX), whence);
    match seek(at, Whence::SeekData) {
        Err(Errno::ENXIO) => Ok(None), // only a hole is left
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(Some((at, size))),
        start => {
            let start = named(start, || format!("lseek({at}, SEEK_DATA)"))?.unsigned_abs();
            let end = named(seek(start, Whence::SeekHole), || format!("lseek({start}, SEEK_HOLE)"))?.unsigned_abs();
            Ok(Some((start, end.min(size))).filter(|(start, end)| start < end))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    #[test]
    fn holes_stay_holes_and_bytes_are_all_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            File::options().read(true).write(true).create(true).truncate(false).open(dir.path().join(name)).unwrap()
        };
        let (from, to) = (file("from"), file("to"));
        from.write_all_at(b"first", 0).unwrap();
        from.write_all_at(b"last", 8 << 30).unwrap();
        from.set_len(1 << 40).unwrap();
        copy(&from, &to).unwrap();
        let copied = to.metadata().unwrap();
        assert_eq!(copied.len(), 1 << 40);
        assert!(copied.blocks() * 512 < 1 << 20, "{} blocks", copied.blocks());
        let mut bytes = [0; 5];
        to.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"first");
        to.read_exact_at(&mut bytes[..4], 8 << 30).unwrap();
        assert_eq!(&bytes[..4], b"last");
        let (empty, copy_of_empty) = (file("empty"), file("copy"));
        copy(&empty, &copy_of_empty).unwrap();
        assert_eq!(copy_of_empty.metadata().unwrap().len(), 0);
    }
}
