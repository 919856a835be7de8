//! One registry over HTTP: requests with its token, redirects that never take the token along, answers of a bounded
//! size. It knows nothing of images.

use super::challenge::{self, Challenge};
use super::config::{Endpoint, RegistryConfig};
use crate::error::{Error, Result};
use std::io::Read as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use ureq::http::{Response, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

/// A registry that has not answered by then is not reachable (the whole command must fail within 5 s).
pub(super) const REACH: Duration = Duration::from_millis(4500);
/// A registry that answers at all sends the head of its next answer in this time.
const ANSWER: Duration = Duration::from_secs(30);
/// A body that stands still for this long is cut.
const STALL: Duration = Duration::from_secs(60);
/// registry → storage → signed address: two are usual.
const MAX_REDIRECTS: usize = 5;
/// Tokens are a few KiB.
const MAX_TOKEN: u64 = 1 << 20;

/// Why a request failed: nobody there, or a refusal.
#[derive(Debug)]
pub(super) enum Failure {
    Unreachable(String),
    Refused(Error),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        Failure::Refused(e)
    }
}

/// A registry that answered, and what it wants to see.
#[derive(Debug)]
pub(super) struct Registry<'a> {
    agent: Agent,
    endpoint: Endpoint,
    config: &'a RegistryConfig,
    authorization: Option<String>,
}

impl<'a> Registry<'a> {
    /// Finds out by `GET /v2/` whether the registry answers and what it asks for; gets a token for `repository`.
    pub(super) fn connect(
        endpoint: &Endpoint,
        repository: &str,
        config: &'a RegistryConfig,
        deadline: Instant,
    ) -> Result<Registry<'a>, Failure> {
        let agent = agent(endpoint);
        let mut registry = Registry { agent, endpoint: endpoint.clone(), config, authorization: None };
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let response = registry.send(&format!("{}/v2/", endpoint.base), "*/*", None, Some(left))?;
        if response.status() == 401 {
            let header = header(&response, "www-authenticate").and_then(challenge::parse);
            registry.authorization = registry.answer(header, repository)?;
        }
        Ok(registry)
    }

    /// GET below the registry's base; redirects are followed, an answer that is not 200 is an error.
    pub(super) fn get(&self, path: &str, accept: &str) -> Result<Response<Body>, Failure> {
        let mut url = format!("{}{path}", self.endpoint.base);
        for _ in 0..=MAX_REDIRECTS {
            let authorization = self.authorization.as_deref().filter(|_| self.is_own(&url));
            let response = self.send(&url, accept, authorization, None)?;
            match response.status().as_u16() {
                200 => return Ok(response),
                301 | 302 | 303 | 307 | 308 => url = self.redirected(&url, header(&response, "location"))?,
                status => return Err(refusal(status, &url, header(&response, "retry-after")).into()),
            }
        }
        Err(Error::image(format!("{url}: too many redirects")).into())
    }

    /// The whole body of an answer that must be short.
    pub(super) fn get_bytes(&self, path: &str, accept: &str, limit: u64) -> Result<Vec<u8>, Failure> {
        read_bounded(self.get(path, accept)?, limit)
    }

    fn send(
        &self,
        url: &str,
        accept: &str,
        authorization: Option<&str>,
        whole: Option<Duration>,
    ) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(url).header("accept", accept);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let answered = match whole {
            Some(whole) => request.config().timeout_global(Some(whole)).build().call(),
            None => request.call(),
        };
        answered.map_err(|e| Failure::Unreachable(format!("{}: {}", host_of(url), reason(&e))))
    }

    /// Same scheme, host and port as the registry: only then the token goes along.
    fn is_own(&self, url: &str) -> bool {
        url.strip_prefix(&self.endpoint.base).is_some_and(|rest| rest.starts_with('/'))
    }

    fn redirected(&self, from: &str, location: Option<&str>) -> Result<String> {
        let location = location.ok_or_else(|| Error::image(format!("{from}: a redirect to nowhere")))?;
        let url = match location.strip_prefix('/') {
            Some(path) if !path.starts_with('/') => format!("{}{location}", origin(from)),
            _ => location.to_owned(),
        };
        self.check_scheme(&url)?;
        Ok(url)
    }

    /// https, or plain http where that is allowed to this very host.
    fn check_scheme(&self, url: &str) -> Result<()> {
        if url.starts_with("https://") || (url.starts_with("http://") && self.config.is_plain(&host_of(url))) {
            return Ok(());
        }
        Err(Error::image(format!("the registry {} sends us to {url}, which is not encrypted", self.endpoint.host))
            .hint(format!("write insecure = [{:?}] if that is right", host_of(url))))
    }

    /// The Authorization header that answers a challenge.
    fn answer(&self, challenge: Option<Challenge>, repository: &str) -> Result<Option<String>, Failure> {
        let basic = self.config.credential(&self.endpoint.host).map(|auth| format!("Basic {auth}"));
        match challenge {
            Some(Challenge::Bearer { realm, service }) => {
                self.check_scheme(&realm)?;
                let separator = if realm.contains('?') { '&' } else { '?' };
                let service = service.map(|s| format!("service={}&", challenge::encode(&s))).unwrap_or_default();
                let scope = challenge::encode(&format!("repository:{repository}:pull"));
                let url = format!("{realm}{separator}{service}scope={scope}");
                self.token(&url, basic.as_deref()).map(|token| Some(format!("Bearer {token}")))
            }
            Some(Challenge::Basic) if basic.is_some() => Ok(basic),
            Some(Challenge::Basic) | None => {
                Err(Error::user(format!("registry {} wants a password", self.endpoint.host))
                    .hint(log_in(&self.endpoint.host))
                    .into())
            }
        }
    }

    fn token(&self, url: &str, basic: Option<&str>) -> Result<String, Failure> {
        #[derive(serde::Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let response = self.send(url, "application/json", basic, Some(ANSWER))?;
        if response.status() != 200 {
            return Err(refusal(response.status().as_u16(), url, header(&response, "retry-after")).into());
        }
        let bytes = read_bounded(response, MAX_TOKEN)?;
        let token: Option<Token> = serde_json::from_slice(&bytes).ok();
        token
            .and_then(|answer| answer.token.or(answer.access_token))
            .filter(|token| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()))
            .ok_or_else(|| Error::image(format!("{} gave no token", host_of(url))).into())
    }
}

fn read_bounded(response: Response<Body>, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = response.into_body().into_reader().take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|e| Failure::Unreachable(e.to_string()))?;
    if bytes.len() as u64 > limit {
        return Err(Error::image(format!("the registry's answer is longer than {limit} bytes")).into());
    }
    Ok(bytes)
}

fn agent(endpoint: &Endpoint) -> Agent {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_resolve(Some(Duration::from_secs(3)))
        .timeout_connect(Some(Duration::from_secs(4)))
        .timeout_recv_response(Some(ANSWER))
        .timeout_per_read(Some(STALL))
        .user_agent(concat!("minirun/", env!("CARGO_PKG_VERSION")));
    if endpoint.plain {
        // a proxy has no business between us and loopback
        config = config.proxy(None);
    }
    config.tls_config(tls()).build().new_agent()
}

/// TLS by ring, trusting what the host trusts. Read once: a certificate store is some hundred files.
fn tls() -> TlsConfig {
    static TLS: OnceLock<TlsConfig> = OnceLock::new();
    let make = || {
        let certificates = rustls_native_certs::load_native_certs().certs;
        let roots = certificates.iter().map(|der| Certificate::from_der(der).to_owned());
        TlsConfig::builder()
            .root_certs(RootCerts::from(roots))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build()
    };
    TLS.get_or_init(make).clone()
}

fn header<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

/// `https://host:port`
fn origin(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    url[..end].to_owned()
}

/// Host and port of a URL.
fn host_of(url: &str) -> String {
    url.parse::<Uri>()
        .ok()
        .and_then(|uri| uri.authority().map(|a| a.as_str().rsplit('@').next().unwrap_or_default().to_owned()))
        .unwrap_or_default()
}

fn refusal(status: u16, url: &str, retry_after: Option<&str>) -> Error {
    let host = host_of(url);
    let error = Error::image(format!("registry {host} answers {status}"));
    match status {
        401 | 403 => error.hint(format!("the image is private or does not exist; {}", log_in(&host))),
        404 => Error::image(format!("registry {host} has no such image")).hint("look at the name and the tag again"),
        429 => error.hint(format!(
            "too many pulls: wait{}, or log in",
            retry_after.map(|t| format!(" {} s", t.chars().take(20).collect::<String>())).unwrap_or_default()
        )),
        _ => error.hint("try again later"),
    }
}

/// We keep no passwords; those that docker and podman keep are read.
fn log_in(host: &str) -> String {
    format!("log in with docker login {host}, or name podman's file in REGISTRY_AUTH_FILE")
}

/// One clause, in lower case, without our plumbing.
fn reason(e: &ureq::Error) -> String {
    match e {
        ureq::Error::HostNotFound => "name not found".into(),
        ureq::Error::Timeout(_) => "no answer in time".into(),
        ureq::Error::ConnectionFailed => "connection failed".into(),
        ureq::Error::Io(e) => match e.raw_os_error() {
            Some(errno) => crate::error::Errno::from_raw(errno).desc().to_lowercase(),
            None if e.to_string().starts_with("failed to lookup") => "name not found".into(),
            None => e.to_string().to_lowercase(),
        },
        e => e.to_string(),
    }
}
