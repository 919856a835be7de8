//! How much room a file system has; how many bytes a tree holds that somebody else fills, while they do: what goes meanwhile is not counted.

use super::at;
use super::fs::Root;
use crate::error::SysResult;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Bytes of all files and links below `dir`; what has several names counts once. No link is followed. A directory too
/// deep to be named in one call is left out: names are what a container can make without end, memory is not.
pub fn of_tree(dir: &Path) -> SysResult<u64> {
    let (mut seen, mut bytes) = (BTreeSet::new(), 0_u64);
    each(dir, &mut |stat, is_dir| {
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        // devices, FIFOs and sockets hold nothing
        let holds = matches!(kind, SFlag::S_IFREG | SFlag::S_IFLNK);
        if !is_dir && holds && (stat.st_nlink == 1 || seen.insert((stat.st_dev, stat.st_ino))) {
            bytes = bytes.saturating_add(stat.st_size.unsigned_abs());
        }
    })?;
    Ok(bytes)
}

/// Tells of everything below a directory, and whether it is a directory itself.
fn each(dir: &Path, tell: &mut dyn FnMut(&FileStat, bool)) -> SysResult<()> {
    let root = Root::open(dir)?;
    let mut todo = vec![PathBuf::from(".")];
    while let Some(path) = todo.pop() {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let Ok(here) = root.open_at(&path, flags, Mode::empty()) else { continue };
        for (name, _) in at::entries(super::duplicate(&here)?)? {
            let Ok(Some(stat)) = at::stat(&here, &name) else { continue };
            let is_dir = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
            tell(&stat, is_dir);
            if is_dir {
                todo.push(path.join(&name));
            }
        }
    }
    Ok(())
}

/// Bytes that something takes on the disk, with all below it where it is a directory. What has several names counts
/// once among all that `seen` was told of. No link is followed.
pub fn on_disk(path: &Path, seen: &mut BTreeSet<(u64, u64)>) -> SysResult<u64> {
    let stat = super::fs::lstat(path)?;
    let mut bytes = blocks(&stat);
    if stat.st_mode & libc::S_IFMT != libc::S_IFDIR {
        return Ok(if stat.st_nlink == 1 || seen.insert((stat.st_dev, stat.st_ino)) { bytes } else { 0 });
    }
    each(path, &mut |stat, is_dir| {
        if is_dir || stat.st_nlink == 1 || seen.insert((stat.st_dev, stat.st_ino)) {
            bytes = bytes.saturating_add(blocks(stat));
        }
    })?;
    Ok(bytes)
}

/// stat(2) counts in 512 bytes, whatever the file system's blocks are.
pub fn blocks(stat: &FileStat) -> u64 {
    512 * stat.st_blocks.unsigned_abs()
}

/// A file system as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filesystem {
    /// As in proc_filesystems(5), where its number is known; else that.
    pub name: String,
    /// Bytes that we may still write.
    pub free: u64,
    /// Files that can still be made; `None` where it does not count them.
    pub free_files: Option<u64>,
}

/// linux/magic.h and the file systems' own headers.
const MAGIC: [(i64, &str); 18] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x0102_1994, "tmpfs"),
    (0x8584_58f6, "ramfs"),
    (0x794c_7630, "overlay"),
    (0x2fc1_2fc1, "zfs"),
    (0xf2f5_2010, "f2fs"),
    (0xca45_1a4e, "bcachefs"),
    (0x7371_7368, "squashfs"),
    (0x6969, "nfs"),
    (0x517b, "smb"),
    (0xfe53_4d42, "smb"),
    (0xff53_4d42, "cifs"),
    (0x6573_5546, "fuse"),
    (0x4d44, "vfat"),
    (0x0102_1997, "9p"),
    (0xf15f, "ecryptfs"),
];

/// The file system on which something lies.
pub fn of_filesystem(at: &Path) -> SysResult<Filesystem> {
    let stat = super::named(nix::sys::statfs::statfs(at), || format!("statfs({at:?})"))?;
    // the number has as many bits as the machine has words, and a sign that means nothing
    let number = i64::from(stat.filesystem_type().0 as u32);
    let name = MAGIC.iter().find(|(magic, _)| *magic == number).map(|(_, name)| (*name).to_owned());
    #[allow(clippy::unnecessary_cast)] // signed in glibc, for which the fuzzer is built
    let free = stat.blocks_available().saturating_mul(stat.block_size() as u64);
    let counts = stat.files() > 0;
    Ok(Filesystem {
        name: name.unwrap_or_else(|| format!("{number:#x}")),
        free,
        free_files: counts.then(|| stat.files_free()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_once_and_links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b")).unwrap();
        std::fs::write(dir.path().join("outside"), [0; 1000]).unwrap();
        std::fs::write(tree.join("a/b/file"), [0; 100]).unwrap();
        std::fs::hard_link(tree.join("a/b/file"), tree.join("again")).unwrap();
        std::os::unix::fs::symlink(dir.path(), tree.join("a/up")).unwrap();
        let link = dir.path().to_str().unwrap().len() as u64;
        assert_eq!(of_tree(&tree).unwrap(), 100 + link);
        assert!(of_tree(&dir.path().join("nothing")).is_err());
    }
}
