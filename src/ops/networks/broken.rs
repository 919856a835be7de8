//! Networks whose records cannot be read, or were never finished: removed by what their names lead to.

use super::asked;
use crate::error::{Error, Result};
use crate::id::Name;
use crate::net::record::{self, Networks};
use crate::net::remove;
use crate::ops::reload;
use crate::state::Roots;
use crate::sys::fs;

/// Removes records whose writer was killed.
pub(in crate::ops) fn forget_unwritten(roots: &Roots) -> Result<()> {
    if fs::exists(roots.state.child("networks").as_path()) {
        Networks::lock(&roots.state)?.forget_unwritten(&roots.root)?;
    }
    Ok(())
}

/// Removes a network of which is not known what it has lent: nobody may have anything of it.
pub(super) fn remove_unknown(roots: &Roots, networks: &Networks, name: &Name) -> Result<()> {
    let lives = asked(roots)?.into_iter().filter(|(one, names)| one.status.is_alive() && names.contains(name.as_str()));
    let users: Vec<String> = lives.map(|(one, _)| one.id.short().to_owned()).collect();
    if !users.is_empty() {
        let users = users.join(" ");
        return Err(Error::user(format!("the record of network {name} cannot be read, and it is in use by {users}"))
            .hint(format!("`minirun rm -f {users}` first")));
    }
    match remove::remove_unknown(networks, name)?.into_iter().next() {
        Some(error) => Err(error.during(format!("removing network {name}"))),
        None => Ok(()),
    }
}

/// Removes those whose records cannot be read, so that they can be made again; a line for each.
pub(in crate::ops) fn repair(roots: &Roots) -> Result<Vec<String>> {
    let networks = Networks::lock(&roots.state)?;
    let mut lines = Vec::new();
    for (name, error) in record::broken(&roots.state)? {
        if !record::is_newer(&error) {
            remove_unknown(roots, &networks, &name)?;
            lines.push(format!("network {name}, whose record could not be read"));
        }
    }
    if record::base(&roots.state).is_err_and(|error| !record::is_newer(&error)) {
        networks.remove_base()?;
        lines.push("the record of sysctls that were set, which could not be read".to_owned());
    }
    drop(networks);
    if !lines.is_empty() {
        lines.extend(reload::reload(roots, &[])?);
    }
    Ok(lines)
}

/// Removes them all, when no container is left.
pub(in crate::ops) fn remove_all(networks: &Networks) -> Result<Vec<Error>> {
    let broken = record::broken(&networks.state)?;
    let each = broken.iter().map(|(name, _)| remove::remove_unknown(networks, name));
    Ok(each.collect::<Result<Vec<_>>>()?.concat())
}
