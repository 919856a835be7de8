//! Whiteouts of what the layer does not hold. Whether they hide anything is asked of the layers below when the whole
//! layer has been read, or when something else must know first: those below may still be on their way. One that hides
//! nothing is left out, for overlayfs lists it.

use super::{Tree, open_deep};
use crate::error::{Errno, Result};
use crate::image::layer::{attributes, below};
use crate::sys::at;
use nix::sys::stat::SFlag;
use std::ffi::{OsStr, OsString};

/// Bytes that are remembered; an archive may have whiteouts without end.
const REMEMBERED: usize = 4 << 20;
/// What a name takes besides its own bytes, and a directory besides its names; no less.
const NAME: usize = 64;
const DIRECTORY: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Whiteouts {
    /// Real directories, from the root on, and what is hidden in each.
    dirs: Vec<(Vec<OsString>, Vec<OsString>)>,
    bytes: usize,
    /// Whether the last of them is the cursor's.
    pub(super) here: bool,
}

impl Tree<'_> {
    /// Hides what the layers below have under this name in the cursor's directory.
    pub(in super::super) fn hide_name(&mut self, name: &OsStr) -> Result<()> {
        if !self.whiteouts.here {
            let path: Vec<OsString> = self.levels[1..].iter().map(|level| level.name.clone()).collect();
            self.whiteouts.bytes += DIRECTORY + path.iter().map(|name| name.len() + NAME).sum::<usize>();
            self.whiteouts.dirs.push((path, Vec::new()));
            self.whiteouts.here = true;
        }
        self.whiteouts.bytes += name.len() + NAME;
        if let Some((_, names)) = self.whiteouts.dirs.last_mut() {
            names.push(name.to_owned());
        }
        if self.whiteouts.bytes > REMEMBERED {
            self.make_whiteouts()?;
        }
        Ok(())
    }

    /// Makes those that are remembered, where they hide something; before anything else is asked of the layers below.
    /// Whether there were any.
    pub(in super::super) fn make_whiteouts(&mut self) -> Result<bool> {
        let all = std::mem::take(&mut self.whiteouts);
        if all.dirs.is_empty() {
            return Ok(false);
        }
        self.looked_below = true;
        self.below = None; // less of it may show through now
        for (path, names) in all.dirs {
            let dir = match open_deep(&self.root, path.iter().map(OsString::as_os_str)) {
                Ok(dir) => dir,
                // something else has come to stand there, and hides what is below
                Err(e) if matches!(e.errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
                Err(e) => return Err(e.into()),
            };
            let merged = self.merged_at(path.iter().map(OsString::as_os_str))?;
            let stat = at::stat_fd(&dir)?;
            for name in &names {
                if merged.find(name)?.is_none() {
                    continue;
                }
                match at::stat(&dir, name)? {
                    Some(stat) if below::kind(&stat) == libc::S_IFDIR => self.hide(&at::open_dir(&dir, name)?)?,
                    Some(_) => {}
                    None => at::mknod(&dir, name, SFlag::S_IFCHR, 0, 0).map_err(attributes::overlay_form)?,
                }
            }
            at::set_times_fd(&dir, at::Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec })?;
        }
        Ok(true)
    }
}
