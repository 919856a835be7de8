//! rpm's database of what is installed, in the three forms that it has had: SQLite (since rpm 4.16: Fedora, RHEL 9), ndb
//! (SUSE) and a hash of Berkeley DB (RHEL 8, Amazon Linux 2). In each a package is one header (rpm's manual, "Package
//! format", Header). The bytes are an image's: whatever they are, reading them ends. Pure.

use std::collections::BTreeMap;

/// Versions by name. A name that is there several times, as keys and kernels are, stands with its version from the
/// second time on. `None` where the bytes are none of these forms, or break off.
pub(super) fn list(database: &[u8]) -> Option<BTreeMap<String, String>> {
    let mut all = Vec::new();
    let each = &mut |header: &[u8]| {
        all.push(release(header)?);
        Some(())
    };
    match database {
        [b'S', b'Q', b'L', ..] => sqlite::blobs(database, "Packages", each)?,
        [b'R', b'p', b'm', b'P', ..] => ndb::blobs(database, each)?,
        _ => berkeley::blobs(database, each)?,
    }
    all.sort(); // the forms have them in different orders
    let mut list = BTreeMap::new();
    for (name, version) in all {
        let name = if list.contains_key(&name) { format!("{name}-{version}") } else { name };
        list.insert(name, version);
    }
    Some(list)
}

/// What is called with each header. `None` ends it.
type Each<'a> = &'a mut dyn FnMut(&[u8]) -> Option<()>;

/// Name and `[EPOCH:]VERSION-RELEASE` of a header: two lengths, an index of (tag, type, offset, count), and data.
fn release(header: &[u8]) -> Option<(String, String)> {
    const INDEX: usize = 16;
    const NAME: u32 = 1000;
    const VERSION: u32 = 1001;
    const RELEASE: u32 = 1002;
    const EPOCH: u32 = 1003;
    let entries = usize::try_from(be32(header, 0)?).ok()?;
    let (index, data) = header.get(8..)?.split_at_checked(entries.checked_mul(INDEX)?)?;
    let find = |tag: u32| {
        let entry = index.chunks_exact(INDEX).find(|entry| be32(entry, 0) == Some(tag))?;
        data.get(usize::try_from(be32(entry, 8)?).ok()?..)
    };
    let text = |tag: u32| Some(String::from_utf8_lossy(find(tag)?.split(|b| *b == 0).next()?).into_owned());
    let epoch = find(EPOCH).and_then(|data| be32(data, 0)).map(|epoch| format!("{epoch}:")).unwrap_or_default();
    Some((text(NAME)?, format!("{epoch}{}-{}", text(VERSION)?, text(RELEASE)?)))
}

fn four(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok()
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    four(bytes, at).map(u32::from_be_bytes)
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    four(bytes, at).map(u32::from_le_bytes)
}

/// A file of pages, of which no more are looked at than there are: none belongs to two others.
struct Pages<'a> {
    bytes: &'a [u8],
    size: usize,
    left: usize,
}

impl<'a> Pages<'a> {
    fn new(bytes: &'a [u8], size: usize) -> Option<Pages<'a>> {
        (512..=1 << 16).contains(&size).then(|| Pages { bytes, size, left: bytes.len() / size })
    }

    /// By its number from 0.
    fn page(&mut self, number: usize) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        self.bytes.get(number.checked_mul(self.size)?..)?.get(..self.size)
    }
}

/// Tables of SQLite (sqlite.org/fileformat2.html).
mod sqlite {
    use super::{Each, Pages, be32};

    /// More levels no table has that can be stored.
    const DEEPEST: usize = 20;
    /// What stands in these tables has 5.
    const COLUMNS: usize = 16;
    /// Nor is any row of them shorter, in bytes.
    const SHORTEST: usize = 16;
    const LEAF: u8 = 0x0d;
    const INTERIOR: u8 = 0x05;

    struct File<'a> {
        pages: Pages<'a>,
        /// Bytes of a page that are in use.
        usable: usize,
        /// As long as the file itself no rows are together: cells of a page may all be the same.
        left: usize,
    }

    /// The last column of each row of a table.
    pub(super) fn blobs(bytes: &[u8], table: &str, each: Each<'_>) -> Option<()> {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        let mut root = None;
        rows(bytes, 1, &mut |row| {
            if let [b"table", name, _, page, _] = columns(row)?.as_slice() {
                root = Some(number(page)).filter(|_| *name == table.as_bytes()).or(root);
            }
            Some(())
        })?;
        rows(bytes, root?, &mut |row| each(columns(row)?.last()?))
    }

    fn rows(bytes: &[u8], root: usize, each: Each<'_>) -> Option<()> {
        let size = match u16::from_be_bytes(bytes.get(16..18)?.try_into().ok()?) {
            1 => 1 << 16,
            size => usize::from(size),
        };
        let pages = Pages::new(bytes, size)?;
        let usable = size.checked_sub(usize::from(*bytes.get(20)?)).filter(|usable| *usable >= 480)?;
        File { pages, usable, left: bytes.len() }.tree(root, DEEPEST, each)
    }

    impl<'a> File<'a> {
        /// A page by its number from 1.
        fn page(&mut self, number: usize) -> Option<&'a [u8]> {
            self.pages.page(number.checked_sub(1)?)
        }

        fn tree(&mut self, number: usize, depth: usize, each: Each<'_>) -> Option<()> {
            let page = self.page(number)?;
            let head = page.get(if number == 1 { 100 } else { 0 }..)?;
            let (kind, cells) = (*head.first()?, usize::from(u16::from_be_bytes(head.get(3..5)?.try_into().ok()?)));
            let pointers = head.get(if kind == INTERIOR { 12 } else { 8 }..)?.get(..2 * cells)?;
            for pointer in pointers.chunks_exact(2) {
                let cell = page.get(usize::from(u16::from_be_bytes([pointer[0], pointer[1]]))..)?;
                match kind {
                    LEAF => each(&self.row(cell)?)?,
                    INTERIOR => self.tree(be32(cell, 0)?.try_into().ok()?, depth.checked_sub(1)?, each)?,
                    _ => return None,
                }
            }
            match kind {
                INTERIOR => self.tree(be32(head, 8)?.try_into().ok()?, depth.checked_sub(1)?, each),
                _ => Some(()),
            }
        }

        /// What does not fit its page goes on in others.
        fn row(&mut self, mut cell: &[u8]) -> Option<Vec<u8>> {
            let (length, _id) = (usize::try_from(varint(&mut cell)?).ok()?, varint(&mut cell)?);
            self.left = self.left.checked_sub(length.max(SHORTEST))?;
            let (most, least) = (self.usable - 35, (self.usable - 12) * 32 / 255 - 23);
            let here = match length {
                _ if length <= most => length,
                _ => Some(least + (length - least) % (self.usable - 4)).filter(|here| *here <= most).unwrap_or(least),
            };
            let mut row = cell.get(..here)?.to_vec();
            let mut next = if here < length { be32(cell, here)? } else { 0 };
            while row.len() < length {
                let page = self.page(next.try_into().ok()?)?.get(..self.usable)?;
                next = be32(page, 0)?;
                row.extend(page[4..].iter().take(length - row.len()));
            }
            Some(row)
        }
    }

    fn columns(row: &[u8]) -> Option<Vec<&[u8]>> {
        let mut rest = row;
        let header = usize::try_from(varint(&mut rest)?).ok()?;
        let mut types = row.get(row.len() - rest.len()..header)?;
        let (mut data, mut columns) = (row.get(header..)?, Vec::new());
        while !types.is_empty() && columns.len() < COLUMNS {
            let length = match varint(&mut types)? {
                0 | 8 | 9 => 0, // nothing, and the numbers 0 and 1
                number @ 1..=4 => number,
                5 => 6,
                6 | 7 => 8,
                other => other.checked_sub(12)? / 2,
            };
            let column;
            (column, data) = data.split_at_checked(usize::try_from(length).ok()?)?;
            columns.push(column);
        }
        Some(columns)
    }

    /// Seven bits a byte, the highest first; a ninth byte has eight.
    fn varint(bytes: &mut &[u8]) -> Option<u64> {
        let mut number = 0;
        for at in 0..9 {
            let byte;
            (byte, *bytes) = bytes.split_first()?;
            if at == 8 {
                return Some(number << 8 | u64::from(*byte));
            }
            number = number << 7 | u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                break;
            }
        }
        Some(number)
    }
}

/// rpm's own (lib/backend/ndb/rpmpkg.c): slots that say where a package is.
mod ndb {
    use super::{Each, le32};

    const PAGE: usize = 4096;
    const HEADER: usize = 32;
    const SLOT: usize = 16;
    const BLOCK: usize = 16;

    pub(super) fn blobs(bytes: &[u8], each: Each<'_>) -> Option<()> {
        let pages = usize::try_from(le32(bytes, 12)?).ok()?;
        let mut left = bytes.len();
        for slot in bytes.get(HEADER..pages.checked_mul(PAGE)?)?.chunks_exact(SLOT) {
            // its package, the block where that is, or 0 where the slot is free, and how many blocks
            let at = usize::try_from(le32(slot.strip_prefix(b"Slot")?, 4)?).ok()?.checked_mul(BLOCK)?;
            if at != 0 {
                let blob = bytes.get(at..)?.strip_prefix(b"BlbS")?;
                let length = usize::try_from(le32(blob, 8)?).ok()?;
                left = left.checked_sub(length)?; // none is there twice
                each(blob.get(12..)?.get(..length)?)?;
            }
        }
        Some(())
    }
}

/// A hash of Berkeley DB (db 5.3, dbinc/db_page.h): values on the pages of the hash, or each on pages of its own.
mod berkeley {
    use super::{Each, Pages, four};

    const MAGIC: u32 = 0x0006_1561;
    const HEADER: usize = 26;
    /// Types of pages: P_HASH_UNSORTED, P_HASH.
    const HASH: [u8; 2] = [2, 13];
    /// Types of values: H_KEYDATA, H_OFFPAGE.
    const HERE: u8 = 1;
    const ELSEWHERE: u8 = 3;
    /// The value that is no package: the next free number.
    const COUNTER: usize = 4;

    struct File<'a> {
        pages: Pages<'a>,
        /// Of the machine that wrote it.
        big: bool,
    }

    pub(super) fn blobs(bytes: &[u8], each: Each<'_>) -> Option<()> {
        let big = match four(bytes, 12)? {
            magic if magic == MAGIC.to_le_bytes() => false,
            magic if magic == MAGIC.to_be_bytes() => true,
            _ => return None,
        };
        let size = four(bytes, 20).map(if big { u32::from_be_bytes } else { u32::from_le_bytes })?;
        let size = usize::try_from(size).ok()?;
        let mut file = File { pages: Pages::new(bytes, size)?, big };
        bytes.get(file.number(bytes, 32)?.checked_mul(size)?..)?.get(..size)?; // the last page
        for page in bytes.chunks_exact(size).filter(|page| HASH.contains(&page[25])) {
            let entries = file.short(page, 20)?;
            let starts = (0..entries).map(|entry| file.short(page, HEADER + 2 * entry)).collect::<Option<Vec<_>>>()?;
            // a key and its value, each before the one that was there already
            starts.is_sorted_by(|a, b| a >= b).then_some(())?;
            for pair in starts.chunks_exact(2) {
                let value = page.get(pair[1]..pair[0])?;
                match *value.first()? {
                    HERE if value.len() > 1 + COUNTER => each(&value[1..])?,
                    HERE => {}
                    ELSEWHERE => each(&file.chain(file.number(value, 4)?, file.number(value, 8)?)?)?,
                    _ => return None,
                }
            }
        }
        Some(())
    }

    impl File<'_> {
        fn number(&self, bytes: &[u8], at: usize) -> Option<usize> {
            let four = four(bytes, at)?;
            usize::try_from(if self.big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }).ok()
        }

        fn short(&self, bytes: &[u8], at: usize) -> Option<usize> {
            let two = bytes.get(at..at + 2)?.try_into().ok()?;
            Some(usize::from(if self.big { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) }))
        }

        fn chain(&mut self, mut number: usize, length: usize) -> Option<Vec<u8>> {
            let mut blob = Vec::new();
            while blob.len() < length {
                let page = self.pages.page(number)?;
                blob.extend(page.get(HEADER..)?.get(..self.short(page, 22)?)?);
                number = self.number(page, 16)?;
            }
            (blob.len() == length).then_some(blob)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: usize = 512;

    fn header(name: &str, version: &str, epoch: Option<u32>) -> Vec<u8> {
        let mut data: Vec<u8> = [name, version, "7"].join("\0").into_bytes();
        data.push(0);
        let mut entries = vec![(1000, 6, 0), (1001, 6, name.len() + 1), (1002, 6, name.len() + version.len() + 2)];
        if let Some(epoch) = epoch {
            entries.push((1003, 4, data.len()));
            data.extend(epoch.to_be_bytes());
        }
        let index = entries.iter().flat_map(|(tag, kind, at)| [*tag, *kind, *at as u32, 1]);
        let words = [entries.len() as u32, data.len() as u32].into_iter().chain(index);
        words.flat_map(u32::to_be_bytes).chain(data).collect()
    }

    fn ndb(headers: &[Vec<u8>]) -> Vec<u8> {
        let mut file = [&b"RpmP"[..], &[0; 8], &1_u32.to_le_bytes(), &[0; 16]].concat();
        file.extend([&b"Slot"[..], &[0; 12]].concat().repeat((4096 - 32) / 16));
        for (at, header) in headers.iter().enumerate() {
            let slot = [at as u32 + 1, (file.len() / 16) as u32, 1].map(u32::to_le_bytes).concat();
            file[32 + 16 * at..][..16].copy_from_slice(&[&b"Slot"[..], &slot].concat());
            file.extend([&b"BlbS"[..], &[0; 8], &(header.len() as u32).to_le_bytes(), header].concat());
            file.resize(file.len().next_multiple_of(16), 0);
        }
        file
    }

    fn varint(number: usize) -> [u8; 2] {
        [(number >> 7) as u8 | 0x80, (number & 0x7f) as u8]
    }

    /// The schema on page 1, an interior page, and each header on a leaf of its own, with what does not fit after it.
    fn sqlite(headers: &[Vec<u8>]) -> Vec<u8> {
        let schema = [&[6, 23, 29, 29, 1, 17][..], b"tablePackagesPackages\x02CT"].concat();
        let mut file = [&b"SQLite format 3\0\x02\0"[..], &[0; 82], &[0x0d, 0, 0, 0, 1, 0, 0, 0, 1, 0x90]].concat();
        file.resize(400, 0);
        file.extend([&[schema.len() as u8, 1][..], &schema].concat());
        file.resize(2 * PAGE, 0);
        let mut children: Vec<u32> = Vec::new();
        for header in headers {
            children.push((file.len() / PAGE) as u32 + 1);
            let start = file.len();
            let row = [&[4, 0][..], &varint(12 + 2 * header.len()), header].concat();
            let here = match row.len() {
                all if all <= PAGE - 35 => all,
                all => Some(39 + (all - 39) % (PAGE - 4)).filter(|here| *here <= PAGE - 35).unwrap_or(39),
            };
            file.extend([&[0x0d, 0, 0, 0, 1, 0, 0, 0, 0, 10][..], &varint(row.len()), &[1], &row[..here]].concat());
            let mut rest = &row[here..];
            while !rest.is_empty() {
                let next = file.len().div_ceil(PAGE) as u32 + 1;
                // the number of the next page stands where this one's data ends, or at the beginning of it
                match file.len() - start < PAGE {
                    true => file.extend(next.to_be_bytes()),
                    false => {
                        let page = file.len() - PAGE;
                        file[page..page + 4].copy_from_slice(&next.to_be_bytes());
                    }
                }
                file.resize(file.len().next_multiple_of(PAGE), 0);
                let part;
                (part, rest) = rest.split_at(rest.len().min(PAGE - 4));
                file.extend([&[0; 4], part].concat());
                file.resize(file.len().next_multiple_of(PAGE), 0);
            }
            file.resize(file.len().next_multiple_of(PAGE), 0);
        }
        let (last, others) = children.split_last().unwrap();
        let root = &mut file[PAGE..2 * PAGE];
        root[0] = 0x05;
        root[4] = others.len() as u8;
        root[8..12].copy_from_slice(&last.to_be_bytes());
        for (at, child) in others.iter().enumerate() {
            let cell = 100 + 5 * at;
            root[12 + 2 * at..][..2].copy_from_slice(&(cell as u16).to_be_bytes());
            root[cell..cell + 4].copy_from_slice(&child.to_be_bytes());
        }
        file
    }

    /// One page of a hash, with one value that is said to be on another page.
    fn berkeley() -> Vec<u8> {
        let mut file = vec![0; 4 * PAGE];
        file[12..16].copy_from_slice(&[0x61, 0x15, 6, 0]);
        file[20..24].copy_from_slice(&(PAGE as u32).to_le_bytes());
        file[PAGE + 20..PAGE + 34].copy_from_slice(&[2, 0, 0, 0, 0, 13, 250, 1, 200, 1, 0, 0, 0, 0]);
        file[PAGE + 456..PAGE + 468].copy_from_slice(&[3, 0, 0, 0, 2, 0, 0, 0, 200, 1, 0, 0]);
        file
    }

    fn installed() -> Vec<Vec<u8>> {
        let long = "1".repeat(2000);
        vec![
            header("bash", "5.2", None),
            header("key", &long, None),
            header("key", "2", None),
            header("dbus", "1", Some(3)),
        ]
    }

    #[test]
    fn both_new_forms_are_read_and_a_name_may_be_there_twice() {
        for file in [ndb(&installed()), sqlite(&installed())] {
            let list = list(&file).unwrap();
            let names: Vec<(&str, usize)> = list.iter().map(|(name, version)| (name.as_str(), version.len())).collect();
            assert_eq!(names, [("bash", 5), ("dbus", 5), ("key", 2002), ("key-2-7", 3)]);
            assert_eq!(list["dbus"], "3:1-7");
        }
    }

    #[test]
    fn pages_that_refer_to_each_other_come_to_an_end() {
        // a circle; and the leaf of the long one as every child, of which few levels make very many
        for child in [2_u32, 4] {
            let mut file = sqlite(&installed());
            for at in [8, 100, 105, 110] {
                file[PAGE + at..][..4].copy_from_slice(&child.to_be_bytes());
            }
            assert_eq!(list(&file), None);
        }
        // and the cells of a page that are all the same one
        let (mut file, header) = (sqlite(&installed()), header("bash", "5.2", None));
        let leaf = &mut file[2 * PAGE..3 * PAGE];
        leaf.fill(0);
        (leaf[0], leaf[4]) = (0x0d, 100);
        (0..100).for_each(|at| leaf[8 + 2 * at] = 1);
        let row = [&[4, 0][..], &varint(12 + 2 * header.len()), &header].concat();
        let cell = [&varint(row.len())[..], &[1], &row].concat();
        leaf[256..256 + cell.len()].copy_from_slice(&cell);
        assert_eq!(list(&file), None);
        let mut file = berkeley();
        file[PAGE + 20] = 100;
        (0..50).for_each(|at| file[PAGE + 26 + 4 * at..][..4].copy_from_slice(&[244, 1, 44, 1]));
        file[PAGE + 300] = 1;
        file[PAGE + 301..][..header.len()].copy_from_slice(&header);
        assert_eq!(list(&file), None);
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(of in 0..3_usize, harm in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..8), cut: u16) {
            let mut file = [ndb(&installed()), sqlite(&installed()), berkeley()][of].clone();
            for (at, byte) in harm {
                let at = usize::from(at) % file.len();
                file[at] = byte;
            }
            file.truncate(file.len() - usize::from(cut) % 3 * 100);
            let _ = list(&file);
        }
    }
}
