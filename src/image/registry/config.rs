//! Mirrors, registries without TLS, and credentials: one small TOML, and docker's own config.json. Pure: the caller
//! reads the files.

use crate::error::{Error, Result};
use crate::image::Reference;
use serde::Deserialize;
use std::collections::BTreeMap;

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
    /// Host → what stands behind `Authorization: Basic`.
    #[serde(skip)]
    credentials: BTreeMap<String, String>,
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
    /// Whether plain http is allowed to that host.
    pub plain: bool,
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

    /// Adds the credentials of a docker `config.json` or podman `auth.json`: `{"auths": {HOST: {"auth": BASE64}}}`.
    /// What an earlier file said of a host stays.
    pub fn add_credentials(&mut self, json: &str) -> Result<()> {
        #[derive(Deserialize)]
        struct File {
            #[serde(default)]
            auths: BTreeMap<String, Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            auth: Option<String>,
        }
        // nothing of the file in the error: it holds secrets
        let file: File = serde_json::from_str(json)
            .map_err(|e| Error::user(format!("credentials file: line {} is not as it should be", e.line())))?;
        for (key, entry) in file.auths {
            if let Some(auth) = entry.auth.filter(|auth| is_base64(auth)) {
                self.credentials.entry(host_of_key(&key)).or_insert(auth);
            }
        }
        Ok(())
    }

    pub(super) fn credential(&self, host: &str) -> Option<&str> {
        let key = if host == DOCKER_HUB { "docker.io" } else { host };
        self.credentials.get(key).map(String::as_str)
    }

    /// The mirrors of the name's registry, then the registry itself.
    pub(super) fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>> {
        let mirrors = self.mirrors.iter().filter(|mirror| mirror.host == reference.registry);
        let mut endpoints: Vec<Endpoint> = mirrors.map(|mirror| self.mirror_endpoint(mirror)).collect::<Result<_>>()?;
        let host = if reference.registry == "docker.io" { DOCKER_HUB } else { &reference.registry };
        let plain = self.is_plain(host);
        let scheme = if plain { "http" } else { "https" };
        endpoints.push(Endpoint { base: format!("{scheme}://{host}"), host: host.to_owned(), plain });
        Ok(endpoints)
    }

    fn mirror_endpoint(&self, mirror: &Mirror) -> Result<Endpoint> {
        let url = mirror.url.trim_end_matches('/');
        let (scheme, host) = url
            .split_once("://")
            .filter(|(scheme, host)| matches!(*scheme, "http" | "https") && !host.is_empty())
            .ok_or_else(|| Error::user(format!("mirror url {url:?} is neither http:// nor https://")))?;
        let host = host.split('/').next().unwrap_or(host);
        let plain = self.is_plain(host);
        if scheme == "http" && !plain {
            return Err(Error::user(format!("mirror {url} is not encrypted"))
                .hint(format!("use https, or write insecure = [{host:?}]")));
        }
        Ok(Endpoint { base: url.to_owned(), host: host.to_owned(), plain })
    }

    /// Whether plain http may be spoken to this host.
    pub(super) fn is_plain(&self, host: &str) -> bool {
        is_loopback(host) || self.insecure.iter().any(|insecure| insecure == host)
    }
}

/// Where docker.io answers.
const DOCKER_HUB: &str = "registry-1.docker.io";

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// docker writes `https://index.docker.io/v1/`, others a host.
fn host_of_key(key: &str) -> String {
    let host = key.split_once("://").map_or(key, |(_, rest)| rest).split('/').next().unwrap_or(key);
    match host {
        "index.docker.io" | DOCKER_HUB => "docker.io".to_owned(),
        host => host.to_owned(),
    }
}

/// It goes into a header as it is.
fn is_base64(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
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

    #[test]
    fn credentials_are_found_by_host() {
        let mut config = RegistryConfig::default();
        let json = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "YTpi"}, "ghcr.io": {"auth": "a\r\nX: y"}, "x": {}}}"#;
        config.add_credentials(json).unwrap();
        assert_eq!(config.credential("registry-1.docker.io"), Some("YTpi"));
        assert_eq!(config.credential("ghcr.io"), None);
        config.add_credentials(r#"{"auths": {"docker.io": {"auth": "Yjpj"}}}"#).unwrap();
        assert_eq!(config.credential("registry-1.docker.io"), Some("YTpi"), "the nearer file wins");
        assert!(!config.add_credentials("{\"auths\": \"secret\"}").unwrap_err().message.contains("secret"));
    }
}
