//! What a container has of its own on the disk: what it has changed above the layers of its image, or a copy of the image
//! where nothing can be laid over those.

use super::image::Found;
use crate::error::{Error, Result, SysResult};
use crate::id::{ContainerId, HostPath};
use crate::image::{Lower, Store, skeleton};
use crate::mount::plan::RootSource;
use crate::plan::root::Copy;
use crate::spec::request::{RunRequest, Source};
use crate::state::Roots;
use crate::sys::fs::{self, Root};
use crate::sys::usage;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Made by the container's first start, or by what is copied into it before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Own {
    Nothing,
    /// The upper directory of an overlay.
    Upper(HostPath),
    /// A whole root.
    Copy(HostPath),
}

pub(super) fn upper(roots: &Roots, id: &ContainerId) -> HostPath {
    roots.container(id).child("upper")
}

pub(super) fn work(roots: &Roots, id: &ContainerId) -> HostPath {
    roots.container(id).child("work")
}

pub(super) fn copy(roots: &Roots, id: &ContainerId) -> HostPath {
    roots.container(id).child("rootfs")
}

pub(super) fn own(roots: &Roots, id: &ContainerId) -> Own {
    let (copy, upper) = (copy(roots, id), upper(roots, id));
    match (fs::exists(copy.as_path()), fs::exists(upper.as_path())) {
        (true, _) => Own::Copy(copy),
        (false, true) => Own::Upper(upper),
        (false, false) => Own::Nothing,
    }
}

/// Where a container's root is, and what is to be done for that.
pub(super) struct Ground {
    pub(super) root: RootSource,
    /// Where its image is looked at.
    pub(super) image: RootSource,
    pub(super) directories: Vec<(HostPath, u32)>,
    pub(super) copy: Option<Copy>,
}

/// One that was started before has all of it, and its root the mode that it gave it.
pub(super) fn ground(roots: &Roots, id: &ContainerId, request: &RunRequest, found: &Found) -> Result<Ground> {
    let of = |root, image| Ground { root, image, directories: Vec::new(), copy: None };
    let lower = match (&request.source, &found.lower) {
        (Source::Rootfs(dir), _) => {
            let dir = RootSource::Directory(dir.clone());
            return Ok(of(dir.clone(), dir));
        }
        (Source::Image(_), Some(lower)) => lower,
        (Source::Image(_), None) => return Err(Error::internal("an image without a root")),
    };
    // a crash of the host loses what goes at the container's end anyway
    let volatile = request.remove;
    let (upper, work, own) = (upper(roots, id), work(roots, id), own(roots, id));
    let over = RootSource::Overlay { lower: lower.dirs().to_vec(), upper: upper.clone(), work: work.clone(), volatile };
    let image = match lower {
        Lower::Layers(_) => over.clone(),
        Lower::Whole(dir) => RootSource::Directory(dir.clone()),
    };
    Ok(match (own, lower) {
        (Own::Copy(dir), _) => of(RootSource::Directory(dir), image),
        (Own::Upper(_), _) => of(over, image),
        (Own::Nothing, Lower::Layers(_)) => {
            Ground { directories: vec![(upper, mode_of_root(found)), (work, 0o700)], ..of(over, image) }
        }
        (Own::Nothing, Lower::Whole(whole)) => {
            let copy = to_make(roots, id, whole, volatile);
            Ground { copy: Some(copy.clone()), ..of(RootSource::Directory(copy.to), image) }
        }
    })
}

/// The copy that a container begins with.
pub(super) fn to_make(roots: &Roots, id: &ContainerId, image: &HostPath, volatile: bool) -> Copy {
    Copy { image: image.clone(), below: Store::look(&roots.root).skeleton(), to: copy(roots, id), volatile }
}

/// The mode of the image's root directory; 755 where it is not known.
fn mode_of_root(found: &Found) -> u32 {
    let stat = found.root.as_ref().and_then(|root| root.stat(Path::new("/")).ok());
    stat.map_or(0o755, |stat| stat.st_mode & 0o7777)
}

impl Own {
    /// Its files in bytes; while others write them, what can be seen.
    pub(super) fn size(&self) -> u64 {
        match self {
            Own::Nothing => 0,
            Own::Upper(dir) | Own::Copy(dir) => usage::of_tree(dir.as_path()).unwrap_or(0),
        }
    }

    /// What of its root is neither the image's nor the container's: places that every root gets, below its root.
    pub(super) fn added(&self, lower: &Lower) -> Result<BTreeSet<PathBuf>> {
        let mut theirs = lower.of_image().to_vec();
        let mut copy = None;
        match self {
            Own::Nothing => {}
            Own::Upper(dir) => theirs.push(dir.clone()),
            Own::Copy(dir) => copy = Some(Root::open(dir.as_path())?),
        }
        let theirs = theirs.iter().map(|dir| Root::open(dir.as_path())).collect::<SysResult<Vec<Root>>>()?;
        let stat = |root: &Root, path: &Path| root.name_fd(path).and_then(|found| fs::stat_fd(&found)).ok();
        let has = |root: &Root, path: &Path| {
            // a whiteout is none of theirs
            stat(root, path).is_some_and(|stat| stat.st_mode & libc::S_IFMT != libc::S_IFCHR)
        };
        // as they were made they are directories and empty files
        let has_written = |root: &Root, path: &Path| match stat(root, path) {
            Some(stat) if stat.st_mode & libc::S_IFMT == libc::S_IFDIR => false,
            Some(stat) => stat.st_mode & libc::S_IFMT != libc::S_IFREG || stat.st_size > 0,
            None => false,
        };
        let paths = skeleton::DIRECTORIES.iter().chain(&skeleton::FILES).map(Path::new);
        let is_added = |path: &&Path| {
            !theirs.iter().any(|root| has(root, path)) && !copy.as_ref().is_some_and(|root| has_written(root, path))
        };
        Ok(paths.filter(is_added).map(Path::to_owned).collect())
    }
}
