//! Published ports: docker's `-p [ip:][host[-host]]:ctr[-ctr][/tcp|udp|sctp]`, parsed and resolved. Pure.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub fn parse(text: &str) -> Result<Protocol> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            "sctp" => Ok(Protocol::Sctp),
            _ => Err(Error::user(format!("invalid protocol {text:?}")).hint("tcp, udp and sctp can be published")),
        }
    }

    /// IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

/// Which port of the host is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostPort {
    /// This one.
    Exact(u16),
    /// The first free one of these (both included).
    FreeIn(u16, u16),
    /// Any free one.
    Free,
}

/// One request to publish one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// Only at this address of the host; `None` is all.
    pub ip: Option<IpAddr>,
    pub host: HostPort,
    pub container: u16,
    pub protocol: Protocol,
}

impl Publish {
    /// One `-p` word; a range gives one request for each port.
    pub fn parse(word: &str) -> Result<Vec<Publish>> {
        let bad = |why: &str| {
            Error::user(format!("invalid port {word:?}: {why}"))
                .hint("-p [ip:][host[-host]]:container[-container][/tcp|udp|sctp], like 8080:80 or 127.0.0.1:53:53/udp")
        };
        let (ports, protocol) = match word.rsplit_once('/') {
            Some((ports, protocol)) => (ports, Protocol::parse(protocol).map_err(|e| bad(&e.message))?),
            None => (word, Protocol::Tcp),
        };
        let (ip, ports) = split_ip(ports).map_err(|why| bad(&why))?;
        let (host, container) = match ports.rsplit_once(':') {
            Some((host, container)) => (host, container),
            None if ip.is_some() => return Err(bad("the container's port is missing")),
            None => ("", ports),
        };
        let container = range(container).map_err(|why| bad(&format!("container port {why}")))?;
        if container.0 == 0 {
            return Err(bad("container port 0"));
        }
        let host = match host {
            "" | "0" => None,
            host => Some(range(host).map_err(|why| bad(&format!("host port {why}")))?),
        };
        let requests = pair(host, container).ok_or_else(|| bad("the ranges differ in length"))?;
        Ok(requests.into_iter().map(|(host, container)| Publish { ip, host, container, protocol }).collect())
    }
}

impl Publish {
    /// Whether it may become this port of the host, or clashes with it. Any free port is never one that somebody has.
    pub fn may_be(&self, port: &Published) -> bool {
        let number = match self.host {
            HostPort::Exact(number) => number == port.port,
            HostPort::FreeIn(first, last) => (first..=last).contains(&port.port),
            HostPort::Free => false,
        };
        let address = self.ip.is_none() || port.ip.is_none() || self.ip == port.ip;
        number && address && self.protocol == port.protocol
    }
}

/// Cuts off the address in front: what stands in brackets, or what is left of the last two colons.
fn split_ip(text: &str) -> Result<(Option<IpAddr>, &str), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (ip, ports) = rest.split_once("]:").ok_or("`]:` is missing behind the address")?;
        let ip: std::net::Ipv6Addr = ip.parse().map_err(|_| format!("{ip:?} is no IPv6 address"))?;
        return Ok((Some(ip.into()), ports));
    }
    let mut parts = text.splitn(3, ':');
    let (first, second, third) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    match (second, third) {
        (Some(_), Some(rest)) if rest.contains(':') => Err("an IPv6 address stands in brackets".into()),
        (Some(_), Some(_)) if first.is_empty() => Ok((None, &text[1..])),
        (Some(_), Some(_)) => {
            let ip: std::net::Ipv4Addr = first.parse().map_err(|_| format!("{first:?} is no IP address"))?;
            Ok((Some(ip.into()), &text[first.len() + 1..]))
        }
        _ => Ok((None, text)),
    }
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first > last { Err(format!("range {text} runs backwards")) } else { Ok((first, last)) }
}

fn number(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let port = digits.then(|| text.parse().ok()).flatten();
    port.ok_or_else(|| format!("{text:?} is no number from 0 to 65535"))
}

/// Which host port goes to which port of the container. A range of host ports for one port means: the first free one.
fn pair(host: Option<(u16, u16)>, container: (u16, u16)) -> Option<Vec<(HostPort, u16)>> {
    let length = |(first, last): (u16, u16)| last - first;
    match host {
        None => Some((container.0..=container.1).map(|port| (HostPort::Free, port)).collect()),
        Some(host) if length(host) == length(container) => {
            let exact = |port| if port == 0 { HostPort::Free } else { HostPort::Exact(port) };
            Some((host.0..=host.1).map(exact).zip(container.0..=container.1).collect())
        }
        Some(host) if length(container) == 0 => Some(vec![(HostPort::FreeIn(host.0.max(1), host.1), container.0)]),
        Some(_) => None,
    }
}

/// A port of the host that leads to a port of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Published {
    /// Only at this address of the host; `None` is all of the family of `to`.
    pub ip: Option<IpAddr>,
    pub port: u16,
    pub protocol: Protocol,
    pub to: SocketAddr,
}

impl Published {
    /// The container's own: `80/tcp`.
    pub fn inside(&self) -> String {
        format!("{}/{}", self.to.port(), self.protocol)
    }

    /// Where other programs would listen for the same packets.
    pub fn listen(&self) -> SocketAddr {
        let any: IpAddr = if self.to.is_ipv4() { [0; 4].into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
        SocketAddr::new(self.ip.unwrap_or(any), self.port)
    }

    /// The same packets would go both ways.
    pub fn clashes(&self, other: &Published) -> bool {
        let address = self.ip.is_none() || other.ip.is_none() || self.ip == other.ip;
        address && (self.port, self.protocol, self.to.is_ipv4()) == (other.port, other.protocol, other.to.is_ipv4())
    }
}

/// As people name it in errors: `8080/tcp`, `127.0.0.1:8080/tcp`, `[::1]:8080/tcp`.
impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            None => write!(f, "{}/{}", self.port, self.protocol),
            Some(ip) => write!(f, "{}/{}", SocketAddr::new(ip, self.port), self.protocol),
        }
    }
}

/// As docker lists them (docker/cli, formatter.DisplayablePorts): `0.0.0.0:8000-8002->8000-8002/tcp` is one word, and
/// those that lead to another number come one by one behind, `0.0.0.0:8080->80/tcp`.
pub fn ranges(published: &[Published]) -> Vec<String> {
    let same = |port: &Published| port.port == port.to.port();
    let mut sorted: Vec<&Published> = published.iter().collect();
    sorted.sort_by_key(|port| (!same(port), port.protocol, port.listen().ip(), port.to.port(), port.port));
    let follow = |a: &&Published, b: &&Published| {
        let side_by_side = (a.protocol, a.listen().ip()) == (b.protocol, b.listen().ip());
        same(a) && same(b) && side_by_side && a.port.checked_add(1) == Some(b.port)
    };
    let word = |run: &[&Published]| {
        let (first, last) = (run.first()?, run.last()?);
        let to = if run.len() > 1 { format!("-{}", last.port) } else { String::new() };
        Some(format!("{}{to}->{}{to}/{}", first.listen(), first.to.port(), first.protocol))
    };
    sorted.chunk_by(follow).filter_map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use HostPort::{Exact, Free, FreeIn};

    #[test]
    fn ports_that_follow_one_another_are_one_word() {
        let port = |port: u16, to: &str, protocol| Published { ip: None, port, protocol, to: to.parse().unwrap() };
        let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
        let published = [
            port(9001, "10.0.0.2:81", tcp),
            port(8002, "10.0.0.2:8002", tcp),
            port(9000, "10.0.0.2:80", tcp),
            port(8000, "10.0.0.2:8000", tcp),
            port(8001, "10.0.0.2:8001", tcp),
            port(8001, "[fd00::2]:8001", tcp),
            port(8002, "10.0.0.2:8002", udp),
        ];
        let want = [
            "0.0.0.0:8000-8002->8000-8002/tcp",
            "[::]:8001->8001/tcp",
            "0.0.0.0:8002->8002/udp",
            "0.0.0.0:9000->80/tcp",
            "0.0.0.0:9001->81/tcp",
        ];
        assert_eq!(ranges(&published), want);
    }

    #[test]
    fn a_word_says_address_host_port_container_port_and_protocol() {
        type Row = (&'static str, Option<&'static str>, Vec<(HostPort, u16)>, Protocol);
        let table: Vec<Row> = vec![
            ("80", None, vec![(Free, 80)], Protocol::Tcp),
            ("8080:80", None, vec![(Exact(8080), 80)], Protocol::Tcp),
            (":80", None, vec![(Free, 80)], Protocol::Tcp),
            ("0:80", None, vec![(Free, 80)], Protocol::Tcp),
            ("::80", None, vec![(Free, 80)], Protocol::Tcp),
            ("53:53/udp", None, vec![(Exact(53), 53)], Protocol::Udp),
            ("53:53/UDP", None, vec![(Exact(53), 53)], Protocol::Udp),
            ("127.0.0.1:8080:80", Some("127.0.0.1"), vec![(Exact(8080), 80)], Protocol::Tcp),
            ("127.0.0.1::80", Some("127.0.0.1"), vec![(Free, 80)], Protocol::Tcp),
            ("0.0.0.0:8080:80", Some("0.0.0.0"), vec![(Exact(8080), 80)], Protocol::Tcp),
            ("[::1]:8080:80", Some("::1"), vec![(Exact(8080), 80)], Protocol::Tcp),
            ("[fd00::2]::80/udp", Some("fd00::2"), vec![(Free, 80)], Protocol::Udp),
            ("8000-8001:80-81", None, vec![(Exact(8000), 80), (Exact(8001), 81)], Protocol::Tcp),
            ("8000-8010:80", None, vec![(FreeIn(8000, 8010), 80)], Protocol::Tcp),
            ("80-82", None, vec![(Free, 80), (Free, 81), (Free, 82)], Protocol::Tcp),
            ("65535:65535", None, vec![(Exact(65535), 65535)], Protocol::Tcp),
        ];
        for (word, ip, ports, protocol) in table {
            let ip = ip.map(|ip| ip.parse().unwrap());
            let wanted: Vec<Publish> =
                ports.into_iter().map(|(host, container)| Publish { ip, host, container, protocol }).collect();
            assert_eq!(Publish::parse(word).unwrap(), wanted, "{word}");
        }
    }

    #[test]
    fn a_wrong_word_is_refused_with_the_reason() {
        for (word, reason) in [
            ("", "\"\" is no number"),
            ("x", "container port \"x\" is no number"),
            ("8080:", "container port \"\" is no number"),
            ("8080:0", "container port 0"),
            ("0", "container port 0"),
            ("65536:80", "host port \"65536\" is no number from 0 to 65535"),
            ("80:65536", "container port \"65536\""),
            ("+80:80", "host port \"+80\""),
            ("-1:80", "host port \"\" is no number"),
            ("80:80/", "invalid protocol \"\""),
            ("80:80/dccp", "invalid protocol \"dccp\""),
            ("80:80/tcp/udp", "container port \"80/tcp\""),
            ("localhost:80:80", "\"localhost\" is no IP address"),
            ("1.2.3:80:80", "\"1.2.3\" is no IP address"),
            ("::1:8080:80", "stands in brackets"),
            ("[::1]8080:80", "`]:` is missing"),
            ("[::1]:80", "the container's port is missing"),
            ("[1.2.3.4]:80:80", "no IPv6 address"),
            ("[::1]:1:2:3", "host port \"1:2\""),
            ("9-8:9-8", "runs backwards"),
            ("8000-8002:80-81", "differ in length"),
            ("80-81:80-81-82", "is no number"),
            (" 80:80", "host port \" 80\""),
        ] {
            let error = Publish::parse(word).unwrap_err();
            assert!(error.message.contains(reason), "{word}: {}", error.message);
            assert!(error.hint.is_some());
        }
    }

    #[test]
    fn ports_clash_where_the_same_packets_would_go_both_ways() {
        let port = |ip: Option<&str>, port, protocol| Published {
            ip: ip.map(|ip| ip.parse().unwrap()),
            port,
            protocol,
            to: "172.18.0.2:80".parse().unwrap(),
        };
        let all = port(None, 80, Protocol::Tcp);
        assert!(all.clashes(&port(Some("127.0.0.1"), 80, Protocol::Tcp)));
        assert!(!all.clashes(&port(None, 80, Protocol::Udp)));
        assert!(!all.clashes(&port(None, 81, Protocol::Tcp)));
        assert!(!port(Some("10.0.0.1"), 80, Protocol::Tcp).clashes(&port(Some("127.0.0.1"), 80, Protocol::Tcp)));
    }

    #[test]
    fn a_request_may_be_a_port_of_its_number_address_and_protocol() {
        let port = Published { ip: None, port: 80, protocol: Protocol::Tcp, to: "10.0.0.2:80".parse().unwrap() };
        let here = Published { ip: Some([127, 0, 0, 1].into()), ..port.clone() };
        for (word, any, local) in [
            ("80:1", true, true),
            ("79-81:1", true, true),
            ("127.0.0.1:80:1", true, true),
            ("127.0.0.2:80:1", true, false),
            ("81:80", false, false),
            ("80:1/udp", false, false),
            ("80", false, false),
        ] {
            let request = Publish::parse(word).unwrap().remove(0);
            assert_eq!((request.may_be(&port), request.may_be(&here)), (any, local), "{word}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered(word in ".{0,40}") {
            let _ = Publish::parse(&word);
        }
    }
}
