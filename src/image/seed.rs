//! A directory of an image's root, copied out of it: contents, modes, owners, times, extended attributes, links as they
//! are. The tree is not trusted: links are followed inside its root to the directory itself, and none below that.

use super::layer::Attributes;
use crate::error::{During as _, Errno, Error, Result};
use crate::id::{ContainerPath, HostPath};
use crate::sys::fs::Root;
use crate::sys::{at, data};
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

/// Copies what is below `source` into the empty directory `to`, which becomes like it. Nothing where there is no such
/// directory.
pub fn directory(root: &Root, source: &ContainerPath, to: &HostPath) -> Result<()> {
    let copying = || format!("copying {source} of the image");
    let Some(from) = open(root, source).during(copying)? else { return Ok(()) };
    let mut copy =
        Copy { from, to: at::open_root(to.as_path())?, dirs: vec![PathBuf::from(".")], links: HashMap::new() };
    copy.all().during(copying)
}

/// Whether the image has a directory there.
pub fn has_directory(root: &Root, source: &ContainerPath) -> Result<bool> {
    Ok(open(root, source)?.is_some())
}

fn open(root: &Root, source: &ContainerPath) -> Result<Option<OwnedFd>> {
    match root.open_at(Path::new(source.as_str()), OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty()) {
        Err(e) if matches!(e.errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
        opened => Ok(opened.map(Some)?),
    }
}

struct Copy {
    from: OwnedFd,
    to: OwnedFd,
    /// Below both, each before what is in it.
    dirs: Vec<PathBuf>,
    /// Where the first name of a file that has several was copied to, by the file.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Copy {
    fn all(&mut self) -> Result<()> {
        let mut done = 0;
        while let Some(dir) = self.dirs.get(done).cloned() {
            done += 1;
            let (from, to) = self.open(&dir)?;
            for (name, _) in at::entries(at::open_dir(&from, OsStr::new("."))?)? {
                let path = dir.join(&name);
                self.entry(&from, &to, &name, &path).map_err(|e| e.during(path.display()))?;
            }
        }
        // last, for what is made in a directory changes its time, and would inherit from its attributes
        for dir in self.dirs.iter().rev() {
            let (from, to) = self.open(dir)?;
            let attributes = Attributes::read(&from)?;
            attributes.apply_fd(&to)?;
            at::set_times_fd(&to, attributes.time)?;
        }
        Ok(())
    }

    fn open(&self, dir: &Path) -> Result<(OwnedFd, OwnedFd)> {
        Ok((at::open_dir(&self.from, dir.as_os_str())?, at::open_dir(&self.to, dir.as_os_str())?))
    }

    fn entry(&mut self, from: &OwnedFd, to: &OwnedFd, name: &OsStr, path: &Path) -> Result<()> {
        let Some(stat) = at::stat(from, name)? else { return Ok(()) };
        let kind = stat.st_mode & libc::S_IFMT;
        if kind == libc::S_IFDIR {
            at::mkdir(to, name)?;
            self.dirs.push(path.to_owned());
            return Ok(());
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                let (dir, first) = (first.parent().unwrap_or(Path::new(".")), first.file_name().unwrap_or_default());
                let dir = at::open_dir(&self.to, dir.as_os_str())?;
                return Ok(at::link(&dir, first, to, name)?);
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.to_owned());
        }
        match kind {
            libc::S_IFREG => regular(from, to, name),
            libc::S_IFLNK => {
                at::symlink(&at::readlink(from, name)?, to, name)?;
                attributes(&stat).apply_link(to, name)
            }
            _ => {
                let (major, minor) = (libc::major(stat.st_rdev), libc::minor(stat.st_rdev));
                at::mknod(to, name, SFlag::from_bits_truncate(kind), major, minor)?;
                attributes(&stat).apply_node(to, name)
            }
        }
    }
}

fn regular(from: &OwnedFd, to: &OwnedFd, name: &OsStr) -> Result<()> {
    let source = at::open_file(from, name)?;
    let copy = at::create_file(to, name)?;
    data::copy(&source, &copy).map_err(|e| Error::from(e).hint("is there room below /var/lib/minirun?"))?;
    let attributes = Attributes::read(&source.as_fd())?;
    attributes.apply_fd(&copy)?;
    Ok(at::set_times_fd(&copy, attributes.time)?)
}

/// Those of what has no extended ones.
fn attributes(stat: &FileStat) -> Attributes {
    let time = at::Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec };
    let mode = stat.st_mode & 0o7777;
    Attributes { uid: stat.st_uid, gid: stat.st_gid, mode, xattrs: Vec::new(), time }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::symlink;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    fn source(text: &str) -> ContainerPath {
        ContainerPath::parse(text).unwrap()
    }

    #[test]
    fn links_stay_links_and_a_file_with_two_names_stays_one() {
        let dir = tempfile::tempdir().unwrap();
        let (root, to) = (dir.path().join("root"), dir.path().join("to"));
        std::fs::create_dir_all(root.join("d/deep/er")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(root.join("d/deep/file"), "text").unwrap();
        std::fs::hard_link(root.join("d/deep/file"), root.join("d/same")).unwrap();
        symlink("/etc/passwd", &root.join("d/absolute")).unwrap();
        symlink("../../../up", &root.join("d/deep/up")).unwrap();
        std::fs::set_permissions(root.join("d/deep"), std::fs::Permissions::from_mode(0o2711)).unwrap();
        std::fs::set_permissions(root.join("d"), std::fs::Permissions::from_mode(0o1777)).unwrap();
        let open = Root::open(&root).unwrap();
        let host = HostPath::parse(to.to_str().unwrap()).unwrap();
        directory(&open, &source("/d"), &host).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("deep/file")).unwrap(), "text");
        let inode = |name: &str| std::fs::symlink_metadata(to.join(name)).unwrap().ino();
        assert_eq!(inode("deep/file"), inode("same"));
        assert_eq!(std::fs::read_link(to.join("absolute")).unwrap(), Path::new("/etc/passwd"));
        assert_eq!(std::fs::read_link(to.join("deep/up")).unwrap(), Path::new("../../../up"));
        let stat =
            |path: &Path| std::fs::metadata(path).map(|m| (m.mode(), m.uid(), m.mtime(), m.mtime_nsec())).unwrap();
        for name in [".", "deep", "deep/er"] {
            assert_eq!(stat(&to.join(name)), stat(&root.join("d").join(name)), "{name}");
        }
    }

    #[test]
    fn a_target_that_leads_out_leads_to_the_root_itself() {
        let dir = tempfile::tempdir().unwrap();
        let (root, to) = (dir.path().join("root"), dir.path().join("to"));
        std::fs::create_dir_all(root.join("inside")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(dir.path().join("secret"), "outside").unwrap();
        symlink("../../../../..", &root.join("out")).unwrap();
        let open = Root::open(&root).unwrap();
        directory(&open, &source("/out"), &HostPath::parse(to.to_str().unwrap()).unwrap()).unwrap();
        assert!(to.join("inside").is_dir() && to.join("out").is_symlink() && !to.join("secret").exists());
        assert!(!has_directory(&open, &source("/missing")).unwrap() && has_directory(&open, &source("/out")).unwrap());
    }
}
