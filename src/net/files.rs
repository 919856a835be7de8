//! The content of a container's /etc/hosts, /etc/hostname and /etc/resolv.conf, as docker writes them. Pure.

use super::dns::redirect::ADDRESS;
use super::names::HOST_NAMES;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// `--dns`, `--dns-search`, `--dns-option`: each replaces what the host has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    pub servers: Vec<IpAddr>,
    /// A single `.` means none.
    pub search: Vec<String>,
    pub options: Vec<String>,
    /// The container has IPv6, so an IPv6 resolver of the host is of use.
    pub ipv6: bool,
    pub asks: Asks,
}

/// Whom a container asks for names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asks {
    /// The servers, from a network of its own.
    #[default]
    Servers,
    /// The servers, from the host's network: what is on the host's loopback is there for it, too.
    AsHost,
    /// Its monitor, which asks the host's servers for it, from the host's network.
    Forwarder,
    /// Its monitor, which knows the names of its networks, and asks for the others.
    Names,
}

/// resolv.conf from the host's (`host`) and, where that names only a resolver on the host's own loopback, from
/// systemd-resolved's list of the real ones (/run/systemd/resolve/resolv.conf). A loopback address of the host's never
/// gets into a container's network: there it would be the container's own.
pub fn resolv_conf(host: &str, systemd_resolved: Option<&str>, dns: &Dns) -> String {
    let found = match dns.asks {
        Asks::Servers | Asks::AsHost => reachable(host, systemd_resolved, dns),
        Asks::Forwarder | Asks::Names => vec![ADDRESS.into()],
    };
    let search = chosen(&dns.search, || search(host));
    let mut options = chosen(&dns.options, || words_of(host, "options"));
    // a name without a dot is a container's first, and a part of a search domain's then
    if dns.asks == Asks::Names && !options.iter().any(|option| is_ndots(option)) {
        options.push("ndots:0".to_owned());
    }
    let mut text = String::new();
    for server in &found {
        let _ = writeln!(text, "nameserver {server}");
    }
    if found.is_empty() {
        text.push_str(
            "# the host's resolvers are on its loopback, where a container cannot reach them: --dns names others\n",
        );
    }
    for (key, words) in [("search", search), ("options", options)] {
        if !words.is_empty() {
            let _ = writeln!(text, "{key} {}", words.join(" "));
        }
    }
    text
}

/// Those that the container can ask itself: what is given, else the host's, else systemd-resolved's.
fn reachable(host: &str, systemd_resolved: Option<&str>, dns: &Dns) -> Vec<IpAddr> {
    let is_near = |ip: &IpAddr| ip.is_loopback() || ip.is_unspecified();
    let fits = |ip: &IpAddr| dns.asks == Asks::AsHost || !is_near(ip) && (dns.ipv6 || ip.is_ipv4());
    let mut found = dns.servers.clone();
    for source in [Some(host), systemd_resolved].into_iter().flatten() {
        if found.is_empty() {
            found = servers(source).into_iter().filter(fits).collect();
        }
    }
    found
}

/// Whether the host has servers, and the container can reach none of them.
pub fn is_cut_off(host: &str, systemd_resolved: Option<&str>, dns: &Dns) -> bool {
    !servers(host).is_empty() && reachable(host, systemd_resolved, dns).is_empty()
}

fn is_ndots(option: &str) -> bool {
    option.starts_with("ndots:")
}

fn chosen(asked: &[String], host: impl FnOnce() -> Vec<String>) -> Vec<String> {
    match asked {
        [] => host(),
        [none] if none == "." => Vec::new(),
        asked => asked.to_vec(),
    }
}

/// The servers of a resolv.conf. An address with a zone (fe80::1%eth0) names a link of the host's and is left out.
pub fn servers(text: &str) -> Vec<IpAddr> {
    lines(text, "nameserver").filter_map(|words| words.first()?.parse().ok()).collect()
}

/// The same for who asks them from the host: those with a zone, too, where `link` knows its number.
pub fn servers_of_host(text: &str, port: u16, link: impl Fn(&str) -> Option<u32>) -> Vec<SocketAddr> {
    let socket = |word: &str| match word.split_once('%') {
        Some((ip, zone)) => {
            let number = zone.parse().ok().or_else(|| link(zone))?;
            Some(SocketAddrV6::new(ip.parse().ok()?, port, 0, number).into())
        }
        None => Some(SocketAddr::new(word.parse().ok()?, port)),
    };
    lines(text, "nameserver").filter_map(|words| socket(words.first()?)).collect()
}

/// The last of `search` and `domain` wins (resolv.conf(5)).
fn search(text: &str) -> Vec<String> {
    let is = |line: &&str| line.starts_with("search") || line.starts_with("domain");
    let last = text.lines().map(str::trim).rfind(is).unwrap_or_default();
    last.split_whitespace().skip(1).filter(|word| *word != ".").map(str::to_owned).collect()
}

fn words_of(text: &str, key: &str) -> Vec<String> {
    lines(text, key).flatten().map(str::to_owned).collect()
}

fn lines<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = Vec<&'a str>> {
    text.lines().filter_map(move |line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(key)).then(|| words.take_while(|word| !word.starts_with(['#', ';'])).collect())
    })
}

/// `--add-host NAME:ADDRESS`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddHost {
    pub name: String,
    pub address: HostAddress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostAddress {
    Ip(IpAddr),
    /// `host-gateway`: the host, as the container reaches it.
    Gateway,
}

impl AddHost {
    /// `name:ip`, `name=ip`, `name:[ip6]`, `name:host-gateway`.
    pub fn parse(word: &str) -> Result<AddHost> {
        let bad = |why: &str| {
            Error::user(format!("invalid host {word:?}: {why}")).hint("--add-host name:address, or name:host-gateway")
        };
        let (name, address) = word.split_once(['=', ':']).ok_or_else(|| bad("the address is missing"))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if name.is_empty() || !name.chars().all(plain) {
            return Err(bad("a name consists of letters, digits, `-`, `_` and `.`"));
        }
        let inner = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        let address = match inner {
            "host-gateway" => HostAddress::Gateway,
            ip => HostAddress::Ip(ip.parse().map_err(|_| bad("that is no IP address"))?),
        };
        Ok(AddHost { name: name.to_owned(), address })
    }
}

/// What /etc/hosts says beside localhost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hosts {
    /// The container's own addresses and names (its host name first).
    pub own: Vec<IpAddr>,
    pub names: Vec<String>,
    /// The host, as the container reaches it.
    pub gateway: Option<IpAddr>,
    pub extra: Vec<AddHost>,
}

/// /etc/hosts. `host-gateway` without a gateway is an error, for the name would silently be missing.
pub fn hosts(hosts: &Hosts) -> Result<String> {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    for AddHost { name, address } in &hosts.extra {
        let ip = match address {
            HostAddress::Ip(ip) => *ip,
            HostAddress::Gateway => hosts.gateway.ok_or_else(|| {
                Error::user(format!("host {name} cannot be the gateway: this container has none"))
                    .hint("use a network with a gateway")
            })?,
        };
        let _ = writeln!(text, "{ip}\t{name}");
    }
    if let Some(line) = of_host(hosts.gateway, |name| hosts.extra.iter().any(|extra| extra.name == name)) {
        text += &(line + "\n");
    }
    for ip in &hosts.own {
        let _ = writeln!(text, "{ip}\t{}", hosts.names.join(" "));
    }
    Ok(text)
}

/// The line of the host's names; of those that are given to nobody else.
fn of_host(gateway: Option<IpAddr>, is_given: impl Fn(&str) -> bool) -> Option<String> {
    let names: Vec<&str> = HOST_NAMES.into_iter().filter(|name| !is_given(name)).collect();
    gateway.filter(|_| !names.is_empty()).map(|gateway| format!("{gateway}\t{}", names.join(" ")))
}

/// What is new of a container that has come into a network or has left one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moved {
    pub new: Vec<IpAddr>,
    /// Addresses and gateways that it has no more.
    pub old: Vec<IpAddr>,
    /// The host, as the container reaches it now.
    pub gateway: Option<IpAddr>,
}

/// /etc/hosts of a container that has moved; what else stands there stays.
pub fn after_move(text: &str, hostname: &str, moved: &Moved) -> String {
    let own = |ip: &IpAddr| format!("{ip}\t{hostname}");
    let is_ours = |names: &str| names == hostname || names.split(' ').all(|name| HOST_NAMES.contains(&name));
    let is_old = |ip: &str| ip.parse().is_ok_and(|ip| moved.old.contains(&ip));
    let goes = |line: &str| line.split_once('\t').is_some_and(|(ip, names)| is_old(ip) && is_ours(names));
    let mut lines: Vec<String> = text.lines().filter(|line| !goes(line)).map(str::to_owned).collect();
    let given = |name: &str| lines.iter().any(|line| line.split_whitespace().skip(1).any(|word| word == name));
    lines.extend(of_host(moved.gateway, given));
    lines.extend(moved.new.iter().map(own));
    lines.into_iter().map(|line| line + "\n").collect()
}

/// Whether a container's resolv.conf names its monitor.
pub fn is_answered(resolv_conf: &str) -> bool {
    servers(resolv_conf).contains(&ADDRESS.into())
}

/// resolv.conf of a container whose monitor has begun to know names; `None` where it says so already.
pub fn with_names(resolv_conf: &str) -> Option<String> {
    let knows = is_answered(resolv_conf) && words_of(resolv_conf, "options").iter().any(|option| is_ndots(option));
    (!knows).then(|| self::resolv_conf(resolv_conf, None, &Dns { asks: Asks::Names, ..Dns::default() }))
}

/// /etc/hostname
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_from_the_host_reaches_servers_on_its_links() {
        let text = "nameserver fe80::1%eth0\nnameserver fe80::2%7\nnameserver 192.0.2.1\nnameserver fe80::3%gone\n";
        let link = |name: &str| (name == "eth0").then_some(2);
        let servers: Vec<String> = servers_of_host(text, 53, link).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["[fe80::1%2]:53", "[fe80::2%7]:53", "192.0.2.1:53"]);
    }

    #[test]
    fn a_loopback_resolver_never_reaches_a_container() {
        let stub = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n";
        let real = "nameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver 2001:db8::1\nsearch lan\n";
        let dns = Dns::default();
        let six = Dns { ipv6: true, ..Dns::default() };
        for (host, resolved, dns, wanted) in [
            (stub, Some(real), &dns, "nameserver 192.0.2.1\nsearch lan\noptions edns0 trust-ad\n"),
            (
                stub,
                Some(real),
                &six,
                "nameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch lan\noptions edns0 trust-ad\n",
            ),
            (real, Some("nameserver 9.9.9.9"), &dns, "nameserver 192.0.2.1\nsearch lan\n"),
            ("nameserver 127.0.0.1\nnameserver 192.0.2.7 # x\n", None, &dns, "nameserver 192.0.2.7\n"),
            (
                "domain a.example\nsearch b.example c.example\nnameserver 192.0.2.1",
                None,
                &dns,
                "nameserver 192.0.2.1\nsearch b.example c.example\n",
            ),
        ] {
            assert_eq!(resolv_conf(host, resolved, dns), wanted, "{host}");
        }
        for host in [stub, "", "nameserver ::1", "nameserver x\nnonsense"] {
            let text = resolv_conf(host, None, &six);
            assert!(!text.contains("\nnameserver") && text.starts_with("# the host's resolvers"), "{text}");
        }
    }

    #[test]
    fn who_can_reach_no_server_asks_its_monitor() {
        let (stub, six) = ("nameserver 127.0.0.53\nnameserver ::1\nsearch lan\n", "nameserver 2001:db8::1\n");
        let with = |servers: &[&str], ipv6: bool| Dns {
            servers: servers.iter().map(|ip| ip.parse().unwrap()).collect(),
            ipv6,
            ..Dns::default()
        };
        for (host, resolved, dns, cut_off) in [
            (stub, None, with(&[], true), true),
            (stub, Some(six), with(&[], false), true),
            (stub, Some(six), with(&[], true), false),
            (stub, Some("nameserver 192.0.2.1"), with(&[], false), false),
            (stub, None, with(&["192.0.2.9"], false), false),
            (six, None, with(&[], false), true),
            ("", None, with(&[], true), false), // there is nobody to be asked
        ] {
            assert_eq!(is_cut_off(host, resolved, &dns), cut_off, "{host} {resolved:?} {dns:?}");
        }
        let of = |asks| resolv_conf(stub, None, &Dns { asks, ..Dns::default() });
        let forwarder = of(Asks::Forwarder);
        assert_eq!(forwarder, "nameserver 127.0.0.11\nsearch lan\n");
        assert_eq!(of(Asks::AsHost), stub);
        // its first network with names
        let named = with_names(&forwarder).unwrap();
        assert_eq!(named, of(Asks::Names));
        assert_eq!(with_names(&named), None);
    }

    #[test]
    fn options_replace_what_the_host_has() {
        let dns = Dns {
            servers: vec!["192.0.2.9".parse().unwrap()],
            search: vec![".".into()],
            options: vec!["ndots:2".into()],
            ..Dns::default()
        };
        let text = resolv_conf("nameserver 192.0.2.1\nsearch lan\noptions rotate\n", None, &dns);
        assert_eq!(text, "nameserver 192.0.2.9\noptions ndots:2\n");
    }

    #[test]
    fn added_hosts_are_checked() {
        let ip = |ip: &str| HostAddress::Ip(ip.parse().unwrap());
        for (word, name, address) in [
            ("db:10.0.0.1", "db", ip("10.0.0.1")),
            ("db=10.0.0.1", "db", ip("10.0.0.1")),
            ("db:[fd00::1]", "db", ip("fd00::1")),
            ("db:fd00::1", "db", ip("fd00::1")),
            ("up:host-gateway", "up", HostAddress::Gateway),
        ] {
            assert_eq!(AddHost::parse(word).unwrap(), AddHost { name: name.into(), address }, "{word}");
        }
        for word in ["", "db", "db:", ":10.0.0.1", "db:x", "a b:10.0.0.1", "a\n1.2.3.4 b:10.0.0.1"] {
            assert!(AddHost::parse(word).is_err(), "{word:?}");
        }
    }

    #[test]
    fn hosts_names_the_container_and_the_host() {
        let mut wanted = Hosts {
            own: vec!["172.18.0.2".parse().unwrap()],
            names: vec!["web".into(), "web.lan".into()],
            gateway: Some("172.18.0.1".parse().unwrap()),
            extra: vec![AddHost::parse("db:10.0.0.1").unwrap(), AddHost::parse("up:host-gateway").unwrap()],
        };
        let text = hosts(&wanted).unwrap();
        for line in [
            "127.0.0.1\tlocalhost\n",
            "10.0.0.1\tdb\n",
            "172.18.0.1\tup\n",
            "172.18.0.1\thost.minirun.internal host.docker.internal\n",
            "172.18.0.2\tweb web.lan\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        wanted.gateway = None;
        assert!(hosts(&wanted).unwrap_err().message.contains("host up cannot be the gateway"));
    }

    #[test]
    fn who_moves_has_its_own_names_and_the_hosts_at_its_new_addresses() {
        let ips = |words: &[&str]| -> Vec<IpAddr> { words.iter().map(|word| word.parse().unwrap()).collect() };
        let moved = |new: &[&str], old: &[&str], gateway: Option<&str>| Moved {
            new: ips(new),
            old: ips(old),
            gateway: gateway.map(|ip| ip.parse().unwrap()),
        };
        let names = "host.minirun.internal host.docker.internal";
        let (first, second) = (format!("10.1.0.1\t{names}\n"), format!("10.2.0.1\t{names}\n"));
        let (mine, other) = ("10.1.0.2\tweb\n", "10.2.0.2\tweb\n");
        let base = "127.0.0.1\tlocalhost\n10.1.0.1\tup\n";
        for (before, change, after) in [
            // into a second network, out of the first one, out of the last one
            (format!("{first}{mine}"), moved(&["10.2.0.2"], &[], Some("10.1.0.1")), format!("{first}{mine}{other}")),
            (
                format!("{first}{mine}{other}"),
                moved(&[], &["10.1.0.2", "10.1.0.1"], Some("10.2.0.1")),
                other.to_owned() + &second,
            ),
            (format!("{first}{mine}"), moved(&[], &["10.1.0.2", "10.1.0.1"], None), String::new()),
            // into the first network that has a gateway
            (mine.to_owned(), moved(&[], &[], Some("10.1.0.1")), format!("{mine}{first}")),
            // a name that was given by hand is where it was
            (
                "192.0.2.1\thost.docker.internal\n".to_owned(),
                moved(&["10.1.0.2"], &[], Some("10.1.0.1")),
                format!("192.0.2.1\thost.docker.internal\n10.1.0.1\thost.minirun.internal\n{mine}"),
            ),
        ] {
            assert_eq!(after_move(&format!("{base}{before}"), "web", &change), format!("{base}{after}"), "{before}");
        }
    }
}
