//! `.Host` and `.GraphDriver`: where on the host other tools find a container.

use crate::cgroup;
use crate::image::{Image, Store};
use crate::net::cables::eth;
use crate::net::names;
use crate::net::network::{Loan, Network};
use crate::net::port::Port;
use crate::net::view::{self, Counter};
use crate::ops::container::Container;
use crate::ops::own::{self, Own};
use crate::plan::step::Undo;
use crate::state::{Roots, Status};
use crate::sys::fs;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Where the host has a container that runs: everything that other tools need to look at it.
pub(super) fn host(roots: &Roots, found: &Container, loans: &[(Network, Loan)]) -> Option<Value> {
    let life = found.life.as_ref().filter(|_| found.status == Status::Running)?;
    let init = life.init.as_ref()?;
    let mut cgroups = Vec::new();
    for undo in &life.undo {
        if let Undo::Cgroup(cgroup::step::Undo::Remove { dir, .. }) = undo {
            cgroups.push(dir.to_string());
        }
    }
    let mut loans: Vec<&(Network, Loan)> = loans.iter().collect();
    loans.sort_by_key(|(_, loan)| loan.link);
    let veths: Vec<Value> = loans.iter().filter_map(|of| veth(roots, found, of)).collect();
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
    let namespace = |kind: &str| fs::read_link(Path::new(&format!("/proc/{}/ns/{kind}", init.pid))).ok();
    let namespaces: Map<String, Value> =
        kinds.iter().map(|kind| ((*kind).to_owned(), json!(namespace(kind)))).collect();
    Some(json!({
        "Pid": init.pid,
        "MonitorPid": life.monitor.pid,
        "Cgroups": cgroups,
        "Namespaces": namespaces,
        "Veths": veths,
    }))
}

/// One of its cables: of the host's end, whose counters are the host's, too (what the container has sent is received).
fn veth(roots: &Roots, found: &Container, (network, loan): &(Network, Loan)) -> Option<Value> {
    let link = names::veth(&found.id.tag(roots.state.as_str()), loan.generation, loan.link).ok()?;
    let end = view::counted(&link).ok().flatten();
    let (end, counters) = (end.as_ref().map(|(end, _)| end), end.as_ref().map(|(_, counters)| counters));
    Some(json!({
        "Name": link,
        "Network": network.name,
        "Inside": eth(loan.link).ok()?,
        "Index": end.map(|end| end.index),
        "PeerIndex": end.and_then(|end| end.peer),
        "BridgeIndex": end.and_then(|end| end.controller),
        "Mac": end.and_then(|end| end.mac),
        "Port": end.and_then(|end| end.port.as_ref()).map(port),
        "Counters": counters.map(|of| json!({ "Rx": counter(&of.received), "Tx": counter(&of.sent) })),
    }))
}

fn port(of: &Port) -> Value {
    json!({ "Number": of.number, "State": of.state, "Isolated": of.isolated, "Hairpin": of.hairpin })
}

fn counter(of: &Counter) -> Value {
    json!({ "Bytes": of.bytes, "Packets": of.packets, "Errors": of.errors, "Dropped": of.dropped })
}

/// How its root is put together, lowest layer last, as docker's driver has it; or where it is, as it is. Its merged
/// directory is in its own mount namespace alone: from outside it is seen through its process.
pub(super) fn graph_driver(roots: &Roots, found: &Container, image: Option<&Image>) -> Value {
    let Some(image) = image else { return json!({ "Name": "directory", "Data": {} }) };
    let store = Store::look(&roots.root);
    let id = &found.id;
    let is_copy = match own::own(roots, id) {
        Own::Copy(_) => true,
        Own::Upper(_) => false,
        Own::Nothing => !store.takes_overlay(),
    };
    if is_copy {
        return json!({ "Name": "directory", "Data": { "Dir": own::copy(roots, id) } });
    }
    let (layers, _) = store.expected_dirs(image);
    let lower: Vec<String> = layers.iter().rev().chain([&store.skeleton()]).map(ToString::to_string).collect();
    let (upper, work) = (own::upper(roots, id), own::work(roots, id));
    let mut data = json!({ "LowerDir": lower.join(":"), "UpperDir": upper, "WorkDir": work });
    if let Some(init) =
        found.life.as_ref().and_then(|life| life.init.as_ref()).filter(|_| found.status == Status::Running)
    {
        data["MergedDir"] = format!("/proc/{}/root", init.pid).into();
    }
    json!({ "Name": "overlay2", "Data": data })
}
