//! Init's last deeds: the terminal, the working directory, and exec with an error that names what is missing.

use super::Slots;
use crate::error::{Errno, Error, Kind, Result, SysError};
use crate::sys::fs::Root;
use crate::sys::process;
use crate::sys::tty::{self, Size};
use crate::sys::{event, mount, socket};
use std::path::{Path, PathBuf};

/// Opens a pty in the container's devpts, sends its ptmx side away, and makes the other side the terminal of this
/// session and its standard streams; /dev/console is that same terminal.
pub(super) fn console(slots: &mut Slots, size: Size) -> Result<()> {
    let socket =
        slots.console.take().ok_or_else(|| Error::internal("a console without anyone who takes its other end"))?;
    // `exec` has no root of its own: it is in the container already
    let host_root;
    let root = match &slots.mounts.root {
        Some(root) => root,
        None => {
            host_root = Root::open(Path::new("/"))?;
            &host_root
        }
    };
    let ptmx = root.open_read_write(Path::new("/dev/pts/ptmx"))?;
    let terminal = tty::open_peer(&ptmx)?;
    tty::set_size(&terminal, size)?;
    if slots.mounts.root.is_some() {
        let place = root.touch(Path::new("/dev/console"), 0o755, 0o600)?;
        let tree = mount::open_tree_at(Some(&terminal), Path::new(""), false)?;
        mount::attach(&tree, &place)?;
    }
    tty::become_controlling(&terminal)?;
    Ok(socket::send(&socket, b"console", Some(&ptmx))?)
}

/// Enters the working directory and checks that it lies inside the root: through a descriptor that leaked in, it
/// might not (CVE-2024-21626).
pub(super) fn working_directory(path: &str) -> Result<()> {
    let no = |e: SysError| {
        let kind = if e.errno == Errno::EACCES { Kind::CommandNotExecutable } else { Kind::User };
        let missing = e.errno == Errno::ENOENT;
        let error = Error::from(e).during(format!("working directory {path}")).kind(kind);
        if missing { error.hint("-w names a directory of the container's") } else { error }
    };
    process::chdir(Path::new(path)).map_err(no)?;
    let now = process::getcwd().map_err(no)?;
    if !now.starts_with("/") {
        return Err(Error::user(format!("working directory {path} lies outside of the container's root")));
    }
    Ok(())
}

/// Becomes the program. `args[0]` without a slash is searched in the PATH of `env`, as execvp(3) does.
pub(super) fn exec(args: &[String], env: &[String]) -> Result<()> {
    let name = args.first().map_or("", String::as_str);
    let mut denied = None;
    for candidate in candidates(name, env) {
        let Err(e) = process::exec(&candidate, args, env);
        match e.errno {
            Errno::ENOENT | Errno::ENOTDIR if !candidate.exists() => {}
            // a directory or a file without the x bit; execvp goes on looking
            Errno::EACCES if !name.contains('/') => denied = Some((candidate, e)),
            _ => return Err(explain(name, &candidate, &e)),
        }
    }
    Err(match denied {
        Some((candidate, e)) => explain(name, &candidate, &e),
        None => not_found(name, env),
    })
}

fn candidates(name: &str, env: &[String]) -> Vec<PathBuf> {
    if name.contains('/') {
        return vec![PathBuf::from(name)];
    }
    let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    path.split(':')
        .filter(|_| !name.is_empty())
        .map(|dir| Path::new(if dir.is_empty() { "." } else { dir }).join(name))
        .collect()
}

const SHELLS: [&str; 5] = ["sh", "bash", "ash", "dash", "zsh"];

fn not_found(name: &str, env: &[String]) -> Error {
    let base = name.rsplit('/').next().unwrap_or_default();
    let error = if name.contains('/') {
        Error::new(Kind::CommandNotFound, format!("cannot execute {name}: no such file in the container"))
    } else {
        Error::new(Kind::CommandNotFound, format!("cannot execute {name:?}: executable file not found in $PATH"))
    };
    if !SHELLS.contains(&base) {
        return error.hint("look at what is inside with `minirun run --rm IMAGE ls`, or give the full path");
    }
    let there = |shell: &&str| candidates(shell, env).iter().any(|file| file.exists());
    match SHELLS.iter().find(|shell| there(shell)) {
        Some(other) => error.hint(format!("this image's shell is {other}")),
        None => error.hint("no shell in this image: try `minirun debug CONTAINER`, which brings one to what runs"),
    }
}

/// Tells the ways apart in which a file that exists cannot be executed (execve(2), "ERRORS").
fn explain(name: &str, file: &Path, e: &SysError) -> Error {
    let shown = file.display();
    let no = |kind, why: String| Error::new(kind, format!("cannot execute {name}: {why}"));
    match e.errno {
        Errno::EACCES if file.is_dir() => no(Kind::CommandNotExecutable, format!("{shown} is a directory"))
            .hint("name a program in it, or give the directory to a program, as in `ls DIR`"),
        Errno::EACCES if !has_x_bit(file) => no(Kind::CommandNotExecutable, format!("{shown} is not executable"))
            .hint(format!("chmod +x {shown}, or give it to its interpreter, as in `sh {shown}`")),
        Errno::EACCES => no(Kind::CommandNotExecutable, format!("permission denied ({shown})"))
            .hint("may this user execute it, and is it not on a noexec mount?"),
        // the file is there: what the kernel misses is what it is to be run by
        Errno::ENOENT => {
            let (what, hint) = match missing_interpreter(file) {
                Some(Interpreter::OfScript(path)) if path.ends_with('\r') => (
                    format!("its script interpreter {path:?} is missing in the container"),
                    "the lines of the script end as on Windows; `sed -i 's/\\r$//' FILE` makes them end as here",
                ),
                Some(Interpreter::OfScript(path)) => (
                    format!("its script interpreter {path} is missing in the container"),
                    "use an image that has it, or a program that needs none",
                ),
                Some(Interpreter::OfProgram(path)) => (
                    format!("its ELF interpreter {path} is missing in the container"),
                    "a dynamically linked program needs an image with its libc, or to be linked statically",
                ),
                None => ("its interpreter is missing in the container".to_owned(), "use an image that has it"),
            };
            no(Kind::CommandNotFound, what).hint(hint)
        }
        Errno::ENOEXEC => {
            let (what, hint) = wrong_format(file);
            // which whoever knows the image may say more of
            Error { errno: Some(e.errno as i32), ..no(Kind::CommandNotExecutable, what).hint(hint) }
        }
        _ => no(Kind::CommandNotExecutable, e.to_string()).hint("execve(2) tells what this error means"),
    }
}

fn has_x_bit(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

/// As much of a file as the kernel looks at first (include/uapi/linux/binfmts.h, BINPRM_BUF_SIZE), and program headers.
const HEAD: usize = 4096;

fn head(file: &Path) -> Vec<u8> {
    let mut buffer = vec![0; HEAD];
    let length = std::fs::File::open(file).ok().and_then(|open| event::read_some(&open, &mut buffer).ok()).unwrap_or(0);
    buffer.truncate(length);
    buffer
}

#[derive(Debug, PartialEq, Eq)]
enum Interpreter {
    /// Of the line that begins with `#!`.
    OfScript(String),
    /// The dynamic loader of an ELF program, PT_INTERP.
    OfProgram(String),
}

impl Interpreter {
    fn path(&self) -> &Path {
        let (Interpreter::OfScript(path) | Interpreter::OfProgram(path)) = self;
        Path::new(path)
    }
}

/// The first that is not there: a script's interpreter may be a script or a dynamic program itself.
fn missing_interpreter(file: &Path) -> Option<Interpreter> {
    /// fs/exec.c, exec_binprm.
    const DEEPEST: usize = 5;
    let mut file = file.to_owned();
    for _ in 0..=DEEPEST {
        let next = interpreter(&file)?;
        if !next.path().exists() {
            return Some(next);
        }
        file = next.path().to_owned();
    }
    None
}

fn interpreter(file: &Path) -> Option<Interpreter> {
    let head = head(file);
    let Some(line) = head.strip_prefix(b"#!") else { return elf_interpreter(&head).map(Interpreter::OfProgram) };
    // a carriage return is part of the name (fs/binfmt_script.c)
    let line = String::from_utf8_lossy(line.split(|b| *b == b'\n').next()?).into_owned();
    line.split([' ', '\t']).find(|word| !word.is_empty()).map(|word| Interpreter::OfScript(word.to_owned()))
}

/// Where the fields of a little-endian ELF are, by their offsets (elf(5)): of 64 and of 32 bits.
struct Layout {
    word: usize,
    table: usize,
    entry_size: usize,
    entries: usize,
    /// In an entry of the table.
    offset: usize,
    length: usize,
}

const ELF64: Layout = Layout { word: 8, table: 32, entry_size: 54, entries: 56, offset: 8, length: 32 };
const ELF32: Layout = Layout { word: 4, table: 28, entry_size: 42, entries: 44, offset: 4, length: 16 };

/// PT_INTERP of a little-endian ELF.
fn elf_interpreter(head: &[u8]) -> Option<String> {
    const PT_INTERP: usize = 3;
    let number = |at: usize, size: usize| -> Option<usize> {
        let bytes = head.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0, |all, byte| all << 8 | usize::from(*byte)))
    };
    let layout = match head.get(..6)? {
        b"\x7fELF\x02\x01" => ELF64,
        b"\x7fELF\x01\x01" => ELF32,
        _ => return None,
    };
    let (table, size) = (number(layout.table, layout.word)?, number(layout.entry_size, 2)?);
    let mut entries = (0..number(layout.entries, 2)?).map_while(|i| table.checked_add(i * size));
    let entry = entries.find(|at| number(*at, 4) == Some(PT_INTERP))?;
    let (offset, length) = (number(entry + layout.offset, layout.word)?, number(entry + layout.length, layout.word)?);
    let path = head.get(offset..offset.checked_add(length)?)?;
    Some(String::from_utf8_lossy(path).trim_end_matches('\0').to_owned())
}

/// ELF machine numbers (elf(5), e_machine) in the words of images.
const MACHINES: [(u8, &str); 7] =
    [(3, "386"), (22, "s390x"), (21, "ppc64le"), (40, "arm"), (62, "amd64"), (183, "arm64"), (243, "riscv64")];

/// What helps where a program is for another processor.
pub const FOR_OTHERS: &str =
    "use an image for this machine, or install qemu-user-static: with binfmt_misc it runs programs for others";

/// Why, and a hint.
fn wrong_format(file: &Path) -> (String, &'static str) {
    let head = head(file);
    let machine = head.strip_prefix(b"\x7fELF").and_then(|_| head.get(18)).copied();
    let name = machine.and_then(|m| MACHINES.iter().find(|(number, _)| *number == m)).map(|(_, name)| name);
    let host = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    match name {
        Some(name) if *name != host => {
            (format!("exec format error: the program is {name}, the host {host}"), FOR_OTHERS)
        }
        _ => (
            "exec format error: neither a program for this machine nor a script with `#!`".to_owned(),
            "use an image for this machine; a script needs `#!` and its interpreter in the first line",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_searched_in_the_path_and_a_path_is_not() {
        let env = ["PATH=/a".to_owned(), "PATH=/b::/c".to_owned()];
        let found: Vec<_> = candidates("sh", &env).iter().map(|p| p.display().to_string()).collect();
        assert_eq!(found, ["/b/sh", "./sh", "/c/sh"]);
        assert_eq!(candidates("./sh", &env), [Path::new("./sh")]);
        assert!(candidates("", &env).is_empty());
    }

    #[test]
    fn the_missing_interpreter_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            std::fs::write(dir.path().join(name), content).unwrap();
            dir.path().join(name)
        };
        let of_script = |path: &str| Some(Interpreter::OfScript(path.to_owned()));
        let of_program = |path: &str| Some(Interpreter::OfProgram(path.to_owned()));
        let mut elf64 = vec![0_u8; 256];
        elf64[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (elf64[32], elf64[54], elf64[56]) = (64, 56, 1);
        (elf64[64], elf64[72], elf64[96]) = (3, 200, 4);
        elf64[200..204].copy_from_slice(b"/ld\0");
        let mut elf32 = elf64.clone();
        (elf32[4], elf32[28], elf32[42], elf32[44]) = (1, 64, 32, 1);
        (elf32[68], elf32[80]) = (200, 4);
        let dynamic = file("dynamic", &elf64);
        for (script, want) in [
            (file("script", b"#! /no/such/shell -e\n"), of_script("/no/such/shell")),
            (file("windows", b"#!/no/such/sh\r\n"), of_script("/no/such/sh\r")),
            (file("no line", b"#!\n"), None),
            (file("elf32", &elf32), of_program("/ld")),
            (file("of a dynamic one", format!("#!{}\n", dynamic.display()).as_bytes()), of_program("/ld")),
            (file("itself", format!("#!{}/itself", dir.path().display()).as_bytes()), None),
            (dynamic, of_program("/ld")),
        ] {
            assert_eq!(missing_interpreter(&script), want, "{}", script.display());
        }
    }

    #[test]
    fn a_header_that_lies_names_nothing() {
        let mut elf = vec![0xff_u8; 128];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        assert_eq!(elf_interpreter(&elf), None);
    }

    #[test]
    fn another_machine_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("program");
        let mut elf = vec![0_u8; 64];
        elf[..4].copy_from_slice(b"\x7fELF");
        elf[18] = 22;
        std::fs::write(&file, &elf).unwrap();
        let (what, hint) = wrong_format(&file);
        assert!(what.contains("the program is s390x") && hint.contains("binfmt_misc"), "{what}: {hint}");
    }
}
