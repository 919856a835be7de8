//! Which subnet a new network gets: the first of the pool that nothing on the host uses. Pure.

use crate::error::{Error, Result};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Addresses that are in use already, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    pub net: IpNet,
    /// `route via tun0`, `address of eth0`, `network web`
    pub by: String,
}

/// The first free subnet: 172.18 to 172.31 as docker's (172.17 is docker0's), then /16s of 10.200 to 10.254, then
/// 192.168.0.0/20 and on for hosts whose VPN takes the rest.
pub fn choose(used: &[Used]) -> Result<IpNet> {
    let free = pool().find(|net| clash(net, used).is_none());
    free.ok_or_else(|| {
        Error::host("no subnet of the pool is free: the host's routes and networks use all of them")
            .hint("see `ip route show table all`, or choose one with `network create --subnet`")
    })
}

/// The same in IPv6: the first of ten that `unique` gives (RFC 4193: nobody else is likely to have the first).
pub fn choose_v6(used: &[Used], unique: impl Fn(u8) -> Ipv6Net) -> Result<IpNet> {
    let free = (0..10).map(|attempt| IpNet::from(unique(attempt))).find(|net| clash(net, used).is_none());
    free.ok_or_else(|| {
        Error::host("no IPv6 subnet is free: the host's routes and networks use those that were tried")
            .hint("choose one with --subnet fd00:1:2:3::/64, or --ipv6=false")
    })
}

/// Refuses a subnet that something uses, and names it.
pub fn check(net: &IpNet, used: &[Used]) -> Result<()> {
    match clash(net, used) {
        None => Ok(()),
        Some(used) => Err(Error::user(format!("subnet {net} overlaps {} ({})", used.net, used.by))
            .hint("choose another subnet, or leave the choice to minirun")),
    }
}

fn clash<'a>(net: &IpNet, used: &'a [Used]) -> Option<&'a Used> {
    used.iter().find(|used| used.net.prefix_len() >= WHOLE_INTERNET && overlap(net, &used.net))
}

/// Default routes, and their halves and quarters that VPNs add to win over them, are no claim to an address.
const WHOLE_INTERNET: u8 = 4;

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

fn pool() -> impl Iterator<Item = IpNet> {
    let net = |a, b, c, length| Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), length).into();
    let docker = (18..=31).map(move |b| net(172, b, 0, 16));
    let ten = (200..=254).map(move |b| net(10, b, 0, 16));
    docker.chain(ten).chain((0..16).map(move |c| net(192, 168, c * 16, 20)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(nets: &[&str]) -> Vec<Used> {
        nets.iter().map(|net| Used { net: net.parse().unwrap(), by: "route via tun0".into() }).collect()
    }

    #[test]
    fn the_first_subnet_that_nothing_uses_is_chosen() {
        for (taken, wanted) in [
            (vec![], "172.18.0.0/16"),
            (vec!["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"], "172.18.0.0/16"),
            (vec!["172.17.0.0/16", "172.18.5.0/24"], "172.19.0.0/16"),
            (vec!["172.16.0.0/12"], "10.200.0.0/16"),
            (vec!["172.16.0.0/12", "10.0.0.0/8", "192.168.1.0/24"], "192.168.16.0/20"),
            (vec!["fd00::/8"], "172.18.0.0/16"),
        ] {
            assert_eq!(choose(&used(&taken)).unwrap().to_string(), wanted, "{taken:?}");
        }
        assert!(choose(&used(&["172.16.0.0/12", "10.0.0.0/8", "192.168.0.0/16"])).is_err());
    }

    #[test]
    fn an_overlap_names_the_culprit() {
        let error = check(&"172.18.0.0/16".parse().unwrap(), &used(&["172.18.7.0/24"])).unwrap_err();
        assert_eq!(error.message, "subnet 172.18.0.0/16 overlaps 172.18.7.0/24 (route via tun0)");
        check(&"172.18.0.0/16".parse().unwrap(), &used(&["172.19.0.0/16", "0.0.0.0/0"])).unwrap();
    }
}
