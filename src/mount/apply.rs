//! Does the mounts. The root is held by a descriptor; every target is resolved inside it, attached by descriptor.

use super::options::Attribute;
use super::step::{Bind, DeviceKind, EMPTY_OPTIONS, Step};
use super::{lend, overlay};
use crate::error::{Errno, Error, Result, SysResult};
use crate::id::{ContainerPath, HostPath};
use crate::sys::fs::{self, Root};
use crate::sys::mount::{self, Parameter};
use crate::sys::process::{Identity, Pid};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::Path;

/// What one step makes and others use.
#[derive(Debug, Default)]
pub struct Slots {
    /// Empty until the step that makes the root has run.
    pub root: Option<Root>,
    /// Mounts that are attached nowhere yet, in the order of their steps.
    pub lent: VecDeque<OwnedFd>,
}

/// Does one step. `init` is known where somebody else does it.
pub fn apply(step: &Step, slots: &mut Slots, init: Option<Pid>) -> Result<()> {
    let root = &mut slots.root;
    match step {
        Step::Lend { made, owner } => slots.lent.push_back(lend::made(made, *owner, init)?),
        Step::Give { file, owner } => slots.lent.push_back(lend::given(file, *owner)?),
        Step::AttachRoot => {
            let made = next(&mut slots.lent)?;
            mount::attach(&made, &Root::open(Path::new("/"))?)?;
            *root = Some(Root::from_fd(made));
        }
        Step::Attach { target } => attach(&next(&mut slots.lent)?, held(root)?, target)?,
        Step::Propagation { to } => {
            mount::propagate(Path::new("/"), to.bits() | libc::MS_REC)?;
        }
        Step::Overlay { lower, upper, work, target, volatile } => {
            *root = Some(attach_root(&overlay::overlay(lower, Some((upper, work)), *volatile)?, target)?);
        }
        Step::BindRoot { source, target } => {
            *root = Some(attach_root(&mount::open_tree(source.as_path(), true)?, target)?);
        }
        Step::Pivot => mount::pivot(held(root)?)?,
        Step::MakeDirectory { path } => drop(held(root)?.mkdir_all(relative(path), DIRECTORY_MODE)?),
        Step::MakeFile { path } => drop(held(root)?.touch(relative(path), DIRECTORY_MODE, FILE_MODE)?),
        Step::Mount { fstype, source, target, attributes, data } => {
            attach(&new(fstype, parameters(source, data), attributes)?, held(root)?, target)?;
        }
        Step::Bind(one) => attach(&bound(one, None)?, held(root)?, &one.target)?,
        Step::BindOfOther { owner, source, target } => {
            attach(&tree_of(owner, source)?, held(root)?, target)?;
        }
        Step::Device { path, kind, major, minor, mode, uid, gid } => {
            let format = match kind {
                DeviceKind::Char => libc::S_IFCHR,
                DeviceKind::Block => libc::S_IFBLK,
                DeviceKind::Fifo => libc::S_IFIFO,
            };
            held(root)?.mknod(relative(path), format | mode, (*major, *minor), (*uid, *gid))?;
        }
        Step::Symlink { path, to } => held(root)?.symlink(to, relative(path))?,
        Step::MaskFile { path } => mask_file(path, held(root)?)?,
        Step::MaskDirectory { path, like } => mask_directory(path, like.as_ref(), held(root)?)?,
        Step::ReadOnly { path } => read_only(path, held(root)?)?,
        Step::Remount { path, attributes } => {
            let at = held(root)?.path_fd(relative(path))?;
            mount::set_attributes(&at, Attribute::bits(attributes), false)?;
        }
    }
    Ok(())
}

fn next(lent: &mut VecDeque<OwnedFd>) -> Result<OwnedFd> {
    lent.pop_front().ok_or_else(|| Error::internal("less was lent than is attached"))
}

/// A new file system, attached nowhere.
fn new(fstype: &str, parameters: Vec<Parameter<'_>>, attributes: &[Attribute]) -> Result<OwnedFd> {
    let (parameters, bits) = (of_its_own(parameters, attributes), Attribute::bits(attributes));
    match fstype {
        "overlay" => overlay::made(&parameters, bits, None),
        _ => Ok(mount::detached(fstype, &parameters, bits)?),
    }
}

/// As mount(8) and runc: what is read-only is the file system itself, too, and not only this mount of it.
pub(super) fn of_its_own<'a>(mut parameters: Vec<Parameter<'a>>, attributes: &[Attribute]) -> Vec<Parameter<'a>> {
    parameters.extend(attributes.contains(&Attribute::Ro).then_some(Parameter::Flag("ro")));
    parameters
}

const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

fn held(root: &Option<Root>) -> Result<&Root> {
    root.as_ref().ok_or_else(|| Error::internal("a mount step runs before the root is made"))
}

/// A container path as openat2 wants it below the root's descriptor.
fn relative(path: &ContainerPath) -> &Path {
    Path::new(path.as_str())
}

fn attach_root(made: &OwnedFd, target: &HostPath) -> SysResult<Root> {
    let place = Root::open(target.as_path())?;
    mount::attach(made, &place)?;
    // opened anew: the descriptor from before names the directory below the mount
    Root::open(target.as_path())
}

fn attach(made: &OwnedFd, root: &Root, target: &ContainerPath) -> Result<()> {
    let place = root.path_fd(relative(target))?;
    Ok(mount::attach(made, &place)?)
}

pub(super) fn parameters<'a>(source: &'a str, data: &'a [String]) -> Vec<Parameter<'a>> {
    let mut all = vec![Parameter::Text("source", source)];
    for word in data {
        match word.split_once('=') {
            // an escaped path cannot be cut out of the string it stands in
            Some(("lowerdir", value)) if !value.contains('\\') => {
                all.extend(overlay::layers(value, value.split(':')));
            }
            Some((key, value)) => all.push(Parameter::Text(key, value)),
            None => all.push(Parameter::Flag(word)),
        }
    }
    all
}

/// A part of the host, attached nowhere, its owners mapped by a user namespace where one is given.
pub(super) fn bound(bind: &Bind, ids: Option<&OwnedFd>) -> Result<OwnedFd> {
    let tree = match &bind.inside {
        None => mount::open_tree(bind.source.as_path(), bind.recursive)?,
        Some(tree) => {
            let below = bind.source.as_path().strip_prefix(tree.as_path());
            let below = below.map_err(|_| Error::internal(format!("{} is not in {tree}", bind.source)))?;
            mount::open_tree_at(Some(&Root::open(tree.as_path())?.path_fd(below)?), Path::new(""), bind.recursive)?
        }
    };
    if let Some(ids) = ids {
        lend::map(&tree, ids, bind.recursive, &bind.source)?;
    }
    if !bind.attributes.is_empty() {
        mount::set_attributes(&tree, Attribute::bits(&bind.attributes), bind.recursive_attributes)?;
    }
    if let Some(propagation) = bind.propagation {
        mount::set_propagation(&tree, propagation.bits(), true)?;
    }
    Ok(tree)
}

/// A copy of what a process of another mount namespace has mounted at a path.
fn tree_of(owner: &Identity, source: &ContainerPath) -> Result<OwnedFd> {
    let namespace = fs::open_read(Path::new(&format!("/proc/{}/ns/mnt", owner.pid)))?;
    // looked at after the file is open, so that the pid cannot have changed hands before
    if !owner.is_alive() {
        return Err(Error::user(format!("cannot share {source}: its container has ended")));
    }
    Ok(mount::open_tree_elsewhere(&namespace, relative(source), true)?)
}

/// The root mount of a process of another mount namespace, without what is mounted in it, attached nowhere.
pub fn root_of(owner: &Identity) -> Result<OwnedFd> {
    let namespace = fs::open_read(Path::new(&format!("/proc/{}/ns/mnt", owner.pid)))?;
    if !owner.is_alive() {
        return Err(Error::user("the container has ended meanwhile").hint("try again"));
    }
    Ok(mount::open_tree_elsewhere(&namespace, Path::new("/"), false)?)
}

/// Where the path is missing there is nothing to hide; every other failure counts (CVE-2025-31133).
fn if_there(opened: SysResult<OwnedFd>) -> SysResult<Option<OwnedFd>> {
    match opened {
        Err(e) if e.errno == Errno::ENOENT => Ok(None),
        opened => opened.map(Some),
    }
}

fn mask_file(path: &ContainerPath, root: &Root) -> Result<()> {
    let Some(place) = if_there(root.path_fd(relative(path)))? else { return Ok(()) };
    let null = mount::open_tree(Path::new("/dev/null"), false)?;
    let stat = fs::stat_fd(&null)?;
    // a root user's /dev/null may have been replaced; binding anything else would hide nothing (CVE-2025-31133)
    if stat.st_mode & libc::S_IFMT != libc::S_IFCHR || stat.st_rdev != libc::makedev(1, 3) {
        return Err(Error::host("/dev/null of the host is not the device 1:3").hint("mknod -m 666 /dev/null c 1 3"));
    }
    Ok(mount::attach(&null, &place)?)
}

fn mask_directory(path: &ContainerPath, like: Option<&ContainerPath>, root: &Root) -> Result<()> {
    let Some(place) = if_there(root.path_fd(relative(path)))? else { return Ok(()) };
    let empty = match like {
        Some(first) => mount::open_tree_at(Some(&root.path_fd(relative(first))?), Path::new(""), false)?,
        None => {
            let data: Vec<String> = EMPTY_OPTIONS.split(',').map(str::to_owned).collect();
            mount::detached("tmpfs", &parameters("tmpfs", &data), libc::MOUNT_ATTR_RDONLY)?
        }
    };
    Ok(mount::attach(&empty, &place)?)
}

fn read_only(path: &ContainerPath, root: &Root) -> Result<()> {
    let Some(place) = if_there(root.path_fd(relative(path)))? else { return Ok(()) };
    let copy = mount::open_tree_at(Some(&place), Path::new(""), true)?;
    mount::set_attributes(&copy, libc::MOUNT_ATTR_RDONLY, true)?;
    Ok(mount::attach(&copy, &place)?)
}
