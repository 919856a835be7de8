//! Directories and removals at the cursor: what a layer takes for granted, what it replaces and what it hides, in either
//! form.

use super::super::attributes::{self, Attributes};
use super::super::below::{self, Merged};
use super::{Step, Tree, named};
use crate::error::{Errno, Result, SysResult};
use crate::sys::{at, tree as systree};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;

impl Tree<'_> {
    /// One component down from the cursor.
    pub(super) fn step(&mut self, name: &OsStr, time: at::Time) -> Result<Step> {
        match at::open_dir(self.here(), name) {
            Ok(dir) => return Ok(Step::Dir(dir)),
            Err(e) if matches!(e.errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
            Err(e) => return Err(named(e)),
        }
        match at::stat(self.here(), name)? {
            None if self.make_whiteouts()? => self.step(name, time),
            None => self.imply(name, time),
            Some(stat) if below::kind(&stat) == libc::S_IFLNK => Ok(Step::Link(at::readlink(self.here(), name)?)),
            // a file or whiteout stands where a later member wants a directory: the last one wins
            Some(_) => {
                self.remove(name)?;
                let dir = self.make_dir(name, &Attributes::plain_dir(time))?;
                self.hide(&dir)?;
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
        self.make_dir(name, &attributes).map(Step::Dir)
    }

    /// A new directory in the cursor's.
    fn make_dir(&mut self, name: &OsStr, attributes: &Attributes) -> Result<OwnedFd> {
        at::mkdir(self.change()?, name).map_err(named)?;
        let dir = at::open_dir(self.here(), name)?;
        attributes.apply_new(&dir, self.owner_of_new())?;
        at::set_times_fd(&dir, attributes.time)?;
        self.written(name);
        self.made(name);
        Ok(dir)
    }

    /// A member that is a directory: `spelled` is the archive's word for it, which becomes the cursor's directory.
    pub(in super::super) fn directory(&mut self, name: &OsStr, attributes: &Attributes, spelled: &[u8]) -> Result<()> {
        let mut replaced = false;
        let dir = loop {
            match at::mkdir(self.change()?, name) {
                Ok(()) => {
                    let dir = at::open_dir(self.here(), name)?;
                    attributes.apply_new(&dir, self.owner_of_new())?;
                    self.made(name);
                    break dir;
                }
                Err(e) if e.errno == Errno::EEXIST && !replaced => match at::open_dir(self.here(), name) {
                    Ok(dir) => {
                        attributes.apply_over(&dir)?;
                        break dir;
                    }
                    Err(e) if matches!(e.errno, Errno::ENOTDIR | Errno::ELOOP) => {
                        self.remove(name)?;
                        replaced = true;
                    }
                    Err(e) => return Err(e.into()),
                },
                Err(e) => return Err(named(e)),
            }
        };
        if replaced {
            // what was there hid the directory of the layers below, and it stays hidden
            self.hide(&dir)?;
        }
        self.written(name);
        if self.below.is_some() {
            // what was found out of the layers below is good for the next name in this directory
            return Ok(at::set_times_fd(&dir, attributes.time)?);
        }
        let known = self.known(attributes.time, attributes.mode, attributes.gid);
        self.push(name.to_owned(), dir, Some(known))?;
        let mut spelled = spelled.to_vec();
        if !spelled.ends_with(b"/") {
            spelled.push(b'/');
        }
        self.spelled = Some(spelled);
        Ok(())
    }

    /// The root's own member.
    pub(in super::super) fn root(&mut self, attributes: &Attributes) -> Result<()> {
        self.enter(b"", attributes.time)?;
        attributes.apply_over(self.here())?;
        let known = self.known(attributes.time, attributes.mode, attributes.gid);
        if let Some(level) = self.levels.last_mut() {
            level.known = Some(known);
        }
        Ok(())
    }

    /// What the layers below have at the cursor.
    pub(in super::super) fn below(&mut self) -> Result<&Merged> {
        self.looked_below = true;
        let below = match self.below.take() {
            Some(below) => below,
            None => self.merged_at(self.levels[1..].iter().map(|level| level.name.as_os_str()))?,
        };
        Ok(self.below.insert(below))
    }

    /// The same at another directory, by the names of the real directories that lead there.
    pub(super) fn merged_at<'n>(&self, names: impl Iterator<Item = &'n OsStr>) -> Result<Merged> {
        let Some(layers_below) = self.layers_below else { return Ok(Merged::default()) };
        if below::is_opaque(&self.root)? {
            return Ok(Merged::default());
        }
        let dirs = match self.dirs_below.get() {
            Some(dirs) => dirs,
            None => {
                let dirs = layers_below()?;
                self.dirs_below.get_or_init(|| dirs)
            }
        };
        let mut merged = Merged::roots(dirs)?;
        let mut dir = None;
        for name in names {
            if merged.is_empty() {
                break;
            }
            let own = at::open_dir(dir.as_ref().unwrap_or(&self.root), name)?;
            merged = if below::is_opaque(&own)? { Merged::default() } else { merged.enter(name)? };
            dir = Some(own);
        }
        Ok(merged)
    }

    /// Nothing of the layers below shows through this directory, which is new.
    pub(super) fn hide(&self, dir: &OwnedFd) -> Result<()> {
        match self.flat {
            Some(_) => Ok(()), // they are gone
            None => at::set_xattr(dir, below::OPAQUE, b"y").map_err(attributes::overlay_form),
        }
    }

    /// Nothing of the layers below shows any more in the cursor's directory, or in its directory `name`.
    pub(in super::super) fn hide_below(&mut self, name: Option<&OsStr>) -> Result<()> {
        self.change()?;
        let key = match (name, &self.flat) {
            (Some(name), Some(flat)) => flat.key(self.key(), name),
            _ => self.key(),
        };
        let named = match name {
            Some(name) => Some(at::open_dir(self.here(), name)?),
            None => None,
        };
        let fresh = self.is_fresh();
        let dir = named.as_ref().unwrap_or(match self.levels.last().and_then(|level| level.dir.as_ref()) {
            Some(dir) => dir,
            None => &self.root,
        });
        match &mut self.flat {
            Some(_) if fresh => {}
            Some(flat) => flat.clear(dir, key)?,
            None => at::set_xattr(dir, below::OPAQUE, b"y").map_err(attributes::overlay_form)?,
        }
        self.spelled = None;
        if name.is_none() {
            self.below = None;
        }
        Ok(())
    }

    /// Removes an entry of the cursor's directory, whatever it is.
    pub(in super::super) fn remove(&mut self, name: &OsStr) -> SysResult<()> {
        self.spelled = None;
        systree::remove_at(self.change()?, name)
    }
}

/// The flat form: what belongs to this layer.
impl Tree<'_> {
    pub(in super::super) fn is_flat(&self) -> bool {
        self.flat.is_some()
    }

    pub(super) fn key(&self) -> u64 {
        self.levels.last().map_or(0, |level| level.key)
    }

    /// Whether nothing of the layers below can be at the cursor.
    fn is_fresh(&self) -> bool {
        self.flat.as_ref().is_some_and(|flat| self.levels.iter().any(|level| flat.is_fresh(level.key)))
    }

    /// Remembers that an entry of the cursor's directory is this layer's.
    pub(in super::super) fn written(&mut self, name: &OsStr) {
        let above = self.key();
        if let Some(flat) = &mut self.flat {
            flat.add(above, name);
        }
    }

    pub(in super::super) fn is_written(&self, name: &OsStr) -> bool {
        self.flat.as_ref().is_some_and(|flat| flat.is_written(flat.key(self.key(), name)))
    }

    /// Remembers that a directory is new, so that nothing of the layers below is in it.
    fn made(&mut self, name: &OsStr) {
        let above = self.key();
        if let Some(flat) = &mut self.flat {
            flat.made(above, name);
        }
    }
}
