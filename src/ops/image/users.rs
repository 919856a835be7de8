//! Which images the containers need: what `rmi` and `prune` leave alone. Where a container's record cannot be read, that
//! is not known, and nothing is removed.

use crate::error::{Error, Result};
use crate::id::Digest;
use crate::ops::container::{self, Container, Force, MONITOR_PATIENCE};
use crate::ops::remains;
use crate::state::{Roots, Status, container as records};
use std::collections::{BTreeMap, BTreeSet};

/// The images that containers were made from or have mounted, by their manifests.
#[derive(Debug, Default)]
pub(in crate::ops) struct Users {
    /// Of all containers: their blobs and layers stay, whatever becomes of their names.
    pub kept: BTreeSet<Digest>,
    /// Of those that run, with the name of one.
    running: BTreeMap<Digest, String>,
    /// Why not all are known.
    unknown: Option<Error>,
}

/// All of them; an error where a container may have others.
pub(in crate::ops) fn all(roots: &Roots) -> Result<Users> {
    let mut users = known(roots)?;
    users.unknown.take().map_or(Ok(users), Err)
}

/// As far as the records can be read.
pub(in crate::ops) fn known(roots: &Roots) -> Result<Users> {
    let mut users = Users::default();
    for one in container::all(roots)? {
        let one = recorded(roots, one)?;
        let runs = !one.has_ended() || (one.status == Status::Dead && remains::has_monitor(roots, &one));
        match (&one.config, &one.status) {
            (Some(config), _) => {
                users.kept.extend(config.used_images().cloned());
                let running = config.used_images().filter(|_| runs);
                users.running.extend(running.map(|image| (image.clone(), config.name.to_string())));
            }
            (None, Status::Ending) => {} // its record was removed, for it goes with its end
            (None, status) if runs => users.unknown = Some(unknown(&one, status)),
            (None, _) => {}
        }
    }
    Ok(users)
}

/// Once it has the record that it begins with: its life is written before.
fn recorded(roots: &Roots, one: Container) -> Result<Container> {
    match (&one.status, &one.config, &one.life) {
        (Status::Starting, None, Some(life)) => {
            container::await_birth(roots, &one.id, &life.monitor, Some(MONITOR_PATIENCE))?;
            Ok(records::load(roots, &one.id))
        }
        _ => Ok(one),
    }
}

fn unknown(one: &Container, status: &Status) -> Error {
    let id = one.id.short();
    let why = match status {
        Status::Broken(why) => why,
        _ => "its record is missing",
    };
    Error::host(format!("it is not known which images container {id} needs: {why}")).hint(format!("minirun rm -f {id}"))
}

impl Users {
    /// Whether an image may lose its last name; `text` is what it was called.
    pub(super) fn let_go(&self, text: &str, image: &Digest, force: Force) -> Result<()> {
        match (self.running.get(image), force) {
            (Some(name), Force::Yes) => {
                Err(Error::user(format!("image {text} is used by container {name}, which is running"))
                    .hint(format!("minirun rm -f {name}")))
            }
            (_, Force::No) if self.kept.contains(image) => {
                Err(Error::user(format!("image {text} is used by a container"))
                    .hint("remove the containers made from it first (minirun ps -a)"))
            }
            _ => Ok(()),
        }
    }
}
