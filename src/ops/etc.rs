//! /etc/hosts, /etc/hostname and /etc/resolv.conf of a new container: whom it asks for names, and what it knows itself.

use super::container;
use super::network::Lent;
use crate::error::{Error, Result};
use crate::id::HostPath;
use crate::net::files::{self, AddHost, Asks, Dns, Hosts};
use crate::net::network::Lease;
use crate::net::plan;
use crate::net::step::Step;
use crate::spec::request::{NetworkNamespace, NetworkWords, RunRequest};
use crate::state::Roots;
use crate::sys::fs;
use std::net::IpAddr;
use std::path::Path;

/// By their place on the host. Who shares another container's network shares what that says of names.
pub(super) fn files(
    roots: &Roots,
    life: &HostPath,
    request: &RunRequest,
    lent: &Lent,
    hostname: &str,
) -> Result<Vec<(HostPath, String)>> {
    let words = &request.network;
    if let NetworkNamespace::Container(name) = words.namespace() {
        let of = roots.life(&container::find_as_it_is(roots, name)?.id);
        let copy = |name: &str| Ok((life.child(name), fs::read_text(of.child(name).as_path())?));
        return ["hosts", "hostname", "resolv.conf"].into_iter().map(copy).collect();
    }
    let names = plan::has_names(lent.leases.iter().map(|lease| &lease.network));
    let answered = lent.plan.host.contains(&Step::AnswerNames);
    let asks = match (words.namespace(), names, answered) {
        (NetworkNamespace::Host, ..) => Asks::AsHost,
        (_, true, _) => Asks::Names,
        (_, false, true) => Asks::Forwarder,
        (_, false, false) => Asks::Servers,
    };
    let dns = Dns { asks, ..dns(words, &lent.leases)? };
    let (host, resolved) = resolv_confs();
    let hosts = Hosts {
        own: lent.leases.iter().flat_map(|lease| &lease.addresses).map(ipnet::IpNet::addr).collect(),
        names: vec![hostname.to_owned()],
        gateway: plan::host_gateway(&lent.leases),
        extra: words.add_host.iter().map(|word| AddHost::parse(word)).collect::<Result<_>>()?,
    };
    Ok(vec![
        (life.child("hosts"), files::hosts(&hosts)?),
        (life.child("hostname"), files::hostname(hostname)),
        (life.child("resolv.conf"), files::resolv_conf(&host, resolved.as_deref(), &dns)),
    ])
}

fn dns(words: &NetworkWords, leases: &[Lease]) -> Result<Dns> {
    let ipv6 = leases.iter().flat_map(|lease| &lease.addresses).any(|net| net.addr().is_ipv6());
    Ok(Dns {
        servers: servers(words)?,
        search: words.dns_search.clone(),
        options: words.dns_option.clone(),
        ipv6: ipv6 || leases.is_empty(),
        asks: Asks::Servers,
    })
}

/// Whether a container with these leases can reach none of the servers that the host has. Without any it reaches nobody,
/// and is to ask nobody.
pub(super) fn is_cut_off(words: &NetworkWords, leases: &[Lease]) -> Result<bool> {
    let (host, resolved) = resolv_confs();
    Ok(!leases.is_empty() && files::is_cut_off(&host, resolved.as_deref(), &dns(words, leases)?))
}

/// The host's resolv.conf, and systemd-resolved's.
pub(super) fn resolv_confs() -> (String, Option<String>) {
    let text = |path: &str| fs::read_text(Path::new(path)).ok();
    (text("/etc/resolv.conf").unwrap_or_default(), text("/run/systemd/resolve/resolv.conf"))
}

/// `--dns`.
pub(super) fn servers(words: &NetworkWords) -> Result<Vec<IpAddr>> {
    let server = |server: &String| {
        let wrong = |_| Error::user(format!("invalid resolver {server:?}")).hint("--dns takes an address like 9.9.9.9");
        server.parse().map_err(wrong)
    };
    words.dns.iter().map(server).collect()
}
