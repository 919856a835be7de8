//! One repository of a registry: manifests and blobs, read and written. It keeps nothing on disk.
//! distribution-spec, "Endpoints".

use super::config::{Endpoint, RegistryConfig};
use super::http::{Ask, Failure, Open, REACH, Registry, header, host_of, origin, read_bounded};
use super::resumed::Resumed;
use crate::error::{Error, Result};
use crate::id::Digest;
use crate::image::Reference;
use crate::image::archive::{DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST};
use crate::image::ingest::{MAX_BLOB, too_large};
use crate::image::store::MAX_METADATA;
use std::io::{Cursor, Read};
use std::time::{Duration, Instant};
use ureq::Body;
use ureq::http::{Method, Response, Uri};

/// Pages of a list of tags, each of some hundred.
const MAX_PAGES: usize = 200;

/// What is to be done at a registry.
#[derive(Debug, Clone, Copy)]
pub enum Access<'a> {
    Pull,
    /// Blobs may be mounted from these other repositories of the registry, which are said to have them.
    Push {
        from: &'a [String],
    },
}

/// A repository of a registry that answers.
#[derive(Debug)]
pub struct Remote<'a> {
    pub(super) registry: Registry<'a>,
    repository: String,
    from: Option<String>,
    /// What the name stood for when it was opened.
    first: Option<(String, String, Vec<u8>)>,
}

impl<'a> Remote<'a> {
    /// For a pull the first of the mirrors and the registry itself that has an image of this name; for a push the
    /// registry itself.
    pub fn open(reference: &Reference, config: &'a RegistryConfig, access: Access<'_>) -> Result<Remote<'a>> {
        match access {
            Access::Push { .. } => {
                let endpoint = config.endpoint(&reference.registry);
                Remote::connect(&endpoint, reference, config, access, REACH).map_err(Error::from)
            }
            Access::Pull => each_endpoint(reference, config, |endpoint, patience| {
                let mut remote = Remote::connect(endpoint, reference, config, access, patience)?;
                let wanted = wanted(reference);
                let (media_type, bytes) = remote.get_manifest(wanted)?;
                remote.first = Some((wanted.to_owned(), media_type, bytes));
                Ok(remote)
            }),
        }
    }

    pub(super) fn connect(
        endpoint: &Endpoint,
        reference: &Reference,
        config: &'a RegistryConfig,
        access: Access<'_>,
        patience: Duration,
    ) -> Result<Remote<'a>, Failure> {
        let repository = reference.repository.clone();
        let (scope, from) = match access {
            Access::Pull => ("pull", None),
            Access::Push { from } => ("pull,push", from.first().cloned()),
        };
        let mut scopes = vec![format!("repository:{repository}:{scope}")];
        scopes.extend(from.iter().map(|from| format!("repository:{from}:pull")));
        let registry = Registry::connect(endpoint, scopes, config, patience)?;
        Ok(Remote { registry, repository, from, first: None })
    }

    /// Host and port, for people.
    pub fn host(&self) -> &str {
        &self.registry.endpoint.host
    }

    /// Cuts all that is under way.
    pub(super) fn hang_up(&self) {
        self.registry.hang_up();
    }

    fn path(&self, kind: &str, name: &str) -> String {
        format!("/v2/{}/{kind}/{name}", self.repository)
    }

    /// The media type that the registry gives, and the bytes, which nobody has compared with a digest yet.
    pub fn manifest(&self, tag_or_digest: &str) -> Result<(String, Vec<u8>)> {
        match &self.first {
            Some((name, media_type, bytes)) if name == tag_or_digest => Ok((media_type.clone(), bytes.clone())),
            _ => self.get_manifest(tag_or_digest).map_err(Error::from),
        }
    }

    pub(super) fn get_manifest(&self, tag_or_digest: &str) -> Result<(String, Vec<u8>), Failure> {
        let accept = [INDEX, MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].join(", ");
        let (path, headers) = (self.path("manifests", tag_or_digest), [("accept", accept.as_str())]);
        let response = self.registry.expect(&Ask::get(&path, &headers), &[200])?;
        let media_type = header(&response, "content-type").unwrap_or_default().to_owned();
        Ok((media_type, read_bounded(response, MAX_METADATA)?))
    }

    /// A blob that must be short, such as a configuration; not compared with its digest yet.
    pub(super) fn small_blob(&self, digest: &Digest) -> Result<Vec<u8>, Failure> {
        self.registry.get_bytes(&self.path("blobs", digest.as_str()), &[], MAX_METADATA)
    }

    /// The bytes of a blob as they come, at most `size` and one, which nobody has compared with the digest yet. What is
    /// cut goes on where it was cut, and is an error of the reader's when that does not help.
    pub fn blob(&self, digest: &Digest, size: u64) -> Result<Box<dyn Read + Send + '_>> {
        if size > MAX_BLOB {
            return Err(too_large(digest, size));
        }
        Ok(Box::new(Resumed::open(self, digest, size)?))
    }

    /// The answer to a request for a blob from byte `from` on: 206, or 200 with all of it, or 416.
    pub(super) fn blob_from(&self, digest: &Digest, from: u64) -> Result<Response<Body>, Failure> {
        let (path, range) = (self.path("blobs", digest.as_str()), format!("bytes={from}-"));
        let headers: &[_] = if from > 0 { &[("range", range.as_str())] } else { &[] };
        self.registry.expect(&Ask::get(&path, headers), &[200, 206, 416])
    }

    pub fn has_blob(&self, digest: &Digest) -> Result<bool> {
        let path = self.path("blobs", digest.as_str());
        let ask = Ask { method: Method::HEAD, url: &path, headers: &[], body: None };
        Ok(self.registry.expect(&ask, &[200, 404])?.status() == 200)
    }

    /// Writes a blob of `size` bytes, which `open` gives from the start as often as it must be tried.
    pub fn put_blob(&self, digest: &Digest, size: u64, open: Open<'_>) -> Result<()> {
        let mut path = self.path("blobs", "uploads/");
        if let Some(from) = &self.from {
            path.push_str(&format!("?mount={digest}&from={from}"));
        }
        let mut tries = 0;
        loop {
            let done = self.try_put_blob(&path, digest, size, open);
            match done {
                Err(Failure::Absent(_) | Failure::Silent(_) | Failure::Unreachable(_))
                    if tries < super::http::TRIES =>
                {
                    tries += 1
                }
                done => return done.map_err(Error::from),
            }
            std::thread::sleep(super::http::backoff(tries));
        }
    }

    /// A session is good for one try: `open` gives what is sent, and its place is told by the answer before.
    fn try_put_blob(&self, path: &str, digest: &Digest, size: u64, open: Open<'_>) -> Result<(), Failure> {
        let empty = || -> Result<Box<dyn Read + Send>> { Ok(Box::new(Cursor::new([]))) };
        let ask = Ask { method: Method::POST, url: path, headers: &[], body: Some((0, &empty)) };
        let response = self.registry.expect(&ask, &[201, 202])?;
        if response.status() == 201 {
            return Ok(()); // it has the blob, from the other repository
        }
        let asked = format!("{}{path}", self.registry.endpoint.base);
        let place = self.registry.redirected(&asked, header(&response, "location"))?;
        drop(response);
        let url = format!("{place}{}digest={digest}", if place.contains('?') { '&' } else { '?' });
        let headers = [("content-type", "application/octet-stream")];
        let ask = Ask { method: Method::PUT, url: &url, headers: &headers, body: Some((size, open)) };
        let own = self.registry.once(&ask)?;
        match own.status().as_u16() {
            201 | 202 | 204 => Ok(()),
            status @ (401 | 404 | 500..=599) => {
                // a session or a token that has ended is begun again
                Err(Failure::Unreachable(format!("{}: the upload ended with {status}", host_of(&url))))
            }
            _ => Err(super::http::refusal(own, &url).into()),
        }
    }

    /// Writes a manifest, under a tag or its own digest; all that it names must be there.
    pub fn put_manifest(&self, tag_or_digest: &str, media_type: &str, bytes: &[u8]) -> Result<()> {
        let open = || -> Result<Box<dyn Read + Send>> { Ok(Box::new(Cursor::new(bytes.to_vec()))) };
        let (path, headers) = (self.path("manifests", tag_or_digest), [("content-type", media_type)]);
        let body = Some((bytes.len() as u64, &open as Open<'_>));
        let ask = Ask { method: Method::PUT, url: &path, headers: &headers, body };
        self.registry.expect(&ask, &[200, 201, 202]).map(drop).map_err(Error::from)
    }

    /// All tags, in the registry's order.
    pub(super) fn tags(&self) -> Result<Vec<String>, Failure> {
        #[derive(serde::Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let (mut all, mut path) = (Vec::new(), self.path("tags", "list?n=1000"));
        for _ in 0..MAX_PAGES {
            let response = self.registry.expect(&Ask::get(&path, &[]), &[200])?;
            let link = header(&response, "link").unwrap_or_default();
            let next = next_page(link, &self.registry.endpoint.base)?;
            let page: Page = crate::image::archive::parse("the list of tags", &read_bounded(response, MAX_METADATA)?)?;
            all.extend(page.tags.unwrap_or_default());
            match next {
                Some(next) => path = next,
                None => return Ok(all),
            }
        }
        Err(Error::image(format!("the registry has more than {MAX_PAGES} pages of tags")).into())
    }
}

/// Where `</v2/x/tags/list?last=y>; rel="next"` leads (RFC 8288): a path, or a URL of the same host. Whoever stands before
/// a registry may have another scheme and port than it knows of itself: those that it was asked by are right.
fn next_page(link: &str, base: &str) -> Result<Option<String>> {
    let target = link.strip_prefix('<').and_then(|link| link.split_once('>'));
    let Some((target, _)) = target.filter(|(_, rest)| rest.contains("next")) else { return Ok(None) };
    let host = |url: &str| url.parse::<Uri>().ok().and_then(|url| url.host().map(str::to_ascii_lowercase));
    if target.starts_with('/') && !target.starts_with("//") {
        return Ok(Some(target.to_owned()));
    }
    if host(target) == host(base) {
        return Ok(Some(format!("{}{}", origin(base), &target[origin(target).len()..])));
    }
    Err(Error::image(format!("the list of tags goes on at {target}, which is not the registry {}", host_of(base)))
        .hint("pull the tags that you need by name"))
}

/// The name of a manifest within its repository: the digest decides where there is one.
pub(super) fn wanted(reference: &Reference) -> &str {
    match (&reference.digest, &reference.tag) {
        (Some(digest), _) => digest.as_str(),
        (None, Some(tag)) => tag,
        (None, None) => "latest",
    }
}

/// The first success among the mirrors and the registry itself. Each is given its share of the time in which one of them
/// must answer: who is silent takes nothing from those after it, and who is given up at once leaves them more.
pub(super) fn each_endpoint<T>(
    reference: &Reference,
    config: &RegistryConfig,
    mut act: impl FnMut(&Endpoint, Duration) -> Result<T, Failure>,
) -> Result<T> {
    let mut unreachable = String::new();
    let mut refused = None;
    let endpoints = config.endpoints(reference)?;
    let mut left = REACH;
    for (endpoint, others) in endpoints.iter().zip((1..=endpoints.len() as u32).rev()) {
        let (share, began) = (left / others, Instant::now());
        let done = act(endpoint, share);
        left -= share.min(began.elapsed()); // a long answer is no silence
        match done {
            Ok(done) => return Ok(done),
            Err(Failure::Refused(e)) => refused = Some(e),
            Err(Failure::Absent(reason) | Failure::Silent(reason) | Failure::Unreachable(reason)) => {
                unreachable = reason;
            }
        }
    }
    // what a registry said is worth more than that another one is silent
    match refused {
        Some(e) => Err(e.during(format!("pulling {}", reference.familiar()))),
        None => Err(not_reachable(reference, &unreachable)),
    }
}

pub(super) fn not_reachable(reference: &Reference, reason: &str) -> Error {
    let familiar = reference.familiar();
    let name = familiar.strip_suffix(":latest").unwrap_or(&familiar);
    Error::host(format!("image {name} is not here and its registry cannot be reached ({reason})"))
        .hint("offline you can run hello and the images built from images/, or minirun load -i FILE")
}
