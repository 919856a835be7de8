//! The directory being written: a cursor that walks from directory to directory by descriptor. Links are followed
//! here, one component at a time and clamped to the root, so no path is ever resolved by the kernel as a whole; the
//! cursor itself only ever stands in real directories. Cost is linear in the bytes of the paths.

use super::attributes::{self, Attributes};
use super::below::{self, Merged};
use crate::error::{Errno, Error, Result, SysError, SysResult};
use crate::id::HostPath;
use crate::sys::{at, tree as systree};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

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
}

/// The tree of one layer, and the cursor in it.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    root: OwnedFd,
    /// The real directories from the root to the cursor.
    levels: Vec<Level>,
    /// How the archive spelled the cursor's directory last; a hint that is dropped where a link may have changed.
    spelled: Option<Vec<u8>>,
    layers_below: &'a [HostPath],
    /// What the layers below have at the cursor, where it was asked for.
    below: Option<Merged>,
    /// Whether the result depends on the layers below.
    pub looked_below: bool,
    /// Directories in the order they came, with the times they shall have when all is written.
    pub times: Vec<(Vec<u8>, at::Time)>,
}

/// What a name in the cursor's directory leads to when a directory is wanted.
enum Step {
    Dir(OwnedFd),
    Link(OsString),
}

impl<'a> Tree<'a> {
    pub(super) fn open(root: &HostPath, layers_below: &'a [HostPath]) -> Result<Tree<'a>> {
        let root = at::open_root(root.as_path())?;
        let (levels, times) = (Vec::new(), Vec::new());
        Ok(Tree { root, levels, spelled: None, layers_below, below: None, looked_below: false, times })
    }

    /// The descriptor of the cursor's directory.
    pub(super) fn here(&self) -> &OwnedFd {
        self.levels.last().and_then(|level| level.dir.as_ref()).unwrap_or(&self.root)
    }

    /// The cursor's real path, with a slash behind each component.
    pub(super) fn path(&self) -> Vec<u8> {
        self.levels.iter().fold(Vec::new(), |mut path, level| {
            path.extend(level.name.as_bytes());
            path.push(b'/');
            path
        })
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
            if self.levels.get(depth).is_some_and(|level| level.name == name) {
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
                    self.push(name, dir)?;
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

    /// Moves the cursor to a real path of this tree; `false` where it is none any more.
    pub(super) fn enter_real(&mut self, path: &[u8]) -> Result<bool> {
        self.spelled = None;
        let mut names: VecDeque<OsString> = components(path).collect();
        let same = self.levels.iter().zip(&names).take_while(|(level, name)| level.name == **name).count();
        self.leave_to(same)?;
        names.drain(..same);
        while !names.is_empty() {
            if self.enter_known(&mut names)? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
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
                        self.levels.push(Level { name: above, dir: None });
                    }
                    name
                });
                if count > 1 {
                    self.below = None;
                }
                self.push(last, dir)?;
                Ok(count)
            }
            Err(e) if matches!(e.errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(0),
            Err(e) => Err(named(e)),
        }
    }

    fn push(&mut self, name: OsString, dir: OwnedFd) -> Result<()> {
        if self.levels.len() >= MAX_DEPTH {
            return Err(Error::image(format!("directories more than {MAX_DEPTH} deep")));
        }
        self.below = match self.below.take() {
            Some(_) if below::is_opaque(&dir)? => Some(Merged::default()),
            Some(below) => Some(below.enter(&name)?),
            None => None,
        };
        self.levels.push(Level { name, dir: Some(dir) });
        if let Some(old) = self.levels.len().checked_sub(KEPT_LEVELS + 1)
            && old % KEPT_EVERY != 0
        {
            self.levels[old].dir = None;
        }
        Ok(())
    }

    /// Goes up until `depth` components are left, and opens that directory again where it was not kept.
    fn leave_to(&mut self, depth: usize) -> Result<()> {
        if depth < self.levels.len() {
            self.levels.truncate(depth);
            self.below = None;
        }
        if self.levels.last().is_some_and(|level| level.dir.is_none()) {
            let open = self.levels.iter().rposition(|level| level.dir.is_some());
            let start = open.and_then(|i| self.levels[i].dir.as_ref()).unwrap_or(&self.root);
            let names = self.levels[open.map_or(0, |i| i + 1)..].iter().map(|level| level.name.as_os_str());
            let dir = open_deep(start, names)?;
            if let Some(top) = self.levels.last_mut() {
                top.dir = Some(dir);
            }
        }
        Ok(())
    }

    /// One component down from the cursor.
    fn step(&mut self, name: &OsStr, time: at::Time) -> Result<Step> {
        match at::open_dir(self.here(), name) {
            Ok(dir) => return Ok(Step::Dir(dir)),
            Err(e) if matches!(e.errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
            Err(e) => return Err(named(e)),
        }
        match at::stat(self.here(), name)? {
            None => self.imply(name, time),
            Some(stat) if below::kind(&stat) == libc::S_IFLNK => Ok(Step::Link(at::readlink(self.here(), name)?)),
            // a file or whiteout of this layer stands where a later member wants a directory: the last one wins
            Some(_) => {
                self.remove(name)?;
                let dir = self.make_dir(name, &Attributes::plain_dir(time), time)?;
                at::set_xattr(&dir, below::OPAQUE, b"y").map_err(attributes::overlay_form)?;
                Ok(Step::Dir(dir))
            }
        }
    }

    /// A directory that the archive takes for granted: the one of the layers below, or their link, or a plain one.
    fn imply(&mut self, name: &OsStr, time: at::Time) -> Result<Step> {
        let found = match self.below()?.find(name)? {
            None => None,
            Some(found) if below::kind(&found.stat) == libc::S_IFLNK => {
                return Ok(Step::Link(at::readlink(found.parent, name)?));
            }
            Some(found) if below::kind(&found.stat) == libc::S_IFDIR => {
                Some(Attributes::read(&at::open_dir(found.parent, name)?)?)
            }
            Some(_) => None,
        };
        let attributes = found.unwrap_or_else(|| Attributes::plain_dir(time));
        let time = attributes.time;
        self.make_dir(name, &attributes, time).map(Step::Dir)
    }

    /// A new directory in the cursor's; its times are set when all is written.
    pub(super) fn make_dir(&mut self, name: &OsStr, attributes: &Attributes, time: at::Time) -> Result<OwnedFd> {
        at::mkdir(self.here(), name)?;
        let dir = at::open_dir(self.here(), name)?;
        attributes.apply_fd(&dir)?;
        self.times_of(name, time);
        Ok(dir)
    }

    pub(super) fn times_of(&mut self, name: &OsStr, time: at::Time) {
        let mut path = self.path();
        path.extend(name.as_bytes());
        self.times.push((path, time));
    }

    /// What the layers below have at the cursor.
    pub(super) fn below(&mut self) -> Result<&Merged> {
        self.looked_below = true;
        let below = match self.below.take() {
            Some(below) => below,
            None => self.find_below()?,
        };
        Ok(self.below.insert(below))
    }

    fn find_below(&self) -> Result<Merged> {
        if self.layers_below.is_empty() || below::is_opaque(&self.root)? {
            return Ok(Merged::default());
        }
        let mut merged = Merged::roots(self.layers_below)?;
        let mut dir = None;
        for level in &self.levels {
            if merged.is_empty() {
                break;
            }
            let own = at::open_dir(dir.as_ref().unwrap_or(&self.root), &level.name)?;
            merged = if below::is_opaque(&own)? { Merged::default() } else { merged.enter(&level.name)? };
            dir = Some(own);
        }
        Ok(merged)
    }

    /// Nothing below the cursor's directory shows through any more.
    pub(super) fn hide_below(&mut self) -> Result<()> {
        at::set_xattr(self.here(), below::OPAQUE, b"y").map_err(attributes::overlay_form)?;
        self.below = None;
        Ok(())
    }

    /// Removes an entry of the cursor's directory, whatever it is.
    pub(super) fn remove(&mut self, name: &OsStr) -> SysResult<()> {
        self.spelled = None;
        systree::remove_at(self.here(), name)
    }
}

/// The directory at the end of these components, all of them real directories.
fn open_deep<'n>(start: &OwnedFd, names: impl Iterator<Item = &'n OsStr>) -> SysResult<OwnedFd> {
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
    at::open_dir(dir.as_ref().unwrap_or(start), OsStr::from_bytes(&path))
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
