//! `cp`: between a container and the host, by docker's rules. Both sides are trees that others may change meanwhile; a
//! tar stream goes from one to the other.

use super::paths::{self, There};
use super::{Access, Held, hold, is_missing};
use crate::error::{Errno, Error, Result, SysResult};
use crate::image::files::{Ids, Links, Mounts, Owners, Placing, Special, pack, place};
use crate::ops::Progress;
use crate::state::Roots;
use crate::sys::fs::{self, Root};
use crate::sys::{at, host};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A path as given; a relative one starts at the container's root.
    Container { name: String, path: String },
    /// Absolute, with the slash or `/.` that it was given with.
    Host(String),
    /// A tar on the standard input or output.
    Stream,
}

/// One `minirun cp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyRequest {
    pub from: End,
    pub to: End,
    pub follow: Follow,
    pub owners: CopyOwners,
}

/// Whether a source that is a link is followed (`-L`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    No,
    Yes,
}

/// Whose the copies are: who calls, and root in a container; or as they were (`-a`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyOwners {
    Receiver,
    Kept,
}

/// Copies; gives the bytes of the tar stream between, or `None` where one end is a stream itself.
pub fn copy(roots: &Roots, request: &CopyRequest, progress: &dyn Progress) -> Result<Option<u64>> {
    match (&request.from, &request.to) {
        (End::Container { name, path }, to) => {
            let held = hold(roots, name)?;
            let source = source_inside(&held, path, request.follow)?;
            match to {
                End::Stream => source.pack(Out).map(|()| None),
                End::Host(to) => to_host(&source, to, request.owners, progress).map(Some),
                End::Container { .. } => Err(Error::user("cp does not copy between containers")
                    .hint(format!("minirun cp {name}:{path} - | minirun cp - OTHER:DIR"))),
            }
        }
        (from, End::Container { name, path }) => {
            let held = hold(roots, name)?;
            match from {
                End::Stream => unpack_into(&held, path, request.owners, progress).map(|()| None),
                End::Host(from) => into_container(&held, from, path, request, progress).map(Some),
                End::Container { .. } => Err(Error::internal("a copy from a container as one from the host")),
            }
        }
        _ => Err(Error::user("one of the two must be a path in a container").hint("minirun cp CONTAINER:SRC DEST")),
    }
}

/// What is copied.
struct Source {
    found: OwnedFd,
    kind: libc::mode_t,
    name: String,
    ids: Ids,
}

impl Source {
    /// `instead` tells how a file of the kernel's is had, which has no length before it is read.
    fn new(found: OwnedFd, path: &str, ids: Ids, instead: &str) -> Result<Source> {
        let kind = fs::stat_fd(&found)?.st_mode & libc::S_IFMT;
        if kind == libc::S_IFSOCK {
            return Err(Error::user(format!("{path} is a socket")).hint("only what is bound to it can use it"));
        }
        if at::is_of_kernel(&found)? && kind != libc::S_IFLNK {
            return Err(Error::user(format!("cannot copy {path}: the kernel makes it up as it is read")).hint(instead));
        }
        Ok(Source { found, kind, name: paths::base(path), ids })
    }

    fn is_dir(&self) -> bool {
        self.kind == libc::S_IFDIR
    }

    fn pack(&self, out: impl Write) -> Result<()> {
        self.pack_as(&self.name, out)
    }

    fn pack_as(&self, name: &str, out: impl Write) -> Result<()> {
        pack(BufWriter::with_capacity(BUFFER, out), &self.found, Path::new(name), Mounts::Enter, self.ids)
    }
}

const BUFFER: usize = 128 << 10;

fn source_inside(held: &Held<'_>, path: &str, follow: Follow) -> Result<Source> {
    let (root, path_there) = held.reach(path, Access::Read)?;
    let found = match follow {
        Follow::No => root.name_fd(Path::new(&path_there)),
        Follow::Yes => root.path_fd(Path::new(&path_there)),
    };
    let instead = format!("minirun exec {} cat {path} > FILE", held.config.name);
    Source::new(found.map_err(|e| not_found(e, path, held))?, path, held.ids, &instead)
}

fn not_found(e: crate::error::SysError, path: &str, held: &Held<'_>) -> Error {
    let name = &held.config.name;
    match e.errno {
        Errno::ELOOP => Error::user(format!("too many symbolic links in {path} of container {name}")),
        errno if is_missing(errno) => Error::user(format!("could not find the file {path} in container {name}"))
            .hint(format!("`minirun diff {name}` lists what it has changed")),
        _ => Error::from(e).during(format!("{path} in container {name}")),
    }
}

fn to_host(source: &Source, to: &str, owners: CopyOwners, progress: &dyn Progress) -> Result<u64> {
    if matches!(source.kind, libc::S_IFCHR | libc::S_IFBLK) {
        return Err(Error::user("devices of a container are not made on the host").hint("a tar has them: … -"));
    }
    let (to, there) = resolve(to, to, fs::name_fd)?;
    let (dir, name) = paths::target(source.is_dir(), &source.name, &to, there)?;
    let root = Root::open(Path::new(&dir)).map_err(|e| match is_missing(e.errno) {
        true => Error::user(format!("invalid output path: directory {dir:?} does not exist"))
            .hint(format!("mkdir -p {}", crate::shell::quote(&dir))),
        false => e.into(),
    })?;
    let (owners, special) = match owners {
        CopyOwners::Kept => (Owners::Kept, Special::NoDevices),
        CopyOwners::Receiver => (Owners::All { uid: host::uid(), gid: host::gid() }, Special::Dropped),
    };
    let placing = Placing { root: &root, dir: Path::new(""), links: Links::Refused, owners, ids: Ids::SAME, special };
    transfer(source, &name, &placing, progress)
}

fn into_container(
    held: &Held<'_>,
    from: &str,
    to: &str,
    request: &CopyRequest,
    progress: &dyn Progress,
) -> Result<u64> {
    let found = match request.follow {
        Follow::Yes => fs::path_fd(Path::new(from)),
        Follow::No => fs::name_fd(Path::new(from)),
    };
    let found = found.map_err(|e| match e.errno {
        errno if is_missing(errno) => {
            Error::user(format!("no such file or directory: {from}")).hint("is it spelled right?")
        }
        _ => e.into(),
    })?;
    let source = Source::new(
        found,
        from,
        Ids::SAME,
        &format!("minirun exec -i {} sh -c 'cat > FILE' < {from}", held.config.name),
    )?;
    let (root, path) = held.reach(to, Access::Write)?;
    let shown = format!("{}:{to}", held.config.name);
    let (path, there) = resolve(&path, &shown, |path| root.name_fd(path))?;
    let (dir, name) = paths::target(source.is_dir(), &source.name, &path, there)?;
    root.dir_fd(Path::new(&dir)).map_err(|e| no_directory(e, &dir, held))?;
    transfer(&source, &name, &placing_inside(held, &root, &dir, request.owners), progress)
        .map_err(|e| read_only(e, held))
}

fn unpack_into(held: &Held<'_>, to: &str, owners: CopyOwners, progress: &dyn Progress) -> Result<()> {
    let (root, path) = held.reach(to, Access::Write)?;
    let shown = format!("{}:{to}", held.config.name);
    let (path, there) = resolve(&path, &shown, |path| root.name_fd(path))?;
    if there != There::Directory {
        return Err(Error::user(format!("destination {shown:?} must be a directory"))
            .hint("a tar stream is unpacked into one that exists"));
    }
    let input = BufReader::with_capacity(BUFFER, std::io::stdin().lock());
    let left_out = place(input, &placing_inside(held, &root, &path, owners)).map_err(|e| read_only(e, held))?;
    left_out.iter().for_each(|what| progress.warn(&format!("left out: {what}")));
    Ok(())
}

fn placing_inside<'a>(held: &Held<'_>, root: &'a Root, dir: &'a str, owners: CopyOwners) -> Placing<'a> {
    let owners = match owners {
        CopyOwners::Kept => Owners::Kept,
        CopyOwners::Receiver => Owners::All { uid: 0, gid: 0 },
    };
    Placing { root, dir: Path::new(dir), links: Links::Inside, owners, ids: held.ids, special: Special::Kept }
}

fn no_directory(e: crate::error::SysError, dir: &str, held: &Held<'_>) -> Error {
    let name = &held.config.name;
    match is_missing(e.errno) {
        true => Error::user(format!("could not find the directory {dir} in container {name}"))
            .hint(format!("minirun exec {name} mkdir -p {}", crate::shell::quote(dir))),
        false => e.into(),
    }
}

fn read_only(e: Error, held: &Held<'_>) -> Error {
    match e.is_errno(Errno::EROFS) {
        true => super::read_only_error(&held.config),
        false => e,
    }
}

/// As many links as the kernel follows in one path (include/linux/namei.h, MAXSYMLINKS).
const MAX_LINKS: usize = 40;

/// Follows the links at the destination: what stands there, and under which path. `shown` is what it was called.
fn resolve(path: &str, shown: &str, look: impl Fn(&Path) -> SysResult<OwnedFd>) -> Result<(String, There)> {
    let mut path = path.to_owned();
    for _ in 0..=MAX_LINKS {
        let found = match look(Path::new(&path)) {
            Err(e) if is_missing(e.errno) => return Ok((path, There::Nothing)),
            found => found.map_err(|e| Error::from(e).during(shown))?,
        };
        match fs::stat_fd(&found)?.st_mode & libc::S_IFMT {
            libc::S_IFDIR => return Ok((path, There::Directory)),
            libc::S_IFREG => return Ok((path, There::File)),
            libc::S_IFLNK => path = paths::follow(&path, &at::readlink_fd(&found)?.to_string_lossy()),
            _ => {
                return Err(Error::user(format!("destination {shown:?} must be a directory or a regular file"))
                    .hint("devices, FIFOs and sockets are not written to"));
            }
        }
    }
    Err(Error::user(format!("too many symbolic links in {shown}")))
}

/// Packs in one thread and places in this one.
fn transfer(source: &Source, name: &str, placing: &Placing<'_>, progress: &dyn Progress) -> Result<u64> {
    let (reader, writer) = std::io::pipe().map_err(|e| Error::host(format!("pipe: {e}")))?;
    let mut count = 0;
    let (placed, packed) = std::thread::scope(|scope| {
        let packing = scope.spawn(|| source.pack_as(name, writer));
        let placed = place(Counted(BufReader::with_capacity(BUFFER, reader), &mut count), placing);
        (placed, packing.join())
    });
    let packed = packed.map_err(|_| Error::internal("packing broke off"))?;
    match packed {
        // its reader has gone, and says why
        Err(e) if !(e.is_errno(Errno::EPIPE) && placed.is_err()) => return Err(e),
        _ => {}
    }
    placed?.iter().for_each(|what| progress.warn(&format!("left out: {what}")));
    Ok(count)
}

struct Counted<'a, R>(R, &'a mut u64);

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(buffer)?;
        *self.1 += count as u64;
        Ok(count)
    }
}

/// The standard output, which may be one that does not wait.
#[derive(Debug)]
pub(in crate::ops) struct Out;

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        crate::ops::write_all(&std::io::stdout(), bytes).map(|()| bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
