//! `.NetworkSettings`, and `port`: where a container is on its networks, and what of it the host has published.

use super::push;
use crate::error::{Error, Result};
use crate::net::network::{Loan, Network};
use crate::net::plan::DEFAULT_NETWORK;
use crate::ops::{container, network};
use crate::state::Roots;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// As docker has them: the addresses on the default network stand outside of the list, too.
pub(super) fn settings(loans: &[(Network, Loan)]) -> Value {
    let networks: Map<String, Value> =
        loans.iter().map(|(of, loan)| (of.name.to_string(), endpoint(of, loan))).collect();
    let mut settings = json!({ "Ports": ports(loans) });
    let default = networks.get(DEFAULT_NETWORK);
    for name in ["IPAddress", "Gateway", "GlobalIPv6Address", "IPv6Gateway", "MacAddress"] {
        settings[name] = default.map_or_else(|| "".into(), |of| of[name].clone());
    }
    for name in ["IPPrefixLen", "GlobalIPv6PrefixLen"] {
        settings[name] = default.map_or_else(|| 0.into(), |of| of[name].clone());
    }
    settings["Networks"] = networks.into();
    settings
}

fn endpoint(of: &Network, loan: &Loan) -> Value {
    // docker's "none" is an empty text, which prints as nothing
    let text = |address: Option<IpAddr>| address.map(|address| address.to_string()).unwrap_or_default();
    let side = |v4: bool| {
        let address = loan.addresses.iter().find(|address| address.is_ipv4() == v4).copied();
        let subnet = address.and_then(|address| of.subnets.iter().find(|subnet| subnet.net.contains(&address)));
        let length = subnet.map_or(0, |subnet| subnet.net.prefix_len());
        (text(address), length, text(subnet.and_then(|subnet| subnet.gateway).filter(|_| !of.shape.internal)))
    };
    let (v4, v6) = (side(true), side(false));
    json!({
        "IPAddress": v4.0,
        "IPPrefixLen": v4.1,
        "Gateway": v4.2,
        "GlobalIPv6Address": v6.0,
        "GlobalIPv6PrefixLen": v6.1,
        "IPv6Gateway": v6.2,
        "MacAddress": of.own_mac(loan).map(|mac| mac.to_string()).unwrap_or_default(),
        "Bridge": of.bridge,
    })
}

/// docker's form: `{"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}`.
fn ports(loans: &[(Network, Loan)]) -> Map<String, Value> {
    let mut map = Map::new();
    for port in loans.iter().flat_map(|(_, loan)| &loan.published) {
        push(&mut map, port.inside(), json!({ "HostIp": port.listen().ip(), "HostPort": port.port.to_string() }));
    }
    map
}

/// The published ports of a container, `80/tcp -> 0.0.0.0:8080` each; of one of its own ports where that is given.
pub fn port(roots: &Roots, word: &str, private: Option<&str>) -> Result<Vec<String>> {
    let found = container::find(roots, word)?;
    let all = network::published(roots).remove(&found.id).unwrap_or_default();
    let Some(private) = private else {
        return Ok(all.iter().map(|port| format!("{} -> {}", port.inside(), port.listen())).collect());
    };
    let wanted = if private.contains('/') { private.to_owned() } else { format!("{private}/tcp") };
    let lines: Vec<String> =
        all.iter().filter(|port| port.inside() == wanted).map(|port| port.listen().to_string()).collect();
    if lines.is_empty() {
        return Err(Error::user(format!("container {word} has not published port {wanted}"))
            .hint(format!("`minirun port {word}` lists what it has")));
    }
    Ok(lines)
}
