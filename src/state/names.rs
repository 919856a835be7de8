//! Who has which name: one symbolic link a name, made in one system call, so that two can never have the same.

use super::Roots;
use crate::error::{Errno, Error, Kind, Result};
use crate::id::{ContainerId, Name};
use crate::sys::fs;
use crate::sys::record::Lock;

/// Claims a name for a container. The error, of kind `NameTaken`, names the holder.
pub fn claim(roots: &Roots, name: &Name, id: &ContainerId) -> Result<()> {
    let link = roots.names().child(name.as_str());
    match fs::symlink(id.as_str(), link.as_path()) {
        Err(e) if e.errno == Errno::EEXIST => {
            let holder = holder(roots, name)?.map_or(String::new(), |id| format!(" ({})", id.short()));
            Err(Error::new(Kind::NameTaken, format!("the name {name} is taken by another container{holder}"))
                .hint(format!("choose another one, or `minirun rm -f {name}`")))
        }
        done => Ok(done?),
    }
}

/// The container with this name.
pub fn holder(roots: &Roots, name: &Name) -> Result<Option<ContainerId>> {
    let link = roots.names().child(name.as_str());
    let broken = |error: Error| error.during(format!("the name {name}")).hint(format!("rm {link}"));
    match fs::read_link(link.as_path()) {
        Ok(id) => ContainerId::parse(&id).map(Some).map_err(broken),
        Err(e) if e.errno == Errno::ENOENT => Ok(None),
        Err(e) => Err(broken(e.into())),
    }
}

/// Gives a name back, if it is this container's: for one that is forgotten already, so that a name leads to every
/// container that there is. Whether it was.
pub fn release(roots: &Roots, name: &Name, id: &ContainerId) -> Result<bool> {
    // of two that find the same holder, the slower one would take the name from the next
    let _lock = Lock::directory(roots.names().as_path())?;
    let own = holder(roots, name)?.as_ref() == Some(id);
    if own {
        fs::unlink(roots.names().child(name.as_str()).as_path())?;
    }
    Ok(own)
}

/// Every name that is held, with its container. What is no link to an id is nobody's, and keeps nobody else's back.
pub fn all(roots: &Roots) -> Result<Vec<(Name, ContainerId)>> {
    let mut all = Vec::new();
    for text in fs::list(roots.names().as_path())? {
        let Ok(name) = Name::parse(&text) else { continue };
        if let Ok(Some(id)) = holder(roots, &name) {
            all.push((name, id));
        }
    }
    Ok(all)
}
