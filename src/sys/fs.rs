//! Files: plain host paths of our own, and [`Root`], the one way into a directory tree that is not trusted.

use super::{named, named_io};
use crate::error::SysResult;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::{FileStat, Mode};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// A directory tree that is not trusted (an image, a container's root). Every path is resolved by the
/// kernel inside it: absolute links and `..` stay in (openat2(2), RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS).
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    /// Opens a directory of our own as the root of an untrusted tree.
    pub fn open(dir: &Path) -> SysResult<Root> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        named(open(dir, flags, Mode::empty()), || format!("open({dir:?}, O_PATH)")).map(Root)
    }

    pub fn from_fd(fd: OwnedFd) -> Root {
        Root(fd)
    }

    pub fn try_clone(&self) -> SysResult<Root> {
        named_io(self.0.try_clone(), || "dup(root)".into()).map(Root)
    }

    /// Opens `path` (absolute or relative, both start at the root).
    pub fn open_at(&self, path: &Path, flags: OFlag, mode: Mode) -> SysResult<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .mode(mode)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        retry_again(|| {
            named(nix::fcntl::openat2(&self.0, path, how), || format!("openat2({path:?}, {flags:?}, RESOLVE_IN_ROOT)"))
        })
    }

    /// A descriptor that only names the object (O_PATH); follows links inside the root.
    pub fn path_fd(&self, path: &Path) -> SysResult<OwnedFd> {
        self.open_at(path, OFlag::O_PATH, Mode::empty())
    }

    /// The same for what stands at the path itself, be it a link; a slash at the end follows it, as everywhere.
    pub fn name_fd(&self, path: &Path) -> SysResult<OwnedFd> {
        self.open_at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW, Mode::empty())
    }

    /// A directory for making things in; links are followed inside the root.
    pub fn dir_fd(&self, path: &Path) -> SysResult<OwnedFd> {
        self.open_at(path, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty())
    }

    /// The same below the root by plain directories alone: a link on the way is ELOOP, `..` EXDEV.
    pub fn plain_dir_fd(&self, path: &Path) -> SysResult<OwnedFd> {
        let resolve =
            ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).resolve(resolve);
        retry_again(|| {
            named(nix::fcntl::openat2(&self.0, path, how), || format!("openat2({path:?}, RESOLVE_NO_SYMLINKS)"))
        })
    }

    /// A device or file inside, for both directions, which does not become the controlling terminal.
    pub fn open_read_write(&self, path: &Path) -> SysResult<OwnedFd> {
        self.open_at(path, OFlag::O_RDWR | OFlag::O_NOCTTY, Mode::empty())
    }

    /// What `path` is, links followed inside the root.
    pub fn stat(&self, path: &Path) -> SysResult<FileStat> {
        let fd = self.path_fd(path)?;
        named(nix::sys::stat::fstat(&fd), || format!("fstat({path:?})"))
    }

    /// Reads a regular file of at most `limit` bytes. A FIFO, device or directory is EINVAL, and never blocks us;
    /// a longer file is EFBIG.
    pub fn read(&self, path: &Path, limit: u64) -> SysResult<Vec<u8>> {
        use std::io::Read as _;
        let fd = self.open_at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY, Mode::empty())?;
        let stat = named(nix::sys::stat::fstat(&fd), || format!("fstat({path:?})"))?;
        let refuse = |errno| named(Err(errno), || format!("read({path:?})"));
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            return refuse(nix::Error::EINVAL);
        }
        if stat.st_size as u64 > limit {
            return refuse(nix::Error::EFBIG);
        }
        let mut bytes = Vec::with_capacity(stat.st_size as usize);
        named_io(File::from(fd).take(limit).read_to_end(&mut bytes), || format!("read({path:?})"))?;
        Ok(bytes)
    }

    /// Makes `path` and every missing directory above it with `mode`; gives a descriptor of the last one.
    /// Each component is made below a descriptor of its parent, so a link on the way stays inside the root.
    pub fn mkdir_all(&self, path: &Path, mode: u32) -> SysResult<OwnedFd> {
        let directory = OFlag::O_PATH | OFlag::O_DIRECTORY;
        match self.open_at(path, directory, Mode::empty()) {
            Err(e) if e.errno == nix::Error::ENOENT => {}
            done => return done,
        }
        let (parent, name) = split(path);
        let parent = self.mkdir_all(&parent, mode)?;
        match nix::sys::stat::mkdirat(&parent, name.as_path(), Mode::from_bits_truncate(mode)) {
            Ok(()) | Err(nix::Error::EEXIST) => {}
            Err(errno) => return named(Err(errno), || format!("mkdirat({path:?})")),
        }
        self.open_at(path, directory, Mode::empty())
    }

    /// Makes an empty regular file where nothing is, with the directories above it; gives a descriptor of it.
    pub fn touch(&self, path: &Path, dir_mode: u32, mode: u32) -> SysResult<OwnedFd> {
        match self.path_fd(path) {
            Err(e) if e.errno == nix::Error::ENOENT => {}
            done => return done,
        }
        let (parent, _) = split(path);
        self.mkdir_all(&parent, dir_mode)?;
        drop(self.open_at(
            path,
            OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_NOFOLLOW,
            Mode::from_bits_truncate(mode),
        )?);
        self.path_fd(path)
    }

    /// Makes a node: `mode` has the file type in it. The mode is set whatever the umask; what stands there stays.
    pub fn mknod(&self, path: &Path, mode: u32, device: (u64, u64), owner: (u32, u32)) -> SysResult<()> {
        use nix::sys::stat::{FchmodatFlags, SFlag};
        let (parent, name) = split(path);
        let parent = self.open_at(&parent, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty())?;
        let (kind, bits) = (SFlag::from_bits_truncate(mode & libc::S_IFMT), Mode::from_bits_truncate(mode & 0o7777));
        let call = || format!("mknodat({path:?}, {mode:o}, {}:{})", device.0, device.1);
        match nix::sys::stat::mknodat(
            &parent,
            name.as_path(),
            kind,
            bits,
            libc::makedev(device.0 as u32, device.1 as u32),
        ) {
            Err(nix::Error::EEXIST) => return Ok(()),
            made => named(made, call)?,
        }
        named(nix::sys::stat::fchmodat(&parent, name.as_path(), bits, FchmodatFlags::FollowSymlink), call)?;
        let (uid, gid) = (nix::unistd::Uid::from_raw(owner.0), nix::unistd::Gid::from_raw(owner.1));
        named(nix::unistd::fchownat(&parent, name.as_path(), Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW), call)
    }

    /// Makes a symbolic link; what stands there stays.
    pub fn symlink(&self, to: &str, path: &Path) -> SysResult<()> {
        let (parent, name) = split(path);
        let parent = self.open_at(&parent, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty())?;
        match nix::unistd::symlinkat(to, &parent, name.as_path()) {
            Err(nix::Error::EEXIST) => Ok(()),
            made => named(made, || format!("symlinkat({to:?}, {path:?})")),
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Root> for OwnedFd {
    fn from(root: Root) -> OwnedFd {
        root.0
    }
}

/// Parent and last component, without `.` and trailing slashes; the root's parent is the root.
pub(crate) fn split(path: &Path) -> (PathBuf, PathBuf) {
    let parts: Vec<Component<'_>> =
        path.components().filter(|c| !matches!(c, Component::CurDir | Component::RootDir)).collect();
    match parts.split_last() {
        None => (PathBuf::from("/"), PathBuf::from(".")),
        Some((last, above)) => {
            (Path::new("/").join(above.iter().collect::<PathBuf>()), PathBuf::from(last.as_os_str()))
        }
    }
}

/// openat2 with RESOLVE_IN_ROOT gives EAGAIN when a rename elsewhere raced it (openat2(2)); a few tries are enough.
fn retry_again<T>(mut open: impl FnMut() -> SysResult<T>) -> SysResult<T> {
    const TRIES: usize = 128;
    for _ in 1..TRIES {
        match open() {
            Err(e) if e.errno == nix::Error::EAGAIN => {}
            done => return done,
        }
    }
    open()
}

/// A path that reaches the open file itself, for calls that take only paths (mount(2), stat through a kept descriptor).
pub fn proc_path(fd: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

pub fn read(path: &Path) -> SysResult<Vec<u8>> {
    let fd = open_read(path)?;
    // as much as most of ours have, so that one call reads them; files of /proc do not say how long they are
    let mut bytes = vec![0; 8192];
    let mut length = 0;
    loop {
        match nix::unistd::read(&fd, &mut bytes[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(nix::Error::EINTR) => continue,
            Err(errno) => return named(Err(errno), || format!("read({path:?})")),
        }
        if length == bytes.len() {
            bytes.resize(2 * length, 0);
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// open(2), made of openat(2): musl's own asks for FD_CLOEXEC a second time, for kernels older than 2.6.23.
pub(super) fn open(path: &Path, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    nix::fcntl::openat(nix::fcntl::AT_FDCWD, path, flags, mode)
}

/// Bytes that are not UTF-8 become U+FFFD: for /proc and /sys files, which are ASCII but for names.
pub fn read_text(path: &Path) -> SysResult<String> {
    read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes an existing file in one write(2), as cgroup and sysctl files want it.
pub fn write_existing(path: &Path, text: &str) -> SysResult<()> {
    let fd =
        named(open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()), || format!("open({path:?}, O_WRONLY)"))?;
    named(nix::unistd::write(&fd, text.as_bytes()), || format!("write({path:?}, {text:?})")).map(drop)
}

/// Opens a file or directory of our own for reading.
pub fn open_read(path: &Path) -> SysResult<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    named(open(path, flags, Mode::empty()), || format!("open({path:?}, O_RDONLY)"))
}

/// /dev/null for both directions.
pub fn open_device_null() -> SysResult<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    named(open(Path::new("/dev/null"), flags, Mode::empty()), || "open(\"/dev/null\", O_RDWR)".into())
}

/// Sets the bits that new files never get (umask(2) cannot fail).
pub fn set_umask(bits: u32) {
    nix::sys::stat::umask(Mode::from_bits_truncate(bits));
}

/// Writes a file of our own, whatever stood there.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> SysResult<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = open(path, flags, Mode::from_bits_truncate(mode));
    let fd = named(fd, || format!("open({path:?}, O_CREAT, {mode:o})"))?;
    super::event::write_all(&fd, bytes)
}

/// Writes a file that must not be there yet.
pub fn create_new(path: &Path, bytes: &[u8]) -> SysResult<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let fd = open(path, flags, Mode::from_bits_truncate(0o644));
    super::event::write_all(&named(fd, || format!("open({path:?}, O_CREAT | O_EXCL)"))?, bytes)
}

/// One directory; EEXIST is an error.
pub fn mkdir(path: &Path, mode: u32) -> SysResult<()> {
    named(nix::unistd::mkdir(path, Mode::from_bits_truncate(mode)), || format!("mkdir({path:?}, {mode:o})"))
}

/// The directory and all above it; those that exist stay as they are.
pub fn mkdir_all(path: &Path, mode: u32) -> SysResult<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    named_io(std::fs::DirBuilder::new().recursive(true).mode(mode).create(path), || {
        format!("mkdir({path:?}, {mode:o})")
    })
}

/// Sets the mode, whatever the umask.
pub fn chmod(path: &Path, mode: u32) -> SysResult<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let permissions = std::fs::Permissions::from_mode(mode);
    named_io(std::fs::set_permissions(path, permissions), || format!("chmod({path:?}, {mode:o})"))
}

/// A FIFO of our own, and both its ends: `theirs` for a program that must never see the end of it or a SIGPIPE, `ours`
/// for reading without waiting (fifo(7): opened for both, a FIFO has a reader and a writer as long as that lives).
pub fn fifo_out(path: &Path) -> SysResult<(OwnedFd, OwnedFd)> {
    mkfifo(path)?;
    Ok((open_flags(path, OFlag::O_RDWR)?, fifo_reader(path)?))
}

/// The reading end of a FIFO that is there.
pub fn fifo_reader(path: &Path) -> SysResult<OwnedFd> {
    open_flags(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)
}

/// A FIFO of our own for a program's input: `theirs` waits and ends as a pipe does, `ours` never waits.
pub fn fifo_in(path: &Path) -> SysResult<(OwnedFd, OwnedFd)> {
    mkfifo(path)?;
    // a reader first, or opening for writing fails; then an end that waits, for which a writer must be there
    let reader = fifo_reader(path)?;
    let ours = fifo_writer(path)?;
    let theirs = open_flags(path, OFlag::O_RDONLY)?;
    drop(reader);
    Ok((theirs, ours))
}

/// The writing end of a FIFO that somebody reads; ENXIO where nobody does.
pub fn fifo_writer(path: &Path) -> SysResult<OwnedFd> {
    open_flags(path, OFlag::O_WRONLY | OFlag::O_NONBLOCK)
}

fn mkfifo(path: &Path) -> SysResult<()> {
    named(nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o600)), || format!("mkfifo({path:?})"))
}

fn open_flags(path: &Path, flags: OFlag) -> SysResult<OwnedFd> {
    named(open(path, flags | OFlag::O_CLOEXEC, Mode::empty()), || format!("open({path:?}, {flags:?})"))
}

/// Gives an open file to a user: a FIFO or terminal whose name in /proc the user may then open.
pub fn chown_fd(fd: &impl AsFd, uid: u32) -> SysResult<()> {
    named(nix::unistd::fchown(fd, Some(uid.into()), None), || format!("fchown({uid})"))
}

/// Appends to a file of our own, made where it is missing, mode 0600.
pub fn open_append(path: &Path) -> SysResult<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    named_io(File::options().create(true).append(true).mode(0o600).open(path), || format!("open({path:?}, O_APPEND)"))
}

/// The same for a file that is there; ENOENT where it is not.
pub fn open_append_existing(path: &Path) -> SysResult<File> {
    named_io(File::options().append(true).open(path), || format!("open({path:?}, O_APPEND)"))
}

/// Gives a file or directory of our own another name in one step.
pub fn rename(from: &Path, to: &Path) -> SysResult<()> {
    named_io(std::fs::rename(from, to), || format!("rename({from:?}, {to:?})"))
}

pub fn rmdir(path: &Path) -> SysResult<()> {
    named_io(std::fs::remove_dir(path), || format!("rmdir({path:?})"))
}

/// Removes a tree of our own; never follows links, never leaves the tree. Gone already is success.
pub fn remove_tree(path: &Path) -> SysResult<()> {
    super::tree::remove(path)
}

/// Removes a file. Gone already is success.
pub fn unlink(path: &Path) -> SysResult<()> {
    match nix::unistd::unlink(path) {
        Err(nix::Error::ENOENT) => Ok(()),
        done => named(done, || format!("unlink({path:?})")),
    }
}

/// Makes a symbolic link at `path`; EEXIST where anything stands there.
pub fn symlink(to: &str, path: &Path) -> SysResult<()> {
    named(nix::unistd::symlinkat(to, nix::fcntl::AT_FDCWD, path), || format!("symlink({to:?}, {path:?})"))
}

/// Where a link of our own points.
pub fn read_link(path: &Path) -> SysResult<String> {
    named(nix::fcntl::readlink(path), || format!("readlink({path:?})")).map(|to| to.to_string_lossy().into_owned())
}

pub fn exists(path: &Path) -> bool {
    nix::fcntl::openat(nix::fcntl::AT_FDCWD, path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).is_ok()
}

/// A descriptor of O_PATH of what stands at a path of the host itself, be it a link.
pub fn name_fd(path: &Path) -> SysResult<OwnedFd> {
    open_flags(path, OFlag::O_PATH | OFlag::O_NOFOLLOW)
}

/// The same, links followed.
pub fn path_fd(path: &Path) -> SysResult<OwnedFd> {
    open_flags(path, OFlag::O_PATH)
}

/// What `path` is, links followed.
pub fn stat(path: &Path) -> SysResult<FileStat> {
    named(nix::sys::stat::stat(path), || format!("stat({path:?})"))
}

/// What `path` is, without following a link.
pub fn lstat(path: &Path) -> SysResult<FileStat> {
    named(nix::sys::stat::lstat(path), || format!("lstat({path:?})"))
}

/// What an open descriptor names.
pub fn stat_fd(fd: &impl AsFd) -> SysResult<FileStat> {
    named(nix::sys::stat::fstat(fd), || "fstat()".into())
}

/// What `name` below `dir` is, without following a link.
pub fn stat_at(dir: &impl AsFd, name: &Path) -> SysResult<FileStat> {
    named(nix::sys::stat::fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW), || format!("fstatat({name:?})"))
}

/// The names in a directory of our own, sorted; a missing directory is empty.
pub fn list(path: &Path) -> SysResult<Vec<String>> {
    let entries = match std::fs::read_dir(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => named_io(entries, || format!("readdir({path:?})"))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = named_io(entry, || format!("readdir({path:?})"))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_root_is_never_left() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("root");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(dir.path().join("secret"), "outside").unwrap();
        std::fs::write(inside.join("secret"), "inside").unwrap();
        symlink("/secret", inside.join("absolute")).unwrap();
        symlink("../../../secret", inside.join("relative")).unwrap();
        let root = Root::open(&inside).unwrap();
        for path in ["absolute", "relative", "../secret", "/../../secret"] {
            assert_eq!(root.read(Path::new(path), 100).unwrap(), b"inside", "{path}");
        }
    }

    #[test]
    fn directories_are_made_behind_links_inside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        std::fs::create_dir(dir.path().join("var")).unwrap();
        symlink("/run", dir.path().join("var/run")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        root.mkdir_all(Path::new("/var/run/a/b"), 0o755).unwrap();
        assert!(dir.path().join("run/a/b").is_dir());
        root.touch(Path::new("x/y/file"), 0o755, 0o644).unwrap();
        assert!(dir.path().join("x/y/file").is_file());
    }

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&dir.path().join("fifo"), Mode::S_IRWXU).unwrap();
        std::fs::write(dir.path().join("long"), [0; 11]).unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(root.read(Path::new("fifo"), 10).unwrap_err().errno, nix::Error::EINVAL);
        assert_eq!(root.read(Path::new("long"), 10).unwrap_err().errno, nix::Error::EFBIG);
    }
}
