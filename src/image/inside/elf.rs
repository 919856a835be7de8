//! What an ELF file says of how it is to be loaded (elf(5)): its interpreter and the libraries it needs. Of both widths and
//! both orders of bytes, for images are of any processor. Pure: `read` gives bytes of the file.

/// Bytes at an offset, at most so many; fewer at the end of the file.
pub type Read<'a> = &'a mut dyn FnMut(u64, usize) -> Option<Vec<u8>>;

/// What a loader wants to know.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Elf {
    /// Width, order of bytes and processor: libraries must have the same.
    pub machine: (u8, u8, u64),
    pub interpreter: Option<String>,
    pub dynamic: bool,
    pub needed: Vec<String>,
    /// DT_RUNPATH, or DT_RPATH where there is none; directories.
    pub search: Vec<String>,
}

/// How every such file begins.
pub const MAGIC: [u8; 4] = *b"\x7fELF";

/// Program headers: real files have about a dozen.
const MAX_HEADERS: u64 = 512;
/// Entries of the dynamic section, and libraries among them.
const MAX_DYNAMIC: usize = 64 << 10;
const MAX_NEEDED: usize = 512;
/// The longest path.
const MAX_TEXT: usize = 4096;

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// A program header.
#[derive(Debug, Clone, Copy)]
struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    length: u64,
}

/// `None` where it is no ELF file, or its headers lie.
pub fn parse(read: Read<'_>) -> Option<Elf> {
    let head = read(0, 64)?;
    let (wide, big) = match head.get(..6)? {
        [magic @ .., width @ (1 | 2), order @ (1 | 2)] if *magic == MAGIC => (*width == 2, *order == 2),
        _ => return None,
    };
    let number = |bytes: &[u8], at: usize, size: usize| -> Option<u64> {
        let bytes = bytes.get(at..at + size)?;
        let add = |all: u64, byte: &u8| all << 8 | u64::from(*byte);
        Some(if big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
    };
    let word = if wide { 8 } else { 4 };
    let mut elf = Elf { machine: (head[4], head[5], number(&head, 18, 2)?), ..Elf::default() };
    let table = number(&head, if wide { 32 } else { 28 }, word)?;
    let (size_at, count_at) = if wide { (54, 56) } else { (42, 44) };
    let (size, count) = (number(&head, size_at, 2)?, number(&head, count_at, 2)?.min(MAX_HEADERS));
    let headers = read(table, (size * count) as usize)?;
    let segment = |at: usize| -> Option<Segment> {
        // p_offset, p_vaddr, p_filesz
        let (offset, address, length) = if wide { (8, 16, 32) } else { (4, 8, 16) };
        Some(Segment {
            kind: number(&headers, at, 4)?,
            offset: number(&headers, at + offset, word)?,
            address: number(&headers, at + address, word)?,
            length: number(&headers, at + length, word)?,
        })
    };
    let segments: Vec<Segment> = (0..count).map_while(|i| segment((i * size) as usize)).collect();
    let one = |kind| segments.iter().find(|segment| segment.kind == kind);
    if let Some(interpreter) = one(PT_INTERP) {
        elf.interpreter = Some(text(read, interpreter.offset)?);
    }
    let Some(dynamic) = one(PT_DYNAMIC) else { return Some(elf) };
    elf.dynamic = true;
    let bytes = read(dynamic.offset, (dynamic.length as usize).min(MAX_DYNAMIC * 2 * word))?;
    let entries = (0..bytes.len() / (2 * word)).map_while(|i| {
        Some((number(&bytes, i * 2 * word, word)?, number(&bytes, (i * 2 + 1) * word, word)?))
            .filter(|(tag, _)| *tag > 0)
    });
    let entries: Vec<(u64, u64)> = entries.collect();
    let strings = entries.iter().find(|(tag, _)| *tag == DT_STRTAB)?.1;
    let loaded = |s: &&Segment| s.kind == PT_LOAD && strings >= s.address && strings - s.address < s.length;
    let strings = segments.iter().find(loaded).map(|s| s.offset.wrapping_add(strings - s.address))?;
    let mut rpath = Vec::new();
    for (tag, value) in entries {
        let mut said = || text(read, strings.checked_add(value)?);
        match tag {
            DT_NEEDED if elf.needed.len() < MAX_NEEDED => elf.needed.extend(said()),
            DT_RUNPATH => elf.search = directories(&said()?),
            DT_RPATH => rpath = directories(&said()?),
            _ => {}
        }
    }
    if elf.search.is_empty() {
        elf.search = rpath;
    }
    Some(elf)
}

fn directories(list: &str) -> Vec<String> {
    list.split(':').filter(|dir| !dir.is_empty()).map(str::to_owned).collect()
}

/// A text that ends with NUL.
fn text(read: Read<'_>, at: u64) -> Option<String> {
    let bytes = read(at, MAX_TEXT)?;
    let end = bytes.iter().position(|b| *b == 0)?;
    Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(bytes: &[u8]) -> Option<Elf> {
        parse(&mut |at, length| {
            let rest = bytes.get(usize::try_from(at).ok()?..)?;
            Some(rest[..length.min(rest.len())].to_vec())
        })
    }

    /// A program of this width and order that needs libx.so from $ORIGIN/lib.
    fn program(wide: bool, big: bool) -> Vec<u8> {
        let word = if wide { 8 } else { 4 };
        let mut file = vec![0; 1024];
        let mut set = |at: usize, size: usize, value: u64| {
            let bytes = value.to_be_bytes();
            let mut bytes = bytes[8 - size..].to_vec();
            if !big {
                bytes.reverse();
            }
            file[at..at + size].copy_from_slice(&bytes);
        };
        let (table, size, count, machine) = if wide { (32, 54, 56, 18) } else { (28, 42, 44, 18) };
        let entry = if wide { 56 } else { 32 };
        set(machine, 2, 62);
        set(table, word, 64);
        set(size, 2, entry as u64);
        set(count, 2, 3);
        let (offset, address, length) = if wide { (8, 16, 32) } else { (4, 8, 16) };
        for (i, (kind, at, bytes)) in [(3, 300, 8), (1, 0, 1024), (2, 400, 8 * word)].into_iter().enumerate() {
            let header = 64 + i * entry;
            set(header, 4, kind);
            set(header + offset, word, at);
            set(header + address, word, if kind == 1 { 0x1000 } else { at });
            set(header + length, word, bytes as u64);
        }
        for (i, (tag, value)) in [(1, 1), (5, 0x1000 + 600), (29, 9), (0, 0)].into_iter().enumerate() {
            set(400 + 2 * i * word, word, tag);
            set(400 + (2 * i + 1) * word, word, value);
        }
        file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', if wide { 2 } else { 1 }, if big { 2 } else { 1 }]);
        file[300..304].copy_from_slice(b"/ld\0");
        file[601..621].copy_from_slice(b"libx.so\0$ORIGIN/lib\0");
        file
    }

    #[test]
    fn any_processors_program_says_what_it_needs() {
        for (wide, big) in [(true, false), (true, true), (false, false), (false, true)] {
            let elf = parsed(&program(wide, big)).unwrap();
            assert_eq!(elf.interpreter.as_deref(), Some("/ld"), "{wide} {big}");
            assert_eq!((elf.needed, elf.search), (vec!["libx.so".to_owned()], vec!["$ORIGIN/lib".to_owned()]));
            assert_eq!(elf.machine.2, 62);
        }
        assert_eq!(parsed(b"#!/bin/sh\n"), None);
        assert_eq!(parsed(b""), None);
    }

    proptest! {
        #[test]
        fn a_header_that_lies_is_none(damage in proptest::collection::vec((0..1024_usize, any::<u8>()), 1..40)) {
            let mut file = program(true, false);
            damage.into_iter().for_each(|(at, byte)| file[at] = byte);
            let _any = parsed(&file);
        }
    }
}
