//! The directory being written: a cursor that walks from directory to directory by descriptor. Links are followed
//! here, one component at a time and clamped to the root, so no path is ever resolved by the kernel as a whole; the
//! cursor itself only ever stands in real directories. Cost is linear in the bytes of the paths.

mod make;
mod whiteouts;

use super::below::{self, Merged};
use super::flat::Flat;
use super::{Below, Form};
use crate::error::{Errno, Error, Result, SysError, SysResult};
use crate::id::HostPath;
use crate::sys::{at, host};
use std::cell::OnceCell;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use whiteouts::Whiteouts;

/// The kernel's own limit of links in one path (include/linux/namei.h, MAXSYMLINKS).
const MAX_LINKS: usize = 40;
/// Deeper trees than this exist in attacks only; 4096 is more than any path the kernel takes could name.
const MAX_DEPTH: usize = 4096;
/// Descriptors are kept for the last levels and for every so manieth, so that depth costs no descriptors.
const KEPT_LEVELS: usize = 8;
const KEPT_EVERY: usize = 128;
/// A path for one openat2: below PATH_MAX.
const CHUNK: usize = 3500;

#[derive(Debug)]
struct Level {
    name: OsString,
    dir: Option<OwnedFd>,
    /// What was looked up of the directory when something was to be changed in it.
    known: Option<Known>,
    /// Its key among the paths of the flat form.
    key: u64,
}

/// A directory in which something is changed.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// The time it shall have when the cursor leaves it.
    time: at::Time,
    /// Whether that is still to be set.
    changed: bool,
    /// Whether what is made in it belongs to who makes it, and not to the directory's group.
    plain: bool,
}

/// The tree of one layer, or of all of an image, and the cursor in it.
pub(super) struct Tree<'a> {
    root: OwnedFd,
    /// The root, and the real directories from there to the cursor.
    levels: Vec<Level>,
    /// How the archive spelled the cursor's directory last; a hint that is dropped where a link may have changed.
    spelled: Option<Vec<u8>>,
    /// User and group of what this process makes.
    own: (u32, u32),
    layers_below: Option<Below<'a>>,
    /// What that says, once it was asked.
    dirs_below: OnceCell<Vec<HostPath>>,
    /// What the layers below have at the cursor, where it was asked for.
    below: Option<Merged>,
    /// Whether the result depends on the layers below.
    pub looked_below: bool,
    whiteouts: Whiteouts,
    /// In the flat form, what this layer has written.
    flat: Option<Flat>,
}

/// What a name in the cursor's directory leads to when a directory is wanted.
enum Step {
    Dir(OwnedFd),
    Link(OsString),
}

impl<'a> Tree<'a> {
    pub(super) fn open(root: &HostPath, form: Form<'a>) -> Result<Tree<'a>> {
        let root = at::open_root(root.as_path())?;
        forget_acls(&root)?;
        let (layers_below, flat) = match form {
            Form::Overlay(below) => (Some(below), None),
            Form::Flat => (None, Some(Flat::default())),
        };
        let dir = root.try_clone().map_err(|e| Error::host(format!("dup: {e}")))?;
        let levels = vec![Level { name: OsString::new(), dir: Some(dir), known: None, key: 0 }];
        let own = (host::uid(), host::gid());
        let whiteouts = Whiteouts::default();
        let (spelled, below, dirs_below, looked_below) = (None, None, OnceCell::new(), false);
        Ok(Tree { root, levels, spelled, own, layers_below, dirs_below, below, looked_below, whiteouts, flat })
    }

    /// The descriptor of the cursor's directory.
    pub(super) fn here(&self) -> &OwnedFd {
        self.levels.last().and_then(|level| level.dir.as_ref()).unwrap_or(&self.root)
    }

    /// The same for changing something in it, which will not show in its time.
    pub(super) fn change(&mut self) -> SysResult<&OwnedFd> {
        let known = match self.levels.last().and_then(|level| level.known) {
            Some(known) => Known { changed: true, ..known },
            None => {
                let stat = at::stat_fd(self.here())?;
                let time = at::Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec };
                self.known(time, stat.st_mode, stat.st_gid)
            }
        };
        if let Some(level) = self.levels.last_mut() {
            level.known = Some(known);
        }
        Ok(self.here())
    }

    /// A directory that shall have `time`; a new entry gets its group where it says so, by its own mode or by the
    /// mount option `grpid` (which shows where its group is not ours).
    fn known(&self, time: at::Time, mode: u32, gid: u32) -> Known {
        Known { time, changed: true, plain: mode & libc::S_ISGID == 0 && gid == self.own.1 }
    }

    /// User and group of what is made at the cursor, where they are known.
    pub(super) fn owner_of_new(&self) -> Option<(u32, u32)> {
        let known = self.levels.last().and_then(|level| level.known);
        known.filter(|known| known.plain).map(|_| self.own)
    }

    /// Moves the cursor to `dir` as the archive spells it: links are followed inside the root, what is missing is
    /// made as the layers below have it, or as root's directory of mode 755 with time `time`.
    pub(super) fn enter(&mut self, dir: &[u8], time: at::Time) -> Result<()> {
        if self.spelled.as_deref() == Some(dir) {
            return Ok(());
        }
        self.spelled = None;
        let mut pending: VecDeque<OsString> = components(dir).collect();
        let mut depth = 0usize;
        let mut links = 0;
        // most directories are there already, and then one call goes many levels down
        let mut stepwise = false;
        while let Some(name) = pending.pop_front() {
            if name.as_bytes() == b".." {
                depth = depth.saturating_sub(1);
                continue;
            }
            if self.levels.get(depth + 1).is_some_and(|level| level.name == name) {
                depth += 1;
                continue;
            }
            self.leave_to(depth)?;
            if !stepwise {
                pending.push_front(name);
                let entered = self.enter_known(&mut pending)?;
                stepwise = entered == 0;
                depth += entered;
                continue;
            }
            match self.step(&name, time)? {
                Step::Dir(dir) => {
                    self.push(name, dir, None)?;
                    depth += 1;
                }
                Step::Link(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Error::image(format!("too many symbolic links in {}", lossy(dir))));
                    }
                    if target.as_bytes().starts_with(b"/") {
                        depth = 0;
                    }
                    for part in components(target.as_bytes()).collect::<Vec<_>>().into_iter().rev() {
                        pending.push_front(part);
                    }
                }
            }
        }
        self.leave_to(depth)?;
        self.spelled = Some(dir.to_vec());
        Ok(())
    }

    /// Goes down as many of these components as fit into one call, if all of them are real directories; takes them
    /// from `names` and gives their number, or 0.
    fn enter_known(&mut self, names: &mut VecDeque<OsString>) -> Result<usize> {
        let mut path = Vec::new();
        let mut count = 0;
        for name in names.iter().take_while(|name| name.as_bytes() != b"..") {
            if count > 0 && path.len() + name.len() > CHUNK {
                break;
            }
            if count > 0 {
                path.push(b'/');
            }
            path.extend(name.as_bytes());
            count += 1;
        }
        match at::open_dir(self.here(), OsStr::from_bytes(&path)) {
            Ok(dir) => {
                let last = names.drain(..count).fold(OsString::new(), |above, name| {
                    if !above.is_empty() {
                        self.add_level(above, None, None);
                    }
                    name
                });
                if count > 1 {
                    self.below = None;
                }
                self.push(last, dir, None)?;
                Ok(count)
            }
            Err(e) if matches!(e.errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(0),
            Err(e) => Err(named(e)),
        }
    }

    fn push(&mut self, name: OsString, dir: OwnedFd, known: Option<Known>) -> Result<()> {
        if self.levels.len() > MAX_DEPTH {
            return Err(Error::image(format!("directories more than {MAX_DEPTH} deep")));
        }
        self.below = match self.below.take() {
            Some(_) if below::is_opaque(&dir)? => Some(Merged::default()),
            Some(below) => Some(below.enter(&name)?),
            None => None,
        };
        self.add_level(name, Some(dir), known);
        if let Some(old) = self.levels.len().checked_sub(KEPT_LEVELS + 1)
            && old % KEPT_EVERY != 0
        {
            self.levels[old].settle()?;
            self.levels[old].dir = None;
        }
        Ok(())
    }

    fn add_level(&mut self, name: OsString, dir: Option<OwnedFd>, known: Option<Known>) {
        self.whiteouts.here = false;
        let above = self.key();
        let key = self.flat.as_mut().map_or(0, |flat| flat.add(above, &name));
        self.levels.push(Level { name, dir, known, key });
    }

    /// Goes up until `depth` components are left, and opens that directory again where it was not kept.
    fn leave_to(&mut self, depth: usize) -> Result<()> {
        while self.levels.len() > depth + 1 {
            if let Some(mut level) = self.levels.pop() {
                level.settle()?;
            }
            self.below = None;
            self.whiteouts.here = false;
        }
        if self.levels.last().is_some_and(|level| level.dir.is_none()) {
            let open = self.levels.iter().rposition(|level| level.dir.is_some()).unwrap_or(0);
            let start = self.levels[open].dir.as_ref().unwrap_or(&self.root);
            let names = self.levels[open + 1..].iter().map(|level| level.name.as_os_str());
            let dir = open_deep(start, names)?;
            if let Some(top) = self.levels.last_mut() {
                top.dir = Some(dir);
            }
        }
        Ok(())
    }

    /// Leaves every directory, so that each has the time it shall have, and makes the whiteouts.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.spelled = None;
        self.leave_to(0)?;
        self.levels.iter_mut().try_for_each(Level::settle)?;
        self.make_whiteouts()?;
        Ok(())
    }

    /// In the flat form: what was written until now is what the layers below have.
    pub(super) fn begin_layer(&mut self) -> Result<()> {
        self.finish()?;
        self.flat = self.flat.as_ref().map(|_| Flat::default());
        Ok(())
    }
}

impl Level {
    /// Gives the directory its time, where something was changed in it.
    fn settle(&mut self) -> SysResult<()> {
        if let (Some(dir), Some(known)) = (&self.dir, &mut self.known)
            && known.changed
        {
            at::set_times_fd(dir, known.time)?;
            known.changed = false;
        }
        Ok(())
    }
}

/// The directory at the end of these components, all of them real directories; a new description of `start` without.
pub(super) fn open_deep<'n>(start: &OwnedFd, names: impl Iterator<Item = &'n OsStr>) -> SysResult<OwnedFd> {
    let mut dir: Option<OwnedFd> = None;
    let mut path = Vec::new();
    for name in names {
        if path.len() + name.len() > CHUNK {
            dir = Some(at::open_dir(dir.as_ref().unwrap_or(start), OsStr::from_bytes(&path))?);
            path.clear();
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend(name.as_bytes());
    }
    let path = if path.is_empty() { b"." } else { &path[..] };
    at::open_dir(dir.as_ref().unwrap_or(start), OsStr::from_bytes(path))
}

/// A default ACL of the directory above, which a new directory inherits and all that is made in it (acl(5), "Object
/// creation and default ACLs"), is the host's and not the image's.
fn forget_acls(root: &OwnedFd) -> SysResult<()> {
    [&b"system.posix_acl_default"[..], b"system.posix_acl_access"].iter().try_for_each(|name| {
        match at::remove_xattr(root, name) {
            Err(e) if e.errno == Errno::EOPNOTSUPP => Ok(()),
            removed => removed,
        }
    })
}

/// The components of a path, without empty ones and `.`; `..` stays.
pub(super) fn components(path: &[u8]) -> impl Iterator<Item = OsString> + '_ {
    path.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".").map(|p| OsString::from_vec(p.to_vec()))
}

/// A name that the kernel does not take is the image's fault.
pub(super) fn named(e: SysError) -> Error {
    match e.errno {
        Errno::ENAMETOOLONG | Errno::EINVAL | Errno::ENOENT => Error::image(e.to_string()),
        _ => e.into(),
    }
}

/// A name from an archive for an error message: at most 200 characters, controls escaped.
pub(super) fn lossy(path: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(path).chars().take(200).collect();
    format!("{text:?}")
}
