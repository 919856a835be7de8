//! Whether a program has in its root what it needs to start: the interpreter, and every library that the loader would
//! look for, by the loader's own rules (ld.so(8), ld-musl's ldso/dynlink.c). Nothing is run.

use super::elf::{self, Elf};
use super::tree::{Tree, name_of, parent_of, shown};
use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::FileExt as _;

/// What a program is, and what of it is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linkage {
    /// Where it stands when all links are followed.
    pub path: String,
    /// `static`, `dynamic`, `script`, or `unknown`.
    pub kind: &'static str,
    /// The loader of a dynamic program; the interpreter of a script.
    pub interpreter: Option<String>,
    /// How many libraries it loads.
    pub libraries: usize,
    pub missing: Vec<String>,
}

/// A script's interpreter may be a script itself (fs/exec.c, exec_binprm).
const MAX_SCRIPTS: usize = 5;
/// Libraries of one program: the largest have some hundred.
const MAX_LIBRARIES: usize = 2000;
/// ld.so.conf and what it includes.
const MAX_CONF: u64 = 1 << 20;

/// The program at a path; `None` where no regular file is. `preset` are the directories of LD_LIBRARY_PATH.
pub fn linkage(tree: &Tree, path: &str, preset: &[String]) -> Option<Linkage> {
    let (key, _) = tree.file(path)?;
    let mut linkage =
        Linkage { path: shown(&key), kind: "unknown", interpreter: None, libraries: 0, missing: Vec::new() };
    let mut program = key;
    for _ in 0..MAX_SCRIPTS {
        let Some(interpreter) = shebang(tree, &program) else { break };
        linkage.kind = "script";
        linkage.interpreter.get_or_insert_with(|| interpreter.clone());
        match tree.file(&interpreter) {
            Some((key, _)) => program = key,
            None => {
                linkage.missing.push(interpreter);
                return Some(linkage);
            }
        }
    }
    let Some(elf) = read(tree, &program) else { return Some(linkage) };
    let script = linkage.kind == "script";
    // a static program may be position-independent, and has a dynamic section then, but no interpreter
    let is_static = elf.interpreter.is_none() && elf.needed.is_empty();
    if !script {
        linkage.kind = if is_static { "static" } else { "dynamic" };
        linkage.interpreter.clone_from(&elf.interpreter);
    }
    if let Some(loader) = elf.interpreter.iter().find(|loader| tree.file(loader).is_none()) {
        linkage.missing.push(loader.clone());
    }
    let (found, missing) = libraries(tree, &program, elf, preset);
    linkage.libraries = found;
    linkage.missing.extend(missing);
    Some(linkage)
}

fn shebang(tree: &Tree, key: &[u8]) -> Option<String> {
    let head = tree.read_key(key, 256).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let line = String::from_utf8_lossy(line).into_owned();
    line.split([' ', '\t']).find(|word| !word.is_empty()).map(str::to_owned)
}

fn read(tree: &Tree, key: &[u8]) -> Option<Elf> {
    let file = tree.open(key).ok()?;
    elf::parse(&mut |at, length| {
        let mut bytes = vec![0; length];
        let read = file.read_at(&mut bytes, at).ok()?;
        bytes.truncate(read);
        Some(bytes)
    })
}

/// How many libraries are there, and the names of those that are not.
fn libraries(tree: &Tree, program: &[u8], elf: Elf, preset: &[String]) -> (usize, BTreeSet<String>) {
    let machine = elf.machine;
    let usual = usual_directories(tree);
    let of_program = searched(program, &elf);
    // what was asked for once is there for all, or for none
    let mut known: HashMap<String, bool> = HashMap::new();
    let mut queue = vec![(program.to_vec(), elf)];
    while let Some((key, elf)) = queue.pop() {
        let own = searched(&key, &elf);
        for name in elf.needed {
            if known.contains_key(&name) || known.len() >= MAX_LIBRARIES {
                continue;
            }
            let dirs = own.iter().chain(&of_program).chain(preset).chain(&usual);
            let paths: Vec<String> = match name.contains('/') {
                true => vec![name.clone()],
                false => dirs.map(|dir| format!("{dir}/{name}")).collect(),
            };
            let found = paths.iter().find_map(|path| {
                let (key, _) = tree.file(path)?;
                let elf = read(tree, &key).filter(|elf| elf.machine == machine)?;
                Some((key, elf))
            });
            known.insert(name, found.is_some());
            queue.extend(found);
        }
    }
    let missing = known.iter().filter(|(_, found)| !**found).map(|(name, _)| name.clone()).collect::<BTreeSet<_>>();
    (known.len() - missing.len(), missing)
}

/// The directories that an object names itself.
fn searched(key: &[u8], elf: &Elf) -> Vec<String> {
    let origin = shown(parent_of(key));
    let real = |dir: &String| dir.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin);
    elf.search.iter().map(real).collect()
}

/// Those of ld.so.conf and of musl's file, and what both libraries know by themselves.
fn usual_directories(tree: &Tree) -> Vec<String> {
    let mut dirs = Vec::new();
    configured(tree, "/etc/ld.so.conf", &mut dirs, 0);
    for (key, _) in tree.children(b"etc") {
        let name = String::from_utf8_lossy(name_of(key)).into_owned();
        if name.starts_with("ld-musl-") && name.ends_with(".path") {
            let text = tree.read(&shown(key), MAX_CONF).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            dirs.extend(text.split([':', '\n']).filter(|dir| !dir.is_empty()).map(str::to_owned));
        }
    }
    let plain = ["/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib"];
    dirs.extend(plain.map(str::to_owned));
    // Debian's loaders know the directory of their processor by themselves
    for dir in ["/lib", "/usr/lib"] {
        let Some(key) = tree.resolve(dir.as_bytes()) else { continue };
        let triplets = tree.children(&key).filter(|(_, node)| node.is_dir()).map(|(key, _)| shown(key));
        dirs.extend(triplets.filter(|dir| dir.contains("-linux-")));
    }
    dirs
}

/// The lines of ld.so.conf, and of what it includes.
fn configured(tree: &Tree, path: &str, dirs: &mut Vec<String>, depth: usize) {
    if depth > MAX_SCRIPTS || dirs.len() > MAX_LIBRARIES {
        return;
    }
    let text = tree.read(path, MAX_CONF).unwrap_or_default();
    for line in String::from_utf8_lossy(&text).lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        match line.strip_prefix("include ").map(str::trim) {
            // the one form that anybody writes: DIR/*.conf
            Some(pattern) => {
                let absolute = if pattern.starts_with('/') { pattern.to_owned() } else { format!("/etc/{pattern}") };
                let (dir, end) = absolute.rsplit_once("/*").unwrap_or((&absolute, ""));
                let Some(dir) = tree.resolve(dir.as_bytes()) else { continue };
                let inside = tree.children(&dir).map(|(key, _)| shown(key)).filter(|path| path.ends_with(end));
                inside.for_each(|path| configured(tree, &path, dirs, depth + 1));
            }
            None if line.starts_with('/') => dirs.push(line.to_owned()),
            None => {}
        }
    }
}
