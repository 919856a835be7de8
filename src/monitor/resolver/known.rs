//! What the resolver answers from: the records of the networks and the host's list of servers, read again when they have
//! changed.

use crate::id::ContainerId;
use crate::net::dns::zone::Zone;
use crate::net::{files, record};
use crate::state::Roots;
use crate::sys::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The kernel's clock for files goes in steps of a tick, 10 ms at most: what has changed within the same one looks as it
/// was.
const SETTLED: Duration = Duration::from_millis(50);
/// domain (IANA).
const PORT: u16 = 53;

#[derive(Debug)]
pub(super) struct Known<'a> {
    roots: &'a Roots,
    id: &'a ContainerId,
    /// `--dns`; none are the host's.
    given: Vec<IpAddr>,
    zone: Kept<Zone>,
    servers: Kept<Vec<SocketAddr>>,
}

/// Something that was read, and when what it was read from had changed last.
#[derive(Debug, Default)]
struct Kept<T> {
    value: T,
    of: Option<Duration>,
}

impl<T> Kept<T> {
    /// Reads it anew unless it is known to be the same. What was changed just now may change again unseen.
    fn renew(&mut self, path: &Path, read: impl FnOnce() -> T) -> &T {
        let changed = fs::stat(path).ok().map(|stat| Duration::new(stat.st_mtime as u64, stat.st_mtime_nsec as u32));
        if changed.is_none() || self.of != changed {
            self.value = read();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.of = changed.filter(|changed| now.saturating_sub(*changed) > SETTLED);
        }
        &self.value
    }
}

impl<'a> Known<'a> {
    pub(super) fn new(roots: &'a Roots, id: &'a ContainerId, given: Vec<IpAddr>) -> Known<'a> {
        Known { roots, id, given, zone: Kept::default(), servers: Kept::default() }
    }

    /// The names as they are now; a record that cannot be read is left out.
    pub(super) fn zone(&mut self) -> &Zone {
        let (roots, id) = (self.roots, self.id);
        self.zone.renew(roots.state.child("networks").as_path(), || {
            record::all(&roots.state).map(|(networks, _)| Zone::of(&networks, id)).unwrap_or_default()
        })
    }

    /// Whom to ask for all others, in this order. Asked from the host, so that one on its loopback can be reached.
    pub(super) fn servers(&mut self) -> Vec<SocketAddr> {
        let path = Path::new("/etc/resolv.conf");
        let link = |name: &str| nix::net::if_::if_nametoindex(name).ok();
        let read = || fs::read_text(path).map(|text| files::servers_of_host(&text, PORT, link)).unwrap_or_default();
        match self.given.is_empty() {
            true => self.servers.renew(path, read).clone(),
            false => self.given.iter().map(|ip| SocketAddr::new(*ip, PORT)).collect(),
        }
    }
}
