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
    let root = match &slots.root {
        Some(root) => root,
        None => {
            host_root = Root::open(Path::new("/"))?;
            &host_root
        }
    };
    let ptmx = root.open_read_write(Path::new("/dev/pts/ptmx"))?;
    let terminal = tty::open_peer(&ptmx)?;
    tty::set_size(&terminal, size)?;
    if slots.root.is_some() {
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
        Error::from(e).during(format!("working directory {path}")).kind(kind)
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
        None => not_found(name),
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

fn not_found(name: &str) -> Error {
    let shells = ["sh", "bash", "ash", "dash", "zsh"];
    let base = name.rsplit('/').next().unwrap_or_default();
    let error = if name.contains('/') {
        Error::new(Kind::CommandNotFound, format!("cannot execute {name}: no such file in the container"))
    } else {
        Error::new(Kind::CommandNotFound, format!("cannot execute {name:?}: executable file not found in $PATH"))
    };
    match shells.contains(&base) {
        true => error.hint("there is no shell in this image; run the program it was made for"),
        false => error.hint("look at what is inside with `minirun run --rm IMAGE ls`, or give the full path"),
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
        Errno::ENOENT => match interpreter(file) {
            Some(missing) => {
                no(Kind::CommandNotFound, format!("its interpreter {missing} is missing in the container"))
                    .hint("a dynamically linked program needs an image with its libc; a script needs its shell")
            }
            None => no(Kind::CommandNotFound, format!("no such file ({shown})")).hint("is the path right?"),
        },
        Errno::ENOEXEC => no(Kind::CommandNotExecutable, wrong_format(file))
            .hint("use an image for this machine; a script needs `#!` and its interpreter in the first line"),
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

/// The interpreter that a script (`#!`) or an ELF program (PT_INTERP) names.
fn interpreter(file: &Path) -> Option<String> {
    let head = head(file);
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|b| *b == b'\n').next()?;
        return Some(String::from_utf8_lossy(line).split_ascii_whitespace().next()?.to_owned());
    }
    elf_interpreter(&head)
}

/// PT_INTERP of a 64-bit little-endian ELF (elf(5)).
fn elf_interpreter(head: &[u8]) -> Option<String> {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, size: usize| -> Option<u64> {
        let bytes = head.get(at..at + size)?;
        Some(bytes.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte)))
    };
    head.strip_prefix(b"\x7fELF\x02\x01")?;
    let (table, size, count) = (number(32, 8)? as usize, number(54, 2)? as usize, number(56, 2)? as usize);
    let header = (0..count).map(|i| table + i * size).find(|at| number(*at, 4) == Some(PT_INTERP))?;
    let (offset, length) = (number(header + 8, 8)? as usize, number(header + 32, 8)? as usize);
    let path = head.get(offset..offset.checked_add(length)?)?;
    Some(String::from_utf8_lossy(path).trim_end_matches('\0').to_owned())
}

/// ELF machine numbers (elf(5), e_machine) in the words of images.
const MACHINES: [(u8, &str); 7] =
    [(3, "386"), (22, "s390x"), (21, "ppc64le"), (40, "arm"), (62, "amd64"), (183, "arm64"), (243, "riscv64")];

fn wrong_format(file: &Path) -> String {
    let head = head(file);
    let machine = head.strip_prefix(b"\x7fELF").and_then(|_| head.get(18)).copied();
    let name = machine.and_then(|m| MACHINES.iter().find(|(number, _)| *number == m)).map(|(_, name)| name);
    let host = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    match name {
        Some(name) if *name != host => format!("exec format error: the program is {name}, the host {host}"),
        _ => "exec format error: neither a program for this machine nor a script with `#!`".to_owned(),
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
        let script = dir.path().join("script");
        std::fs::write(&script, "#! /no/such/shell -e\n").unwrap();
        assert_eq!(interpreter(&script).as_deref(), Some("/no/such/shell"));
        let mut elf = vec![0_u8; 256];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (elf[32], elf[54], elf[56]) = (64, 56, 1);
        elf[64] = 3;
        (elf[72], elf[96]) = (200, 4);
        elf[200..204].copy_from_slice(b"/ld\0");
        assert_eq!(elf_interpreter(&elf).as_deref(), Some("/ld"));
    }

    #[test]
    fn another_machine_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("program");
        let mut elf = vec![0_u8; 64];
        elf[..4].copy_from_slice(b"\x7fELF");
        elf[18] = 22;
        std::fs::write(&file, &elf).unwrap();
        assert!(wrong_format(&file).contains("the program is s390x"));
    }
}
