//! Writes a tar stream into a directory that others may change meanwhile, by docker's rules: what stands there is
//! replaced, but a directory never by a file nor a file by a directory. Every member is made by one name below an open
//! directory; nothing is written through a link at that name.

use super::ids::Ids;
use crate::error::{Errno, Error, Result};
use crate::image::layer::{Attributes, Member, TarStream, kind, segments, split};
use crate::sys::at;
use crate::sys::fs::Root;
use nix::sys::stat::SFlag;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use tar::EntryType;

/// How a tar is written.
#[derive(Debug)]
pub struct Placing<'a> {
    /// Nothing is written outside of it.
    pub root: &'a Root,
    /// The directory in it that the members' names start from.
    pub dir: &'a Path,
    pub links: Links,
    pub owners: Owners,
    /// The numbers of these.
    pub ids: Ids,
    pub special: Special,
}

/// What is done with links on the way to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Followed inside the root, as a program in there would.
    Inside,
    /// Refused.
    Refused,
}

/// Whose the files become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    Kept,
    All { uid: u32, gid: u32 },
}

/// What is done with what gives power to others than its owner: set-user-ID bits, file capabilities, devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    Kept,
    /// Devices are left out.
    NoDevices,
    /// The bits and capabilities are dropped too.
    Dropped,
}

/// Writes all of it. Gives the names of what was left out.
pub fn place(tar: impl Read, placing: &Placing<'_>) -> Result<Vec<String>> {
    placing.ids.as_root(|| place_all(tar, placing))
}

fn place_all(tar: impl Read, placing: &Placing<'_>) -> Result<Vec<String>> {
    let mut archive = TarStream::new(BufReader::with_capacity(128 << 10, tar));
    let mut writer = Writer { placing, parent: None, times: Vec::new(), left_out: Vec::new() };
    let broken = |e: std::io::Error| Error::user(format!("reading the tar: {e}")).hint("is it a whole, plain tar?");
    while let Some(member) = archive.next().map_err(broken)? {
        writer.member(&member, &mut archive).map_err(|e| e.during(shown(&member.path)))?;
    }
    writer.set_times()?;
    Ok(writer.left_out)
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

struct Writer<'a> {
    placing: &'a Placing<'a>,
    /// The directory of the last member, for most stand side by side.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Directories, with the times they shall have when all is written.
    times: Vec<(PathBuf, OsString, at::Time)>,
    left_out: Vec<String>,
}

impl Writer<'_> {
    fn member(&mut self, member: &Member, data: &mut impl BufRead) -> Result<()> {
        // the directory that everything goes to stays as it is
        let Some((parent, name)) = split(&member.path)? else { return Ok(()) };
        let parent = plain(parent)?;
        let special = matches!(member.kind, EntryType::Char | EntryType::Block);
        if special && self.placing.special != Special::Kept {
            self.left_out.push(format!("{}: a device", shown(&member.path)));
            return Ok(());
        }
        let attributes = self.attributes(member);
        let is_dir = member.kind.is_dir() || (member.kind.is_file() && member.path.ends_with(b"/"));
        let source = match member.kind.is_hard_link() {
            true => Some(self.link_source(&member.link)?),
            false => None,
        };
        let dir = self.enter(&parent)?;
        if is_dir {
            directory(dir, &name, &attributes)?;
            self.times.push((parent, name, attributes.time));
            return Ok(());
        }
        make_room(dir, &name)?;
        match member.kind {
            EntryType::Link => {
                let (from, old) = source.ok_or_else(|| Error::internal("a hard link without its source"))?;
                Ok(at::link(&from, &old, dir, &name)?)
            }
            EntryType::Symlink => {
                at::symlink(OsStr::from_bytes(&member.link), dir, &name)?;
                attributes.apply_link(dir, &name)
            }
            EntryType::Char => node(dir, &name, SFlag::S_IFCHR, member.device, &attributes),
            EntryType::Block => node(dir, &name, SFlag::S_IFBLK, member.device, &attributes),
            EntryType::Fifo => node(dir, &name, SFlag::S_IFIFO, (0, 0), &attributes),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let file = at::create_file(dir, &name)?;
                segments(&file, member, data)?;
                attributes.apply_fd(&file)?;
                Ok(at::set_times_fd(&file, attributes.time)?)
            }
            kind => Err(Error::user(format!("a tar member of unknown type {:?}", char::from(kind.as_byte())))),
        }
    }

    fn attributes(&self, member: &Member) -> Attributes {
        let mut attributes = Attributes::of(member);
        if let Owners::All { uid, gid } = self.placing.owners {
            (attributes.uid, attributes.gid) = (uid, gid);
        }
        let ids = self.placing.ids;
        (attributes.uid, attributes.gid) = (ids.outside(attributes.uid), ids.outside(attributes.gid));
        if self.placing.special == Special::Dropped {
            attributes.mode &= 0o1777;
            attributes.xattrs.retain(|(name, _)| name.starts_with(b"user."));
        }
        for (name, value) in &mut attributes.xattrs {
            *value = ids.value_outside(name, std::mem::take(value));
        }
        attributes
    }

    /// The directory in which a member is made; what is missing of it is made where links may be followed.
    fn enter(&mut self, parent: &Path) -> Result<&OwnedFd> {
        let fd = match self.parent.take() {
            Some((path, fd)) if path == parent => fd,
            _ => self.open(parent)?,
        };
        Ok(&self.parent.insert((parent.to_owned(), fd)).1)
    }

    fn open(&self, parent: &Path) -> Result<OwnedFd> {
        let Placing { root, dir, links, .. } = self.placing;
        let path = dir.join(parent);
        let opened = match links {
            Links::Inside => match root.dir_fd(&here(&path)) {
                Err(e) if e.errno == Errno::ENOENT && !parent.as_os_str().is_empty() => root.mkdir_all(&path, 0o755),
                opened => opened,
            },
            Links::Refused => root.plain_dir_fd(&here(&path)),
        };
        opened.map_err(|e| match e.errno {
            Errno::ELOOP => Error::user(format!("{} leads over a symbolic link", parent.display()))
                .hint("remove the link, or copy to another directory"),
            _ => e.into(),
        })
    }

    fn link_source(&self, link: &[u8]) -> Result<(OwnedFd, OsString)> {
        let (parent, name) = split(link)?.ok_or_else(|| Error::user("a hard link to a directory"))?;
        Ok((self.open(&plain(parent)?)?, name))
    }

    /// The last first, for a directory stands before what it holds. One that is gone needs no time.
    fn set_times(&mut self) -> Result<()> {
        for (parent, name, time) in std::mem::take(&mut self.times).into_iter().rev() {
            let set = self.enter(&parent).and_then(|dir| Ok(at::set_times(dir, &name, time)?));
            match set {
                Err(e) if e.is_errno(Errno::ENOENT) || e.is_errno(Errno::ENOTDIR) => {}
                set => set?,
            }
        }
        Ok(())
    }
}

/// The empty path is the directory itself.
fn here(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() }
}

/// A member's directory, relative; one with `..` is refused.
fn plain(parent: &[u8]) -> Result<PathBuf> {
    let parts = parent.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".");
    let mut path = PathBuf::new();
    for part in parts {
        if part == b".." {
            return Err(Error::user("the name of a tar member leads upwards (`..`)"));
        }
        path.push(OsStr::from_bytes(part));
    }
    Ok(path)
}

fn directory(parent: &OwnedFd, name: &OsStr, attributes: &Attributes) -> Result<()> {
    match at::mkdir(parent, name) {
        Err(e) if e.errno == Errno::EEXIST => {}
        made => made?,
    }
    let found = at::name_fd(parent, name)?;
    if kind(&at::stat_fd(&found)?) != libc::S_IFDIR {
        return Err(Error::user("cannot overwrite a non-directory with a directory").hint("remove it first"));
    }
    attributes.apply_fd(&at::reopen_dir(&found)?)
}

/// Removes what stands under the name of a new file.
fn make_room(parent: &OwnedFd, name: &OsStr) -> Result<()> {
    match at::stat(parent, name)? {
        None => Ok(()),
        Some(stat) if kind(&stat) == libc::S_IFDIR => {
            Err(Error::user("cannot overwrite a directory with a non-directory").hint("remove it first"))
        }
        Some(_) if at::is_mounted_on(parent, name)? => Err(Error::user("something is mounted on it")
            .hint("write into the file: `minirun exec -i CONTAINER sh -c 'cat > FILE'`")),
        Some(_) => match at::unlink(parent, name) {
            Err(e) if e.errno == Errno::ENOENT => Ok(()),
            done => Ok(done?),
        },
    }
}

/// A device or FIFO. Its mode is set through a descriptor: fchmodat(2) follows a link, and one may stand there by now.
fn node(
    parent: &OwnedFd,
    name: &OsStr,
    node: SFlag,
    (major, minor): (u32, u32),
    attributes: &Attributes,
) -> Result<()> {
    at::mknod(parent, name, node, major, minor)?;
    at::chown(parent, name, attributes.uid, attributes.gid)?;
    let found = at::name_fd(parent, name)?;
    if kind(&at::stat_fd(&found)?) == node.bits() {
        at::chmod_found(&found, attributes.mode)?;
    }
    Ok(at::set_times(parent, name, attributes.time)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::symlink;
    use tar::Header;

    /// A tar of members: name, kind, and content or link.
    fn archive(members: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, kind, text) in members {
            let mut header = Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_mode(0o644 | if kind.is_dir() { 0o111 } else { 0 });
            // not by set_path, which refuses what a hostile archive has
            header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            let content = if kind.is_file() { text.as_bytes() } else { b"" };
            if !kind.is_file() {
                header.set_link_name_literal(text).unwrap();
            }
            header.set_size(content.len() as u64);
            header.set_cksum();
            tar.append(&header, content).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn put(dir: &Path, links: Links, members: &[(&str, EntryType, &str)]) -> Result<Vec<String>> {
        let owners = Owners::All { uid: nix::unistd::getuid().as_raw(), gid: nix::unistd::getgid().as_raw() };
        let root = Root::open(dir).unwrap();
        let placing =
            Placing { root: &root, dir: Path::new(""), links, owners, ids: Ids::SAME, special: Special::Dropped };
        place(archive(members).as_slice(), &placing)
    }

    #[test]
    fn nothing_is_written_outside() {
        use EntryType::{Directory, Link, Regular, Symlink};
        let home = tempfile::tempdir().unwrap();
        let (dir, outside) = (home.path().join("dir"), home.path().join("outside"));
        for (links, members, why) in [
            (Links::Refused, &[("../outside/x", Regular, "x")][..], "upwards"),
            (Links::Inside, &[("a/../../outside/x", Regular, "x")], "upwards"),
            (Links::Refused, &[("l", Symlink, "../outside"), ("l/x", Regular, "x")], "symbolic link"),
            (Links::Refused, &[("l", Symlink, "../outside"), ("l", Directory, "")], "a non-directory with a directory"),
            (Links::Refused, &[("l", Link, "../outside/kept")], "upwards"),
            (Links::Refused, &[("l", Link, "there/kept")], "symbolic link"),
            (Links::Inside, &[("l", Link, "there/kept")], "ENOENT"),
            (Links::Refused, &[("there/x", Regular, "x")], "symbolic link"),
            (Links::Inside, &[("..", Directory, "")], "`..`"),
        ] {
            drop((std::fs::remove_dir_all(&dir), std::fs::remove_dir_all(&outside)));
            std::fs::create_dir(&dir).unwrap();
            std::fs::create_dir(&outside).unwrap();
            std::fs::write(outside.join("kept"), "kept").unwrap();
            symlink("../outside", &dir.join("there")).unwrap();
            let error = put(&dir, links, members).unwrap_err();
            assert!(error.message.contains(why), "{members:?}: {error}");
            let names: Vec<_> = std::fs::read_dir(&outside).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(names, ["kept"], "{members:?}");
        }
    }

    #[test]
    fn a_link_is_followed_inside_and_replaced_at_its_own_name() {
        use EntryType::{Char, Regular, Symlink};
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("real")).unwrap();
        symlink("/real", &home.path().join("there")).unwrap();
        symlink("/real/other", &home.path().join("file")).unwrap();
        let members =
            [("there/new/x", Regular, "x"), ("file", Regular, "y"), ("l", Symlink, "/etc"), ("null", Char, "")];
        let left_out = put(home.path(), Links::Inside, &members).unwrap();
        assert_eq!(left_out, ["null: a device"]);
        let text = |name: &str| std::fs::read_to_string(home.path().join(name)).unwrap();
        assert_eq!((text("real/new/x"), text("file")), ("x".to_owned(), "y".to_owned()));
        assert!(!home.path().join("real/other").exists() && !home.path().join("null").exists());
    }
}
