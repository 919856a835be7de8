//! One registry over HTTP: requests with its token, tries again where that may help, redirects that never take the
//! token along, answers of a bounded size. It knows nothing of images.

use super::challenge;
use super::config::{Endpoint, RegistryConfig};
use super::{certificates, proxy};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use ureq::http::{Method, Request, Response, Uri};
use ureq::{Agent, Body, SendBody};

/// A registry that has not answered by then is not reachable (the whole command must fail within 5 s); its mirrors have
/// their shares of it.
pub(super) const REACH: Duration = Duration::from_millis(4500);
/// A registry that answers at all sends the head of its next answer in this time.
const ANSWER: Duration = Duration::from_secs(30);
/// A body that stands still for this long is cut.
const STALL: Duration = Duration::from_secs(60);
/// registry → storage → signed address: two are usual.
const MAX_REDIRECTS: usize = 5;
/// How often a request is made again that nobody answered, or that a registry in trouble answered.
pub(super) const TRIES: u32 = 4;
/// So long is waited where a registry says when to come again; longer is the caller's decision.
const PATIENCE: u64 = 5;
/// Of what a registry says of its refusal; that is a line of JSON.
const MAX_WORDS: u64 = 4 << 10;

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nobody is there: no such name, or nobody listens.
    Absent(String),
    /// Somebody is there, and says nothing in time.
    Silent(String),
    /// What was said was cut, or was of a registry in trouble.
    Unreachable(String),
    Refused(Error),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        Failure::Refused(e)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Absent(reason) | Failure::Silent(reason) | Failure::Unreachable(reason) => {
                Error::host(format!("the registry cannot be reached ({reason})")).hint("try again later")
            }
            Failure::Refused(e) => e,
        }
    }
}

/// A body to send, opened again for each try.
pub(super) type Open<'r> = &'r dyn Fn() -> Result<Box<dyn Read + Send + 'r>>;

/// A request: a path below the registry's base, or a whole URL.
pub(super) struct Ask<'r, 'b> {
    pub method: Method,
    pub url: &'r str,
    pub headers: &'r [(&'r str, &'r str)],
    /// With its length in bytes.
    pub body: Option<(u64, Open<'b>)>,
}

impl<'r> Ask<'r, 'static> {
    pub(super) fn get(url: &'r str, headers: &'r [(&'r str, &'r str)]) -> Ask<'r, 'static> {
        Ask { method: Method::GET, url, headers, body: None }
    }
}

/// A registry that answered, and what it wants to see.
#[derive(Debug)]
pub(super) struct Registry<'a> {
    pub endpoint: Endpoint,
    pub config: &'a RegistryConfig,
    /// The repository, and what is to be done there: `repository:library/alpine:pull`.
    pub scopes: Vec<String>,
    /// One for each place that is spoken to, for each has certificates and a proxy of its own.
    agents: Mutex<BTreeMap<String, Agent>>,
    authorization: Mutex<Option<String>>,
}

impl<'a> Registry<'a> {
    /// Finds out by `GET /v2/` whether the registry answers in that time and what it asks for; gets a token for `scopes`.
    pub(super) fn connect(
        endpoint: &Endpoint,
        scopes: Vec<String>,
        config: &'a RegistryConfig,
        patience: Duration,
    ) -> Result<Registry<'a>, Failure> {
        let (agents, authorization) = (Mutex::default(), Mutex::default());
        let registry = Registry { endpoint: endpoint.clone(), config, scopes, agents, authorization };
        let url = format!("{}/v2/", endpoint.base);
        let response = registry.first(&url, patience)?;
        if response.status() == 401 {
            registry.renew(None, &response)?;
        }
        Ok(registry)
    }

    /// The first answer, in that time. Who is not there at all, or silent, is not asked again.
    fn first(&self, url: &str, patience: Duration) -> Result<Response<Body>, Failure> {
        let (mut tries, began) = (0, Instant::now());
        loop {
            let left = patience.saturating_sub(began.elapsed());
            let answer = self.send(&Ask::get(url, &[]), url, None, Some(left));
            let left = patience.saturating_sub(began.elapsed());
            match answer {
                Err(Failure::Unreachable(_)) if tries < TRIES && backoff(tries) < left => {
                    std::thread::sleep(backoff(tries));
                }
                answer => return answer,
            }
            tries += 1;
        }
    }

    /// Cuts all that is under way, in other threads; nothing can be asked any more.
    pub(super) fn hang_up(&self) {
        let agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        agents.values().cloned().for_each(Agent::shutdown);
    }

    /// The answer, whatever its status: but for redirects, which are followed, a token that is renewed, and troubles
    /// that pass.
    pub(super) fn ask(&self, ask: &Ask<'_, '_>) -> Result<(Response<Body>, String), Failure> {
        let (mut tries, mut renewed) = (0, false);
        loop {
            let shown = self.authorization();
            let answer = self.follow(ask, shown.as_deref());
            let wait = match &answer {
                Ok((response, url)) => match response.status().as_u16() {
                    401 if !renewed && self.is_own(url) => {
                        renewed = true;
                        self.renew(shown.as_deref(), response)?;
                        continue;
                    }
                    429 => header(response, "retry-after")
                        .and_then(|wait| wait.parse().ok())
                        .filter(|wait| *wait <= PATIENCE)
                        .map(Duration::from_secs),
                    500 | 502..=599 => Some(backoff(tries)),
                    _ => None,
                },
                Err(Failure::Absent(_) | Failure::Silent(_)) if self.endpoint.has_substitute => None,
                Err(Failure::Absent(_) | Failure::Silent(_) | Failure::Unreachable(_)) => Some(backoff(tries)),
                Err(Failure::Refused(_)) => None,
            };
            match wait {
                Some(wait) if tries < TRIES => std::thread::sleep(wait),
                _ => return answer,
            }
            tries += 1;
        }
    }

    /// One try with the token that there is.
    pub(super) fn once(&self, ask: &Ask<'_, '_>) -> Result<Response<Body>, Failure> {
        self.follow(ask, self.authorization().as_deref()).map(|(response, _)| response)
    }

    /// An answer of one of these statuses, or the registry's refusal.
    pub(super) fn expect(&self, ask: &Ask<'_, '_>, statuses: &[u16]) -> Result<Response<Body>, Failure> {
        let (response, url) = self.ask(ask)?;
        match statuses.contains(&response.status().as_u16()) {
            true => Ok(response),
            false => Err(refusal(response, &url).into()),
        }
    }

    /// The whole body of an answer that must be short.
    pub(super) fn get_bytes(&self, url: &str, headers: &[(&str, &str)], limit: u64) -> Result<Vec<u8>, Failure> {
        read_bounded(self.expect(&Ask::get(url, headers), &[200])?, limit)
    }

    /// What answered in the end, and where.
    fn follow(&self, ask: &Ask<'_, '_>, authorization: Option<&str>) -> Result<(Response<Body>, String), Failure> {
        let base = if ask.url.starts_with('/') { &self.endpoint.base } else { "" };
        let mut url = format!("{base}{}", ask.url);
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(ask, &url, authorization.filter(|_| self.is_own(&url)), None)?;
            match response.status().as_u16() {
                // a body is sent to nobody but who was asked
                301 | 302 | 303 | 307 | 308 if ask.body.is_none() => {
                    url = self.redirected(&url, header(&response, "location"))?;
                }
                _ => return Ok((response, url)),
            }
        }
        Err(Error::image(format!("{url}: too many redirects")).into())
    }

    /// One request to one place; `whole`: the time for all of it.
    pub(super) fn send(
        &self,
        ask: &Ask<'_, '_>,
        url: &str,
        authorization: Option<&str>,
        whole: Option<Duration>,
    ) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder().method(ask.method.clone()).uri(url);
        for (name, value) in ask.headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let agent = self.agent(url)?;
        match &ask.body {
            Some((length, open)) => {
                let request = request.header("content-length", length.to_string());
                run(&agent, request, SendBody::from_reader(&mut open()?), whole, url)
            }
            None => run(&agent, request, SendBody::none(), whole, url),
        }
    }

    fn agent(&self, url: &str) -> Result<Agent> {
        let origin = origin(url);
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(&origin) {
            return Ok(agent.clone());
        }
        let silence = self.config.silence;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(Duration::from_secs(3)))
            .timeout_connect(Some(Duration::from_secs(4)))
            .timeout_recv_response(silence.or(Some(ANSWER)))
            .timeout_per_read(silence.or(Some(STALL)))
            .timeout_per_write(Some(STALL))
            .proxy(proxy::of(&origin, &host_of(url), &self.config.proxies)?)
            .user_agent(concat!("minirun/", env!("CARGO_PKG_VERSION")));
        if origin.starts_with("https") {
            config = config.tls_config(certificates::of(&host_of(url))?);
        }
        let agent = config.build().new_agent();
        agents.insert(origin, agent.clone());
        Ok(agent)
    }

    /// Same scheme, host and port as the registry: only then the token goes along.
    fn is_own(&self, url: &str) -> bool {
        is_same_place(url, &self.endpoint.base)
    }

    /// Where a Location header leads, absolute or not.
    pub(super) fn redirected(&self, from: &str, location: Option<&str>) -> Result<String> {
        let location = location.ok_or_else(|| Error::image(format!("{from}: a redirect to nowhere")))?;
        let url = match location.strip_prefix('/') {
            Some(path) if !path.starts_with('/') => format!("{}{location}", origin(from)),
            _ => match location.split_once("://") {
                Some((scheme, rest)) => format!("{}://{rest}", scheme.to_ascii_lowercase()),
                None => location.to_owned(),
            },
        };
        self.check_scheme(&url)?;
        Ok(url)
    }

    /// https, or plain http where that is allowed to this very host.
    pub(super) fn check_scheme(&self, url: &str) -> Result<()> {
        if url.starts_with("https://") || (url.starts_with("http://") && self.config.is_plain(&host_of(url))) {
            return Ok(());
        }
        Err(Error::image(format!("the registry {} sends us to {url}, which is not encrypted", self.endpoint.host))
            .hint(format!("write insecure = [{:?}] if that is right", host_of(url))))
    }

    fn authorization(&self) -> Option<String> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers the challenge of a registry that has refused `shown`, unless another thread has done so meanwhile.
    fn renew(&self, shown: Option<&str>, refused: &Response<Body>) -> Result<(), Failure> {
        let mut current = self.authorization.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_deref() == shown {
            let headers = refused.headers().get_all("www-authenticate").iter();
            let challenge = challenge::parse(headers.filter_map(|value| value.to_str().ok()));
            *current = Some(self.answer(challenge)?);
        }
        Ok(())
    }
}

fn run(
    agent: &Agent,
    request: ureq::http::request::Builder,
    body: SendBody<'_>,
    whole: Option<Duration>,
    url: &str,
) -> Result<Response<Body>, Failure> {
    let request = request.body(body).map_err(|e| Error::image(format!("{url}: {e}")))?;
    // a request with settings of its own makes TLS anew
    let request = match whole {
        Some(_) => agent.configure_request(request).timeout_global(whole).build(),
        None => request,
    };
    agent.run(request).map_err(|e| failure(url, &e))
}

/// 0.2 s, 0.4 s, 0.8 s …
pub(super) fn backoff(tries: u32) -> Duration {
    Duration::from_millis(200 << tries.min(5))
}

pub(super) fn read_bounded(response: Response<Body>, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = response.into_body().into_reader().take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|e| Failure::Unreachable(e.to_string()))?;
    if bytes.len() as u64 > limit {
        return Err(Error::image(format!("the registry's answer is longer than {limit} bytes")).into());
    }
    Ok(bytes)
}

pub(super) fn header<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

/// `https://host:port`
pub(super) fn origin(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    url[..end].to_owned()
}

fn is_same_place(a: &str, b: &str) -> bool {
    place(a).is_some_and(|a| Some(a) == place(b))
}

/// Scheme, host and port of a URL, however they are spelled. None where a user is named in it, for nobody has reason to.
fn place(url: &str) -> Option<(String, String, u16)> {
    let url: Uri = url.parse().ok()?;
    let (scheme, authority) = (url.scheme_str()?.to_ascii_lowercase(), url.authority()?);
    let usual = if scheme == "https" { 443 } else { 80 };
    // a port that is none is not the usual one
    let port = match authority.as_str().len() == authority.host().len() {
        true => usual,
        false => authority.port_u16()?,
    };
    Some((scheme, authority.host().to_ascii_lowercase(), port)).filter(|_| !authority.as_str().contains('@'))
}

/// Host and port of a URL.
pub(super) fn host_of(url: &str) -> String {
    url.parse::<Uri>()
        .ok()
        .and_then(|uri| uri.authority().map(|a| a.as_str().rsplit('@').next().unwrap_or_default().to_owned()))
        .unwrap_or_default()
}

/// What a status means that is not the one that was hoped for, with the registry's own words where it has some.
pub(super) fn refusal(response: Response<Body>, url: &str) -> Error {
    let (status, host) = (response.status().as_u16(), host_of(url));
    let wait = header(&response, "retry-after").map(|wait| match wait.bytes().all(|b| b.is_ascii_digit()) {
        true => format!(" {wait} s"),
        false => format!(" until {}", wait.chars().take(30).collect::<String>()),
    });
    let words = words(response).map(|words| format!(" ({words})")).unwrap_or_default();
    let error = Error::image(format!("registry {host} answers {status}{words}"));
    match status {
        401 | 403 => {
            error.hint(format!("the image is private or does not exist, or may not be written; {}", log_in(&host)))
        }
        404 => Error::image(format!("registry {host} has no such image")).hint("look at the name and the tag again"),
        429 => error.hint(format!("too many pulls: wait{}, or log in", wait.unwrap_or_default())),
        _ => error.hint("try again later"),
    }
}

/// `{"errors": [{"code": …, "message": …}]}` (distribution-spec, "Error Codes").
fn words(response: Response<Body>) -> Option<String> {
    let bytes = read_bounded(response, MAX_WORDS).ok()?;
    let value: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    let message = value["errors"][0]["message"].as_str().filter(|message| !message.is_empty())?;
    Some(message.chars().take(200).collect())
}

/// The place of a registry is what `login` takes.
pub(super) fn log_in(host: &str) -> String {
    format!("minirun login {host}, if you have an account there")
}

fn failure(url: &str, e: &ureq::Error) -> Failure {
    let host = host_of(url);
    let tls = match e {
        ureq::Error::Rustls(e) => Some(e),
        ureq::Error::Io(e) => e.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()),
        _ => None,
    };
    let said = || format!("{host}: {}", reason(e));
    match (tls, e) {
        (Some(e), _) => certificates::refusal(&host, e).into(),
        (None, ureq::Error::Timeout(_)) => Failure::Silent(said()),
        (None, ureq::Error::HostNotFound | ureq::Error::ConnectionFailed) => Failure::Absent(said()),
        (None, ureq::Error::Io(e)) if e.kind() == ErrorKind::ConnectionRefused || is_lookup(e) => {
            Failure::Absent(said())
        }
        (None, _) => Failure::Unreachable(said()),
    }
}

fn is_lookup(e: &std::io::Error) -> bool {
    e.to_string().starts_with("failed to lookup")
}

/// Whether a body stood still for too long.
pub(super) fn is_silence(e: &std::io::Error) -> bool {
    e.get_ref().and_then(|e| e.downcast_ref()).is_some_and(|e| matches!(e, ureq::Error::Timeout(_)))
}

/// One clause, in lower case, without our plumbing.
fn reason(e: &ureq::Error) -> String {
    match e {
        ureq::Error::HostNotFound => "name not found".into(),
        ureq::Error::Timeout(_) => "no answer in time".into(),
        ureq::Error::ConnectionFailed => "connection failed".into(),
        ureq::Error::Io(e) => match e.raw_os_error() {
            Some(errno) => crate::error::Errno::from_raw(errno).desc().to_lowercase(),
            None if is_lookup(e) => "name not found".into(),
            None => e.to_string().to_lowercase(),
        },
        e => e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_the_same_however_it_is_spelled() {
        for (base, url, own) in [
            ("https://r.example", "https://r.example/v2/x", true),
            ("https://r.example", "https://r.example:443/v2/x", true),
            ("https://r.example:443", "https://R.Example/v2/x", true),
            ("http://r.example", "HTTP://r.example:80?x", true),
            ("https://r.example:5000", "https://r.example:5000/", true),
            ("https://r.example", "https://r.example:444/", false),
            ("https://r.example", "https://r.example:/", false),
            ("https://r.example", "http://r.example:443/", false),
            ("https://r.example", "https://r.example.evil/", false),
            ("https://r.example", "https://r.example@evil/", false),
            ("https://r.example", "https://evil@r.example/", false),
            ("https://r.example", "https://evil@r.example:443/", false),
            ("https://r.example", "https://evil/https://r.example/", false),
            ("https://r.example", "https://evil\\@r.example/", false),
            ("https://r.example", "//r.example/", false),
        ] {
            assert_eq!(is_same_place(url, base), own, "{base} {url}");
        }
    }
}
