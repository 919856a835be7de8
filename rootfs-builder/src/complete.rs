//! Whether an image has what its programs need: nobody resolves what packages depend on, so what was forgotten is said
//! here and not by a loader in a container.

use crate::tree::{Tree, shown};
use minirun::error::{Error, Result};
use minirun::image::assemble::{Content, EntryKind};
use minirun::image::inside::elf::{self, Elf};
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

/// As Linux has it for a path (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// What is started: the words, and the directories of PATH.
#[derive(Debug)]
pub struct Start<'a> {
    pub words: &'a [String],
    pub path: &'a str,
}

/// Looks at a whole root: the program that is started is there, and every loader and library that a file names.
pub fn check(tree: &Tree, recipe: &str, start: Option<&Start<'_>>) -> Result<()> {
    if let Some(start) = start {
        program(tree, start).map_err(|(what, next)| Error::user(format!("recipe {recipe}: {what}")).hint(next))?;
    }
    for (path, entry) in tree {
        let EntryKind::File(content) = &entry.kind else { continue };
        if let Some(lack) = missing(tree, path, &read_elf(content, path)?.unwrap_or_default()) {
            return Err(Error::user(format!(
                "recipe {recipe}: {} needs {lack}, which is not in the image",
                shown(path)
            ))
            .hint(format!("add the package that has it (`apt-file search {lack}`), or exclude {}", shown(path))));
        }
    }
    Ok(())
}

/// The first word, found in PATH as execvp(3) does, may be executed; so may its interpreter where it is a script.
fn program(tree: &Tree, start: &Start<'_>) -> Result<(), (String, &'static str)> {
    let Some(word) = start.words.first() else { return Ok(()) };
    let places: Vec<PathBuf> = if word.contains('/') {
        vec![PathBuf::from(word)]
    } else {
        start.path.split(':').map(|dir| Path::new(dir).join(word)).collect()
    };
    let found = places.iter().find_map(|path| resolve(tree, path));
    let Some(EntryKind::File(content)) = found.as_ref().map(|(_, entry)| &entry.kind) else {
        return Err((format!("{word}, which is to be started, is not in the image"), "name a program that it has"));
    };
    if found.as_ref().is_some_and(|(_, entry)| entry.mode & 0o111 == 0) {
        return Err((format!("{word}, which is to be started, is not executable"), "give it mode = \"0755\""));
    }
    let mut first = String::new();
    let opened = content.open().map_err(|e| (e.message, "look at that file"))?;
    let _no_script = std::io::BufRead::read_line(&mut std::io::BufReader::new(opened.0.take(256)), &mut first);
    let interpreter = first.strip_prefix("#!").and_then(|line| line.split_whitespace().next());
    match interpreter.filter(|path| resolve(tree, Path::new(path)).is_none()) {
        Some(lack) => Err((format!("{word} is a script for {lack}, which is not in the image"), "add what has it")),
        None => Ok(()),
    }
}

/// The header of an ELF file, in bytes.
const SMALLEST: u64 = 64;
/// More than any program has; larger files are no programs.
const MOST: u64 = 256 << 20;

fn read_elf(content: &Content, path: &Path) -> Result<Option<Elf>> {
    let (mut reader, length) = content.open()?;
    let mut bytes = vec![0; elf::MAGIC.len()];
    let failed = |e: std::io::Error| crate::failed("reading", path, &e);
    if !(SMALLEST..=MOST).contains(&length) {
        return Ok(None);
    }
    reader.read_exact(&mut bytes).map_err(failed)?;
    if bytes != elf::MAGIC {
        return Ok(None);
    }
    reader.read_to_end(&mut bytes).map_err(failed)?;
    Ok(elf::parse(&mut |at, length| {
        let rest = bytes.get(usize::try_from(at).ok()?..)?;
        Some(rest[..length.min(rest.len())].to_vec())
    }))
}

/// The first thing that a file needs and the image lacks. Its own place counts without links: that is what $ORIGIN is.
fn missing(tree: &Tree, path: &Path, elf: &Elf) -> Option<String> {
    let loader = elf.interpreter.iter().find(|loader| resolve(tree, Path::new(loader)).is_none());
    let origin = format!("/{}", path.parent().unwrap_or(Path::new("")).display());
    let own = elf.search.iter().map(|dir| dir.replace("$ORIGIN", &origin).replace("${ORIGIN}", &origin));
    let dirs: Vec<String> = own.chain(defaults(elf.machine.2).into_iter().map(str::to_owned)).collect();
    let there = |name: &&String| {
        let by_path = name.contains('/') && resolve(tree, Path::new(name.as_str())).is_some();
        by_path || dirs.iter().any(|dir| resolve(tree, &Path::new(dir).join(name)).is_some())
    };
    loader.or_else(|| elf.needed.iter().find(|name| !there(name))).cloned()
}

/// Where Debian's glibc looks without ld.so.cache, which nobody makes here (ld.so(8), and `ld.so --list-diagnostics`).
fn defaults(machine: u64) -> Vec<&'static str> {
    match machine {
        62 => vec!["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib"],
        183 => vec!["/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib", "/usr/lib"],
        _ => vec!["/lib", "/usr/lib"],
    }
}

/// What a path leads to inside the root, links followed; a hard link is what it is a link to.
fn resolve<'a>(tree: &'a Tree, path: &Path) -> Option<(PathBuf, &'a minirun::image::assemble::Entry)> {
    let mut waiting: Vec<PathBuf> = parts(path);
    let (mut at, mut links) = (PathBuf::new(), 0);
    while let Some(part) = waiting.pop() {
        if part == Path::new("..") {
            at.pop();
            continue;
        }
        at.push(part);
        if let EntryKind::Symlink(target) = &tree.get(&at)?.kind {
            links += 1;
            if links > MOST_LINKS {
                return None;
            }
            if target.is_absolute() {
                at = PathBuf::new()
            } else {
                at.pop();
            }
            waiting.extend(parts(target));
        }
    }
    let mut entry = tree.get(&at)?;
    if let EntryKind::Hardlink(target) = &entry.kind {
        entry = tree.get(target)?;
    }
    Some((at, entry))
}

/// Names and `..`, the last first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let part = |part: Component<'_>| match part {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use minirun::image::assemble::{Entry, Time};

    const PT_LOAD: u32 = 1;
    const PT_DYNAMIC: u32 = 2;
    const PT_INTERP: u32 = 3;
    const DT_NEEDED: u64 = 1;
    const DT_STRTAB: u64 = 5;
    const DT_RUNPATH: u64 = 29;

    /// A file with a loader, libraries and a place to look for them, none of which is longer than 15 bytes.
    fn dynamic(interpreter: &str, needed: &[&str], search: &str) -> Vec<u8> {
        let mut file = vec![0; 0x400];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\x7fELF\x02\x01\x01");
        put(18, &62_u16.to_le_bytes());
        put(32, &64_u64.to_le_bytes());
        put(54, &56_u16.to_le_bytes());
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

    fn tree(entries: &[(&str, EntryKind)]) -> Tree {
        let entry = |path: &str, kind: &EntryKind| Entry {
            path: path.into(),
            kind: kind.clone(),
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Time::from_seconds(1),
            xattrs: [].into(),
        };
        entries.iter().map(|(path, kind)| (PathBuf::from(path), entry(path, kind))).collect()
    }

    fn file(bytes: &[u8]) -> EntryKind {
        EntryKind::File(Content::Bytes(bytes.to_vec()))
    }

    fn link(to: &str) -> EntryKind {
        EntryKind::Symlink(to.into())
    }

    fn whole() -> Vec<(&'static str, EntryKind)> {
        vec![
            ("lib", link("usr/lib")),
            ("lib64", link("/usr/lib64")),
            ("usr", EntryKind::Directory),
            ("usr/bin", EntryKind::Directory),
            ("usr/bin/prog", file(&dynamic("/lib64/ld.so", &["libc.so.6", "libown.so"], "$ORIGIN/../own"))),
            ("usr/bin/script", file(b"#!/usr/bin/prog -x\n")),
            ("usr/lib", EntryKind::Directory),
            ("usr/lib/x86_64-linux-gnu", EntryKind::Directory),
            ("usr/lib/x86_64-linux-gnu/ld.so", file(b"")),
            ("usr/lib/x86_64-linux-gnu/libc.so.6", EntryKind::Hardlink("usr/lib/x86_64-linux-gnu/ld.so".into())),
            ("usr/lib64", EntryKind::Directory),
            ("usr/lib64/ld.so", link("/lib/x86_64-linux-gnu/ld.so")),
            ("usr/own", EntryKind::Directory),
            ("usr/own/libown.so", file(b"")),
        ]
    }

    #[test]
    fn every_library_and_loader_is_looked_for_where_the_loader_looks() {
        let all = whole();
        check(&tree(&all), "x", None).unwrap();
        for (lacking, want) in [
            ("usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/bin/prog needs libc.so.6, which is not in the image"),
            ("usr/own/libown.so", "/usr/bin/prog needs libown.so"),
            ("usr/lib64/ld.so", "/usr/bin/prog needs /lib64/ld.so"),
            ("lib64", "/usr/bin/prog needs /lib64/ld.so"),
            ("lib", "/usr/bin/prog needs /lib64/ld.so"),
        ] {
            let less: Vec<_> = all.iter().filter(|(path, _)| *path != lacking).cloned().collect();
            let error = check(&tree(&less), "x", None).unwrap_err();
            assert!(error.message.contains(want) && error.hint.is_some(), "{lacking}: {error}");
        }
    }

    #[test]
    fn what_is_started_is_there_and_executable() {
        let all = tree(&whole());
        let tried = |tree: &Tree, word: &str| {
            check(tree, "x", Some(&Start { words: &[word.to_owned()], path: "/bin:/usr/bin" }))
        };
        for word in ["prog", "/usr/bin/prog", "script", "/lib/../bin/prog"] {
            tried(&all, word).unwrap();
        }
        for (word, want) in [("other", "other, which is to be started, is not in"), ("/usr/bin", "is not in the image")]
        {
            assert!(tried(&all, word).unwrap_err().message.contains(want), "{word}");
        }
        let mut changed = all.clone();
        changed.get_mut(Path::new("usr/bin/script")).unwrap().kind = file(b"#!/bin/sh\n");
        assert!(
            tried(&changed, "script").unwrap_err().message.contains("script is a script for /bin/sh, which is not")
        );
        changed.get_mut(Path::new("usr/bin/prog")).unwrap().mode = 0o644;
        assert!(tried(&changed, "prog").unwrap_err().message.contains("is not executable"));
    }

    #[test]
    fn links_that_lead_round_end() {
        let round = tree(&[("a", link("b")), ("b", link("/a"))]);
        assert!(resolve(&round, Path::new("/a")).is_none());
    }
}
