//! Mirrors and registries without TLS: one small TOML. Pure: the caller reads the file.

use super::logins::Logins;
use super::proxy::Proxies;
use crate::error::{Error, Result};
use crate::image::Reference;
use serde::Deserialize;
use std::time::Duration;

/// `[[mirror]] host = "docker.io" url = "http://127.0.0.1:5000"` and `insecure = ["host:port"]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryConfig {
    /// Asked before the registry itself, in this order.
    #[serde(default, rename = "mirror")]
    pub mirrors: Vec<Mirror>,
    /// Hosts (with port) that are spoken to without TLS. Loopback needs no entry.
    #[serde(default)]
    pub insecure: Vec<String>,
    #[serde(skip)]
    pub logins: Logins,
    #[serde(skip)]
    pub proxies: Proxies,
    /// After so much silence an answer is given up; `None` is the usual time.
    #[serde(skip)]
    pub silence: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// The registry that it stands in for, as it is written in names.
    pub host: String,
    pub url: String,
}

/// Where a registry answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `https://registry-1.docker.io`, without a slash at the end.
    pub base: String,
    /// Its host and port.
    pub host: String,
    /// Where it is silent another one is asked.
    pub has_substitute: bool,
}

impl RegistryConfig {
    /// Reads the file of settings.
    pub fn parse(text: &str) -> Result<RegistryConfig> {
        let config: RegistryConfig = toml::from_str(text).map_err(|e| {
            Error::user(format!("registry configuration: {}", e.message()))
                .hint("it holds [[mirror]] tables with host and url, and insecure = [\"host:port\"]")
        })?;
        config.mirrors.iter().try_for_each(|mirror| config.mirror_endpoint(mirror).map(drop))?;
        Ok(config)
    }

    /// The mirrors of the name's registry, then the registry itself.
    pub(super) fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>> {
        let mirrors = self.mirrors.iter().filter(|mirror| mirror.host == reference.registry);
        let mut endpoints: Vec<Endpoint> = mirrors.map(|mirror| self.mirror_endpoint(mirror)).collect::<Result<_>>()?;
        endpoints.push(self.endpoint(&reference.registry));
        Ok(endpoints)
    }

    /// The registry itself, as it is written in names: what is pushed goes there alone.
    pub(super) fn endpoint(&self, registry: &str) -> Endpoint {
        let host = if registry == "docker.io" { DOCKER_HUB } else { registry };
        let scheme = if self.is_plain(host) { "http" } else { "https" };
        Endpoint { base: format!("{scheme}://{host}"), host: host.to_owned(), has_substitute: false }
    }

    fn mirror_endpoint(&self, mirror: &Mirror) -> Result<Endpoint> {
        let url = mirror.url.trim_end_matches('/');
        let (scheme, host) = url
            .split_once("://")
            .filter(|(scheme, host)| matches!(*scheme, "http" | "https") && !host.is_empty())
            .ok_or_else(|| Error::user(format!("mirror url {url:?} is neither http:// nor https://")))?;
        let host = host.split('/').next().unwrap_or(host);
        if scheme == "http" && !self.is_plain(host) {
            return Err(Error::user(format!("mirror {url} is not encrypted"))
                .hint(format!("use https, or write insecure = [{host:?}]")));
        }
        Ok(Endpoint { base: url.to_owned(), host: host.to_owned(), has_substitute: true })
    }

    /// Whether plain http may be spoken to this host.
    pub(super) fn is_plain(&self, host: &str) -> bool {
        is_loopback(host) || self.insecure.iter().any(|insecure| insecure == host)
    }
}

/// Where docker.io answers.
pub(super) const DOCKER_HUB: &str = "registry-1.docker.io";

pub(super) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bases(config: &RegistryConfig, name: &str) -> Vec<String> {
        let endpoints = config.endpoints(&Reference::parse(name).unwrap()).unwrap();
        endpoints.into_iter().map(|e| e.base).collect()
    }

    #[test]
    fn mirrors_come_before_the_registry() {
        let config = RegistryConfig::parse(
            "insecure = [\"reg.lan:80\"]\n[[mirror]]\nhost = \"docker.io\"\nurl = \"http://127.0.0.1:5000/\"\n",
        )
        .unwrap();
        for (name, wanted) in [
            ("alpine", &["http://127.0.0.1:5000", "https://registry-1.docker.io"][..]),
            ("ghcr.io/a/b", &["https://ghcr.io"]),
            ("reg.lan:80/x", &["http://reg.lan:80"]),
            ("localhost:1/x", &["http://localhost:1"]),
            ("[::1]:1/x", &["http://[::1]:1"]),
            ("127.0.0.1.example.org/x", &["https://127.0.0.1.example.org"]),
        ] {
            assert_eq!(bases(&config, name), wanted, "{name}");
        }
    }

    #[test]
    fn plain_http_must_be_asked_for() {
        for bad in ["[[mirror]]\nhost='a'\nurl='http://mirror.lan'", "[[mirror]]\nhost='a'\nurl='ftp://x'", "mirrors=1"]
        {
            assert!(RegistryConfig::parse(bad).is_err(), "{bad}");
        }
    }
}
