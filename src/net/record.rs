//! The networks' records: one file each under STATE/networks, one lock for all, for a subnet is chosen against all.
//! What no single network owns (sysctls that were set) is in a record of its own. How people made a network is under
//! ROOT/networks, and outlives a reboot. Touches nothing but these files.

use super::definition::Definition;
use super::network::{Loan, Network};
use super::plan::NetPlan;
use super::step::{Netns, Step};
use crate::error::{During as _, Errno, Error, Kind, Result};
use crate::id::{ContainerId, HostPath, Name};
use crate::sys::fs;
use crate::sys::record::{self, Durability, Lock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;

/// Version of the records. Ours and the one before are read.
const VERSION: u32 = 2;

/// The directory of the records, locked: nobody else lends, creates or removes meanwhile.
#[derive(Debug)]
pub struct Networks {
    pub state: HostPath,
    lock: Lock,
}

/// What was set on the host for all networks, and how it was before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Path below /proc/sys and its former value.
    pub sysctls: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    content: T,
}

impl Networks {
    /// Waits until nobody else has the networks.
    pub fn lock(state: &HostPath) -> Result<Networks> {
        let dir = directory(state);
        fs::mkdir_all(dir.as_path(), 0o700)?;
        let lock = Lock::exclusive(dir.child(".lock").as_path())?;
        Ok(Networks { state: state.clone(), lock })
    }

    /// `None` where somebody else has them.
    pub fn try_lock(state: &HostPath) -> Result<Option<Networks>> {
        let lock = Lock::try_exclusive(directory(state).child(".lock").as_path())?;
        Ok(lock.map(|lock| Networks { state: state.clone(), lock }))
    }

    /// The lock alone, to be handed to the process that goes on.
    pub fn into_lock(self) -> OwnedFd {
        self.lock.into()
    }

    /// Removes records whose writer was killed while it wrote them; how many there were.
    pub fn forget_unwritten(&self, root: &HostPath) -> Result<usize> {
        let definitions = directory(root);
        let of = |dir: &HostPath| record::forget_unwritten(dir.as_path());
        let defined = if fs::exists(definitions.as_path()) { of(&definitions)? } else { 0 };
        Ok(of(&directory(&self.state))? + defined)
    }

    pub fn save(&self, network: &Network) -> Result<()> {
        write(&file(&self.state, network.name.as_str()), network, Durability::Memory)
    }

    pub fn remove(&self, name: &Name) -> Result<()> {
        Ok(fs::unlink(file(&self.state, name.as_str()).as_path())?)
    }

    /// Notes what the plan is about to change for all networks. To be called before the first of its steps.
    pub fn intend(&self, plan: &NetPlan) -> Result<()> {
        let mut base = base(&self.state)?;
        let known = base.sysctls.len();
        for step in &plan.prepare {
            if let Step::SetSysctl { netns: Netns::Host, key, .. } = step
                && outlives_bridge(key)
                && !base.sysctls.iter().any(|(noted, _)| noted == key)
            {
                let before = fs::read_text(&std::path::Path::new("/proc/sys").join(key))?;
                base.sysctls.push((key.clone(), before.trim().to_owned()));
            }
        }
        if base.sysctls.len() == known { Ok(()) } else { self.save_base(&base) }
    }

    /// Keeps what people made: it is there after a reboot, too.
    pub fn define(&self, root: &HostPath, definition: &Definition) -> Result<()> {
        fs::mkdir_all(directory(root).as_path(), 0o700)?;
        write(&file(root, definition.name.as_str()), definition, Durability::Disk)
    }

    pub fn undefine(&self, root: &HostPath, name: &Name) -> Result<()> {
        Ok(fs::unlink(file(root, name.as_str()).as_path())?)
    }

    pub fn save_base(&self, base: &Base) -> Result<()> {
        write(&file(&self.state, BASE), base, Durability::Memory)
    }

    pub fn remove_base(&self) -> Result<()> {
        Ok(fs::unlink(file(&self.state, BASE).as_path())?)
    }
}

/// No network's name begins with a dot.
const BASE: &str = ".base";

/// Those of a bridge itself go with it.
fn outlives_bridge(key: &str) -> bool {
    !key.contains("/mr-")
}

/// One network's record; readable without the lock, for a record is replaced whole.
pub fn load(state: &HostPath, name: &Name) -> Result<Option<Network>> {
    read(&file(state, name.as_str()), "`minirun repair` removes it")
}

/// All records that can be read, and the errors of those that cannot.
pub fn all(state: &HostPath) -> Result<(Vec<Network>, Vec<Error>)> {
    Ok(apart(each(state, load)?))
}

/// Those that have a record, whatever is in it.
pub fn names(state: &HostPath) -> Result<Vec<Name>> {
    let entries = match fs::list(directory(state).as_path()) {
        Err(e) if e.errno == Errno::EACCES => Vec::new(), // a normal user's --explain sees what it may see
        entries => entries?,
    };
    Ok(entries.iter().filter_map(|entry| Name::parse(entry.strip_suffix(".json")?).ok()).collect())
}

/// The networks whose records cannot be read.
pub fn broken(state: &HostPath) -> Result<Vec<(Name, Error)>> {
    Ok(each(state, load)?.into_iter().filter_map(|(name, read)| Some((name, read.err()?))).collect())
}

/// Whether a record cannot be read because a newer minirun wrote it: then nothing is wrong with it.
pub fn is_newer(error: &Error) -> bool {
    error.kind == Kind::Newer
}

/// What a container was lent by each network: the network, and the loan.
pub fn loans(state: &HostPath, container: &ContainerId) -> Result<Vec<(Network, Loan)>> {
    let (all, _) = all(state)?;
    let of = |network: Network| {
        let loan = network.loans.iter().find(|loan| loan.holder.container == *container).cloned();
        loan.map(|loan| (network, loan))
    };
    Ok(all.into_iter().filter_map(of).collect())
}

/// How people made a network.
pub fn definition(root: &HostPath, name: &Name) -> Result<Option<Definition>> {
    read(&file(root, name.as_str()), &format!("`minirun network rm {name}` removes it"))
}

/// All definitions that can be read, and the errors of those that cannot.
pub fn definitions(root: &HostPath) -> Result<(Vec<Definition>, Vec<Error>)> {
    Ok(apart(each(root, definition)?))
}

/// The networks that people made and whose definitions cannot be read.
pub fn broken_definitions(root: &HostPath) -> Result<Vec<(Name, Error)>> {
    Ok(each(root, definition)?.into_iter().filter_map(|(name, read)| Some((name, read.err()?))).collect())
}

fn apart<T>(each: Vec<(Name, Result<T>)>) -> (Vec<T>, Vec<Error>) {
    let (mut whole, mut broken) = (Vec::new(), Vec::new());
    for (_, read) in each {
        match read {
            Ok(one) => whole.push(one),
            Err(error) => broken.push(error),
        }
    }
    (whole, broken)
}

fn each<T>(place: &HostPath, load: impl Fn(&HostPath, &Name) -> Result<Option<T>>) -> Result<Vec<(Name, Result<T>)>> {
    let names = names(place)?.into_iter();
    Ok(names
        .filter_map(|name| Some((load(place, &name).transpose()?, name)))
        .map(|(read, name)| (name, read))
        .collect())
}

pub fn base(state: &HostPath) -> Result<Base> {
    Ok(read(&file(state, BASE), "`minirun repair` removes it")?.unwrap_or_default())
}

fn directory(state: &HostPath) -> HostPath {
    state.child("networks")
}

fn file(state: &HostPath, name: &str) -> HostPath {
    directory(state).child(&format!("{name}.json"))
}

fn write(path: &HostPath, content: &impl Serialize, durability: Durability) -> Result<()> {
    let record = Versioned { version: VERSION, content };
    let bytes = serde_json::to_vec(&record).map_err(|e| Error::internal(format!("record {path}: {e}")))?;
    Ok(record::write(path.as_path(), &bytes, durability)?)
}

/// `cure` says what helps where it cannot be read.
fn read<T: DeserializeOwned>(path: &HostPath, cure: &str) -> Result<Option<T>> {
    let bytes = match fs::read(path.as_path()) {
        // a normal user cannot look into /run/minirun, and sees a plan as for the first run
        Err(e) if [Errno::ENOENT, Errno::EACCES].contains(&e.errno) => return Ok(None),
        bytes => bytes?,
    };
    let broken = |e: serde_json::Error| Error::host(format!("record {path} cannot be read: {e}")).hint(cure);
    #[derive(Deserialize)]
    struct Only {
        version: u32,
    }
    let version = serde_json::from_slice::<Only>(&bytes).map_err(broken).during(|| "reading a network")?.version;
    if version > VERSION {
        let what = format!("record {path} is of version {version}, this minirun reads {VERSION}");
        return Err(Error::new(Kind::Newer, what).hint("use the newer minirun that wrote it"));
    }
    let content = match version {
        1 => serde_json::from_slice(&bytes).map(shaped).and_then(serde_json::from_value::<T>),
        _ => serde_json::from_slice::<T>(&bytes),
    };
    content.map(Some).map_err(broken)
}

/// Version 1 had three of what was asked of a network in the record itself.
fn shaped(mut record: serde_json::Value) -> serde_json::Value {
    let moved =
        ["mtu", "masquerade", "internal"].map(|key| record.get(key).map(|value| (key.to_owned(), value.clone())));
    record["shape"] = moved.into_iter().flatten().collect::<serde_json::Map<_, _>>().into();
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_minirun_wrote_keeps_its_flags() {
        let dir = tempfile::tempdir().unwrap();
        let root = HostPath::parse(dir.path().to_str().unwrap()).unwrap();
        std::fs::create_dir(dir.path().join("networks")).unwrap();
        let text = r#"{"version":1,"name":"quiet","id":"x","created":"2026-11-25T00:00:00Z","labels":{},
            "subnets":[],"mtu":1400,"masquerade":false,"internal":true}"#;
        std::fs::write(dir.path().join("networks/quiet.json"), text).unwrap();
        let name = Name::parse("quiet").unwrap();
        let shape = definition(&root, &name).unwrap().unwrap().shape;
        assert_eq!((shape.mtu, shape.masquerade, shape.internal), (Some(1400), false, true));
    }
}
