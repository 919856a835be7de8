//! The two directories of minirun, the places in them, and the files that it is told by.

use crate::error::{During as _, Error, Result};
use crate::id::{ContainerId, HostPath};
use crate::sys::fs;
use serde::{Deserialize, Serialize};

pub const DEFAULT_ROOT: &str = "/var/lib/minirun";
pub const DEFAULT_STATE: &str = "/run/minirun";
pub const DEFAULT_CONFIG: &str = "/etc/minirun/config.toml";

/// Where everything is kept; both directories are 0700.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roots {
    /// Images, layers, containers' configurations and changes: outlives a reboot.
    pub root: HostPath,
    /// Records of what runs, locks, leases, sockets: gone at reboot.
    pub state: HostPath,
    /// Settings: mirrors, and registries without TLS. May be missing.
    pub config: HostPath,
    /// Where logins to registries may be kept, in the form of docker's config.json. May be missing.
    pub logins: Vec<HostPath>,
    /// The proxies for https and for http, and the hosts that need none: empty where there is none.
    pub proxies: [String; 3],
}

impl Roots {
    /// What a container keeps: configuration, changes, how it ended.
    pub fn container(&self, id: &ContainerId) -> HostPath {
        self.root.child("containers").child(id.as_str())
    }

    /// A container's life.
    pub fn life(&self, id: &ContainerId) -> HostPath {
        self.state.child("containers").child(id.as_str())
    }

    /// All volumes: what outlives containers.
    pub fn volumes(&self) -> HostPath {
        self.root.child("volumes")
    }

    pub fn names(&self) -> HostPath {
        self.root.child("names")
    }

    /// The ids of the host that containers have while they run.
    pub fn user_ids(&self) -> HostPath {
        self.state.child("ids")
    }

    /// Makes what is missing. The roots themselves are closed to others, whatever stood there before.
    pub fn make(&self) -> Result<()> {
        for dir in [&self.root, &self.state] {
            fs::mkdir_all(dir.as_path(), 0o700).map_err(|e| refused(e.into(), dir))?;
        }
        for dir in [self.root.child("containers"), self.names(), self.state.child("containers")] {
            fs::mkdir_all(dir.as_path(), 0o700).during(|| "making minirun's directories")?;
        }
        Ok(())
    }
}

fn refused(error: Error, dir: &HostPath) -> Error {
    use crate::error::Errno;
    match error.is_errno(Errno::EACCES) || error.is_errno(Errno::EPERM) {
        true => Error::user(format!("cannot make {dir}: permission denied")).hint("sudo minirun …"),
        false => error,
    }
}
