//! Which proxy leads to a registry. Pure. As Go has it (golang.org/x/net/http/httpproxy), for docker's users have
//! settings for that: NO_PROXY names domains with all below them, addresses, networks, each with a port or without.

use super::config::is_loopback;
use crate::error::{Error, Result};
use std::net::IpAddr;
use ureq::Proxy;

/// The proxies for https and for http, and the hosts that need none; empty where there is none.
pub type Proxies = [String; 3];

/// The proxy for a place, such as `https://ghcr.io`, whose host and port are `host`.
pub(super) fn of(origin: &str, host: &str, proxies: &Proxies) -> Result<Option<Proxy>> {
    let [https, http, none] = proxies;
    let (proxy, variable, port) =
        if origin.starts_with("https") { (https, "HTTPS_PROXY", "443") } else { (http, "HTTP_PROXY", "80") };
    if proxy.is_empty() || needs_none(host, port, none) {
        return Ok(None);
    }
    // nothing of it in the error: it may hold a password
    let made = Proxy::new(proxy).map_err(|_| Error::user(format!("{variable} is no proxy")));
    made.map(Some).map_err(|e| e.hint("it is like http://proxy.lan:3128"))
}

/// A proxy has no business between us and loopback.
fn needs_none(host: &str, port: &str, none: &str) -> bool {
    let (name, port) = split_port(host, port);
    let address: Option<IpAddr> = name.parse().ok();
    let covers = |entry: &str| {
        if entry == "*" {
            return true;
        }
        if let (Some(address), Ok(net)) = (address, entry.parse::<ipnet::IpNet>()) {
            return net.contains(&address);
        }
        let (entry, wanted) = split_port(entry, "");
        if !wanted.is_empty() && wanted != port {
            return false;
        }
        let entry = entry.trim_start_matches('*').to_ascii_lowercase();
        let name = name.to_ascii_lowercase();
        match entry.strip_prefix('.') {
            Some(_) => name.ends_with(&entry),
            None => name == entry || name.strip_suffix(&entry).is_some_and(|rest| rest.ends_with('.')),
        }
    };
    is_loopback(host) || none.split([',', ' ']).filter(|entry| !entry.is_empty()).any(covers)
}

/// `host`, `host:port`, `[::1]:port`, `::1`
fn split_port<'t>(text: &'t str, default: &'t str) -> (&'t str, &'t str) {
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':').unwrap_or(default));
    }
    match text.split_once(':') {
        Some((name, port)) if !port.contains(':') => (name, port),
        _ => (text, default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_is_read_as_go_reads_it() {
        for (host, none, direct) in [
            ("ghcr.io", "", false),
            ("ghcr.io", "*", true),
            ("ghcr.io", "docker.io, ghcr.io", true),
            ("GHCR.io", "ghcr.IO", true),
            ("xghcr.io", "ghcr.io", false),
            ("a.reg.lan", "reg.lan", true),
            ("a.reg.lan", ".reg.lan", true),
            ("reg.lan", ".reg.lan", false),
            ("reg.lan:5000", "reg.lan", true),
            ("reg.lan:5000", "reg.lan:5000", true),
            ("reg.lan:5001", "reg.lan:5000", false),
            ("reg.lan", "reg.lan:443", true),
            ("10.1.2.3:5000", "10.0.0.0/8", true),
            ("11.1.2.3", "10.0.0.0/8", false),
            ("[fd00::1]:5000", "fd00::/8", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("127.0.0.1:5000", "", true),
            ("localhost", "", true),
        ] {
            assert_eq!(needs_none(host, "443", none), direct, "{host} {none:?}");
        }
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        let proxies = ["http://s:1".to_owned(), String::new(), "lan".to_owned()];
        let host = |origin: &str, host: &str| of(origin, host, &proxies).unwrap().map(|p| p.host().to_owned());
        assert_eq!(host("https://ghcr.io", "ghcr.io").as_deref(), Some("s"));
        assert_eq!(host("https://r.lan", "r.lan"), None);
        assert_eq!(host("http://ghcr.io", "ghcr.io"), None);
        let wrong = ["secret:://".to_owned(), String::new(), String::new()];
        assert!(!of("https://x", "x", &wrong).unwrap_err().to_string().contains("secret"));
    }
}
