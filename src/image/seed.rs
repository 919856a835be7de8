//! A directory of an image's root, or all of it, copied out of it: contents, modes, owners, times, extended attributes,
//! links as they are. The tree is not trusted: links are followed inside its root to the directory itself, and none below
//! that. Bytes are shared with the image where the file system can (copy_file_range(2)).

use super::layer::Attributes;
use crate::error::{During as _, Errno, Error, Result, SysResult};
use crate::id::{ContainerPath, HostPath};
use crate::sys::fs::Root;
use crate::sys::record::Durability;
use crate::sys::{at, data, fs, tree};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

/// Copies what is below `source` into the empty directory `to`, which becomes like it. Nothing where there is no such
/// directory.
pub fn directory(root: &Root, source: &ContainerPath, to: &HostPath) -> Result<()> {
    let copying = || format!("copying {source} of the image");
    let Some(from) = open(root, source).during(copying)? else { return Ok(()) };
    all(from, to).during(copying)
}

/// Makes `to`, a copy of the root `image` over what is `below` it, lowest first: whole or not at all.
pub fn root(image: &HostPath, below: &HostPath, to: &HostPath, durability: Durability) -> Result<()> {
    let part = HostPath::parse(&format!("{to}.part"))?;
    fs::remove_tree(part.as_path())?; // of one who was killed
    fs::mkdir(part.as_path(), 0o700)?;
    let copied = [below, image].into_iter().try_for_each(|from| all(at::open_root(from.as_path())?, &part));
    if let Err(error) = copied {
        fs::remove_tree(part.as_path())?; // the room is needed
        return Err(error.during(format!("copying the image to {to}")));
    }
    if durability == Durability::Disk {
        at::syncfs(&at::open_root(part.as_path())?)?;
    }
    Ok(fs::rename(part.as_path(), to.as_path())?)
}

fn all(from: OwnedFd, to: &HostPath) -> Result<()> {
    let to = at::open_root(to.as_path())?;
    Copy { from, to, dirs: vec![PathBuf::from(".")], links: HashMap::new() }.all()
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
            match at::stat(to, name)?.is_some_and(|there| there.st_mode & libc::S_IFMT == libc::S_IFDIR) {
                true => {} // of what was copied before
                false => put(to, name, || at::mkdir(to, name))?,
            }
            self.dirs.push(path.to_owned());
            return Ok(());
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                let (dir, first) = (first.parent().unwrap_or(Path::new(".")), first.file_name().unwrap_or_default());
                let dir = at::open_dir(&self.to, dir.as_os_str())?;
                return put(to, name, || at::link(&dir, first, to, name));
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.to_owned());
        }
        match kind {
            libc::S_IFREG => regular(from, to, name),
            libc::S_IFLNK => {
                let target = at::readlink(from, name)?;
                put(to, name, || at::symlink(&target, to, name))?;
                Attributes::bare(&stat).apply_link(to, name)
            }
            _ => {
                let (major, minor) = (libc::major(stat.st_rdev), libc::minor(stat.st_rdev));
                put(to, name, || at::mknod(to, name, SFlag::from_bits_truncate(kind), major, minor))?;
                Attributes::bare(&stat).apply_node(to, name)
            }
        }
    }
}

/// Makes an entry; what was copied before makes room for it.
fn put<T>(to: &OwnedFd, name: &OsStr, make: impl Fn() -> SysResult<T>) -> Result<T> {
    match make() {
        Err(e) if e.errno == Errno::EEXIST => {
            tree::remove_at(to, name)?;
            Ok(make()?)
        }
        made => Ok(made?),
    }
}

fn regular(from: &OwnedFd, to: &OwnedFd, name: &OsStr) -> Result<()> {
    let source = at::open_file(from, name)?;
    let copy = put(to, name, || at::create_file(to, name))?;
    data::copy(&source, &copy).map_err(|e| Error::from(e).hint("is there room below /var/lib/minirun?"))?;
    let attributes = Attributes::read(&source.as_fd())?;
    attributes.apply_fd(&copy)?;
    Ok(at::set_times_fd(&copy, attributes.time)?)
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
    fn a_root_is_copied_over_what_is_below_it_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| HostPath::parse(dir.path().join(name).to_str().unwrap()).unwrap();
        let write = |name: &str, text: &str| {
            let file = dir.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        [("below/dev/x", ""), ("below/etc/hosts", ""), ("below/etc/name", ""), ("below/sys", "")]
            .iter()
            .chain(&[("image/dev", "file"), ("image/etc/hosts", "image"), ("image/sys/y", "")])
            .chain(&[("to.part/left", "of one who was killed")])
            .for_each(|(name, text)| write(name, text));
        std::fs::set_permissions(dir.path().join("image"), std::fs::Permissions::from_mode(0o2711)).unwrap();
        root(&path("image"), &path("below"), &path("to"), Durability::Memory).unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join("to").join(name)).unwrap();
        assert_eq!((read("dev"), read("etc/hosts"), read("etc/name")), ("file".into(), "image".into(), "".into()));
        assert_eq!(fs::list(path("to").as_path()).unwrap(), ["dev", "etc", "sys"]);
        for name in ["", "etc", "etc/hosts", "sys/y"] {
            let stat = |root: &str| {
                let metadata = std::fs::metadata(dir.path().join(root).join(name)).unwrap();
                (metadata.mode(), metadata.mtime(), metadata.mtime_nsec())
            };
            assert_eq!(stat("to"), stat("image"), "{name}");
        }
        std::fs::set_permissions(dir.path().join("to"), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(root(&path("nothing"), &path("below"), &path("other"), Durability::Memory).is_err());
        assert!(!dir.path().join("other").exists() && !dir.path().join("other.part").exists());
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
