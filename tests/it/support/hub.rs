//! A registry that behaves as the public ones are documented to: tokens with a scope, blobs behind a redirect to another
//! place that wants no token, "too many requests", indexes with attestations and other processors in them. It is this
//! test program once more, inside the sandbox; what it was asked stands in its log.

use super::command::Running;
use super::registry::answers;
use super::sandbox::Sandbox;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Where it answers, and where its blobs are.
pub const HUB: &str = "127.0.0.1:5002";
const STORAGE: &str = "127.0.0.1:5003";
/// What is given out, and asked for.
const TOKEN: &str = "for-team-site";
/// Set for the server alone: the layout, the log, and how many bytes of a blob come before the first one hangs.
const ASKED: &str = "MINIRUN_TEST_HUB";

pub struct Hub {
    _running: Running,
    log: PathBuf,
}

impl Hub {
    /// Serves the image of an OCI layout as team/site, whatever the tag. The first answer with more than `hang` bytes
    /// stops there and never ends.
    pub fn start(sandbox: &Sandbox, layout: &Path, hang: usize) -> Hub {
        let log = sandbox.path("hub.log");
        let mut command = sandbox.command(std::env::current_exe().unwrap());
        command.args(["--exact", "support::hub::serves_where_it_is_asked_to", "--nocapture"]);
        let running = Running::start(command.env(ASKED, format!("{} {} {hang}", layout.display(), log.display())));
        answers(sandbox, HUB);
        answers(sandbox, STORAGE);
        Hub { _running: running, log }
    }

    /// The requests so far: place, path, authorization, range, bytes of the answer's body.
    pub fn requests(&self) -> Vec<[String; 5]> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let fields = |line: &str| line.split('|').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
        text.lines().map(fields).collect()
    }
}

#[test]
fn serves_where_it_is_asked_to() {
    let Ok(asked) = std::env::var(ASKED) else { return };
    let mut words = asked.split(' ');
    let mut next = || words.next().unwrap().to_owned();
    let hub = Server {
        layout: next().into(),
        log: next().into(),
        hang: next().parse().unwrap(),
        hung: false.into(),
        limited: false.into(),
    };
    let hub: &'static Server = Box::leak(Box::new(hub));
    let listen = |place: &'static str| {
        let listener = TcpListener::bind(place).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                std::thread::spawn(move || hub.serve(stream, place));
            }
        })
    };
    let (first, second) = (listen(HUB), listen(STORAGE));
    first.join().unwrap();
    second.join().unwrap();
}

struct Server {
    layout: PathBuf,
    log: PathBuf,
    hang: usize,
    hung: AtomicBool,
    /// Whether somebody was told already to come again.
    limited: AtomicBool,
}

type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

impl Server {
    fn serve(&self, mut stream: TcpStream, place: &str) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let Some(request) = lines.next() else { return };
        let path = request.split(' ').nth(1).unwrap().to_owned();
        let headers: BTreeMap<String, String> = lines
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.split_once(": ").map(|(key, value)| (key.to_lowercase(), value.to_owned())))
            .collect();
        let header = |key: &str| headers.get(key).map_or("", String::as_str);
        let (authorization, range) = (header("authorization"), header("range"));
        let (status, more, mut body) = match place {
            HUB => self.registry(&path, authorization),
            _ => self.storage(&path, authorization, range),
        };
        let mut head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
        more.iter().for_each(|(key, value)| head += &format!("{key}: {value}\r\n"));
        let hangs = place == STORAGE && body.len() > self.hang && !self.hung.swap(true, Ordering::SeqCst);
        body.truncate(if hangs { self.hang } else { usize::MAX });
        let line = [place, &path, authorization, range, &body.len().to_string()].join("|");
        let mut log = std::fs::File::options().create(true).append(true).open(&self.log).unwrap();
        log.write_all(format!("{line}\n").as_bytes()).unwrap();
        let _ = stream.write_all(&[head.as_bytes(), b"\r\n", &body].concat());
        if hangs {
            loop {
                std::thread::park(); // and the connection with it
            }
        }
    }

    fn registry(&self, path: &str, authorization: &str) -> Answer {
        if let Some(query) = path.strip_prefix("/token?") {
            let right = query.contains("service=hub") && query.contains("scope=repository:team/site:pull");
            return if right {
                (200, vec![], format!(r#"{{"token": "{TOKEN}"}}"#).into())
            } else {
                (400, vec![], vec![])
            };
        }
        if authorization != format!("Bearer {TOKEN}") {
            let challenge = format!(r#"Bearer realm="http://{HUB}/token",service="hub",scope="repository:a,b:pull""#);
            return (401, vec![("www-authenticate", challenge)], vec![]);
        }
        match path.strip_prefix("/v2/team/site/").and_then(|path| path.split_once('/')) {
            Some(("manifests", name)) if name.starts_with("sha256:") => (200, vec![], self.blob(name)),
            Some(("manifests", _)) if !self.limited.swap(true, Ordering::SeqCst) => {
                (429, vec![("retry-after", "1".to_owned())], vec![])
            }
            // the digest that a header says is nobody's
            Some(("manifests", _)) => (200, vec![("docker-content-digest", "sha256:00".to_owned())], self.index()),
            Some(("blobs", digest)) => {
                (307, vec![("location", format!("http://{STORAGE}/{digest}?signature=x"))], vec![])
            }
            _ => (404, vec![], vec![]),
        }
    }

    /// A signed address: a second authorization is refused there.
    fn storage(&self, path: &str, authorization: &str, range: &str) -> Answer {
        if !authorization.is_empty() {
            return (400, vec![], vec![]);
        }
        let mut body = self.blob(path[1..].split('?').next().unwrap());
        let Some(from) = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')) else {
            return (200, vec![], body);
        };
        let (from, all) = (from.parse::<usize>().unwrap(), body.len());
        body.drain(..from);
        (206, vec![("content-range", format!("bytes {from}-{}/{all}", all - 1))], body)
    }

    fn blob(&self, digest: &str) -> Vec<u8> {
        std::fs::read(self.layout.join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap())).unwrap()
    }

    /// What buildkit makes: for each processor an image, and an attestation of it.
    fn index(&self) -> Vec<u8> {
        let index = std::fs::read_to_string(self.layout.join("index.json")).unwrap();
        let digest = index.split("sha256:").nth(1).unwrap().split('"').next().unwrap();
        let own = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let entry = |digest: &str, size: usize, architecture: &str, os: &str, more: &str| {
            format!(
                r#"{{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:{digest}", "size": {size},
                "platform": {{"os": "{os}", "architecture": "{architecture}"}}{more}}}"#
            )
        };
        let kind = r#", "annotations": {"vnd.docker.reference.type": "attestation-manifest"}"#;
        let nobodys = "0".repeat(64);
        let entries = [
            entry(&nobodys, 1, "unknown", "unknown", kind),
            entry(&nobodys, 1, "s390x", "linux", ""),
            entry(digest, self.blob(&format!("sha256:{digest}")).len(), own, "linux", ""),
        ];
        let kind = "application/vnd.oci.image.index.v1+json";
        format!(r#"{{"schemaVersion": 2, "mediaType": "{kind}", "manifests": [{}]}}"#, entries.join(",")).into_bytes()
    }
}
