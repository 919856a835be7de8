//! A container that has outlived its monitor gets another one, which takes over what the first one had open.

use super::client::Clients;
use super::live::{End, lock, note_start, serve};
use super::notes;
use super::protocol::{Event, SOCKET};
use super::resolver::Resolver;
use super::streams::{self, Streams};
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::net::apply::hold;
use crate::net::record;
use crate::plan::step::Undo;
use crate::state::{Roots, container};
use crate::sys::process::Identity;
use crate::sys::{fs, socket};
use std::os::fd::OwnedFd;

/// Takes the place of a monitor that was killed.
pub(super) fn adopt(roots: &Roots, id: &ContainerId, clients: &mut Clients) -> Result<End> {
    let _lock = lock(roots, id)?;
    let found = container::load::<Undo>(roots, id);
    let (Some(config), Some(mut life)) = (found.config, found.life) else {
        return Err(Error::internal(format!("container {} has no record to adopt it by", id.short())));
    };
    let init = life.init.clone().ok_or_else(|| Error::internal("a container that was never born"))?;
    let pidfd = init.open()?;
    let dir = roots.life(id);
    fs::unlink(dir.child(SOCKET).as_path())?;
    let listener = socket::listen_at(&fs::open_read(dir.as_path())?, SOCKET)?;
    let streams = Streams { listener: Some(listener), ..streams::reopen(&dir)? };
    life.monitor = Identity::of_self()?;
    container::write_life(roots, &life)?;
    if found.started.is_none_or(|started| started.init != init) {
        note_start(roots, &config, &init);
    }
    notes::note(&roots.container(id), &"the monitor was killed; another one has taken its place");
    let mut resolver = Resolver::new(roots, &config, init.pid, None);
    let _ports = reopen(roots, id, &mut resolver);
    // whoever hears it may ask for a name, or listen on a port, at once
    clients.tell(&Event::Started { pid: init.pid });
    serve(roots, &config, life, &pidfd, streams, resolver, clients)
}

/// Opens again what the network had open in the monitor before; what resists is noted, for the container goes on. Gives
/// the sockets that keep its ports.
fn reopen(roots: &Roots, id: &ContainerId, resolver: &mut Resolver<'_>) -> Vec<OwnedFd> {
    let note = |error: &Error| notes::note(&roots.container(id), error);
    let loans = record::loans(&roots.state, id).unwrap_or_else(|error| {
        note(&error);
        Vec::new()
    });
    if let Err(error) = resolver.reopen(roots, id, &loans) {
        note(&error);
    }
    let mut ports = Vec::new();
    for port in loans.iter().flat_map(|(_, loan)| &loan.published) {
        match hold(port) {
            Ok(socket) => ports.extend(socket),
            Err(error) => note(&Error::from(error).during(format!("port {port} is not kept from other programs"))),
        }
    }
    ports
}
