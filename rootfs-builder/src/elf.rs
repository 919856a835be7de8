//! What a program or library in ELF asks of the system around it: its loader and its libraries (elf(5)). Pure; the bytes
//! come from anywhere, and are never trusted to be within their own bounds.

/// What one file needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elf {
    /// e_machine: 62 is x86-64, 183 aarch64.
    pub machine: u16,
    /// The loader, as an absolute path; a static program and a library have none.
    pub interpreter: Option<String>,
    /// Libraries by their names, or by their paths.
    pub needed: Vec<String>,
    /// Where to look for them first: DT_RUNPATH, or else DT_RPATH.
    pub search: Vec<String>,
}

pub const MAGIC: [u8; 4] = *b"\x7fELF";

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// Reads a 64-bit little-endian file, which is what Debian's amd64 and arm64 are. `None` for anything else, and for a
/// file whose tables do not lie in it.
pub fn parse(file: &[u8]) -> Option<Elf> {
    if file.get(..4)? != MAGIC || file.get(4..6)? != [2, 1] {
        return None;
    }
    let segments = segments(file)?;
    let mut elf = Elf { machine: u16::from_le_bytes(file.get(18..20)?.try_into().ok()?), ..Elf::default() };
    let part = |segment: &Segment| {
        let start = usize::try_from(segment.offset).ok()?;
        file.get(start..start.checked_add(usize::try_from(segment.length).ok()?)?)
    };
    if let Some(interpreter) = segments.iter().find(|segment| segment.kind == PT_INTERP) {
        elf.interpreter = Some(text(part(interpreter)?, 0)?);
    }
    let Some(dynamic) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) else { return Some(elf) };
    let tags = tags(part(dynamic)?);
    let Some(&(_, address)) = tags.iter().find(|(tag, _)| *tag == DT_STRTAB) else { return Some(elf) };
    let strings = file.get(usize::try_from(in_file(&segments, address)?).ok()?..)?;
    let all = |wanted: u64| tags.iter().filter(move |(tag, _)| *tag == wanted).map(|(_, at)| text(strings, *at));
    elf.needed = all(DT_NEEDED).collect::<Option<_>>()?;
    let search = all(DT_RUNPATH).next().or_else(|| all(DT_RPATH).next());
    elf.search = search.flatten().map_or(Vec::new(), |dirs| dirs.split(':').map(str::to_owned).collect());
    Some(elf)
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    length: u64,
}

/// Program headers: 56 bytes each, where e_phoff says.
fn segments(file: &[u8]) -> Option<Vec<Segment>> {
    const LENGTH: usize = 56;
    let start = usize::try_from(number(file, 32)?).ok()?;
    let count = usize::from(u16::from_le_bytes(file.get(56..58)?.try_into().ok()?));
    let table = file.get(start..start.checked_add(count * LENGTH)?)?;
    let segment = |header: &[u8]| {
        Some(Segment {
            kind: u32::from_le_bytes(header.get(..4)?.try_into().ok()?),
            offset: number(header, 8)?,
            address: number(header, 16)?,
            length: number(header, 32)?,
        })
    };
    table.chunks_exact(LENGTH).map(segment).collect()
}

/// Pairs of a tag and a value, up to the end mark.
fn tags(dynamic: &[u8]) -> Vec<(u64, u64)> {
    let pairs = dynamic.chunks_exact(16).filter_map(|pair| Some((number(pair, 0)?, number(pair, 8)?)));
    pairs.take_while(|(tag, _)| *tag != DT_NULL).collect()
}

/// Where in the file lies what is loaded to `address`.
fn in_file(segments: &[Segment], address: u64) -> Option<u64> {
    let mut loaded = segments.iter().filter(|segment| segment.kind == PT_LOAD);
    loaded.find_map(|segment| {
        let inside = address.checked_sub(segment.address).filter(|inside| *inside < segment.length)?;
        segment.offset.checked_add(inside)
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// The text at an offset, up to its NUL.
fn text(bytes: &[u8], at: u64) -> Option<String> {
    let rest = bytes.get(usize::try_from(at).ok()?..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    String::from_utf8(rest[..end].to_vec()).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A file with a loader, libraries and a place to look for them, none of which is longer than 15 bytes.
    pub(crate) fn dynamic(interpreter: &str, needed: &[&str], search: &str) -> Vec<u8> {
        let mut file = vec![0; 0x400];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\x7fELF\x02\x01\x01");
        put(18, &62_u16.to_le_bytes());
        put(32, &64_u64.to_le_bytes());
        put(56, &3_u16.to_le_bytes());
        // the strings at 0x300 of the file are loaded to 0x10300, the tags lie at 0x200
        for (at, kind, offset, address, length) in
            [(64, PT_INTERP, 0x380, 0, 16_u64), (120, PT_LOAD, 0, 0x10000, 0x400), (176, PT_DYNAMIC, 0x200, 0, 0x100)]
        {
            put(at, &kind.to_le_bytes());
            put(at + 8, &u64::to_le_bytes(offset));
            put(at + 16, &u64::to_le_bytes(address));
            put(at + 32, &length.to_le_bytes());
        }
        put(0x380, interpreter.as_bytes());
        let mut tags: Vec<(u64, u64)> = vec![(DT_STRTAB, 0x10300)];
        for (number, name) in needed.iter().enumerate() {
            put(0x310 + 16 * number, name.as_bytes());
            tags.push((DT_NEEDED, 0x10 + 16 * number as u64));
        }
        if !search.is_empty() {
            put(0x301, search.as_bytes());
            tags.push((DT_RUNPATH, 1));
        }
        for (number, (tag, value)) in tags.iter().enumerate() {
            put(0x200 + 16 * number, &tag.to_le_bytes());
            put(0x208 + 16 * number, &value.to_le_bytes());
        }
        file
    }

    #[test]
    fn a_dynamic_program_names_its_loader_and_libraries() {
        let elf = parse(&dynamic("/lib/ld.so", &["libc.so.6", "libm.so.6"], "$ORIGIN:/opt")).unwrap();
        assert_eq!((elf.machine, elf.interpreter.as_deref()), (62, Some("/lib/ld.so")));
        assert_eq!(
            (elf.needed, elf.search),
            (vec!["libc.so.6".into(), "libm.so.6".into()], vec!["$ORIGIN".to_owned(), "/opt".into()])
        );
        let hello = parse(minirun::image::builtin::HELLO).unwrap();
        assert_eq!((hello.interpreter, hello.needed.len()), (None, 0), "a static one names none");
    }

    #[test]
    fn what_is_cut_or_points_outside_is_none() {
        let good = dynamic("/lib/ld.so", &["libc.so.6"], "");
        assert!(parse(b"#!/bin/sh").is_none() && parse(&[]).is_none());
        for length in 0..good.len() - 0x80 {
            parse(&good[..length]); // does not panic
        }
        assert!(parse(&good[..0x210]).is_none());
        for at in [32, 64 + 8, 64 + 32, 176 + 8, 0x208] {
            let mut bad = good.clone();
            bad[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
            assert!(parse(&bad).is_none(), "{at}");
        }
    }
}
