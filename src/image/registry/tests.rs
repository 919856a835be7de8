//! Against a small registry of our own on loopback.

use super::*;
use crate::id::HostPath;
use crate::image::layer::tests::Tar;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Path → status, headers, body. `TOKEN`: only with the token `secret`.
type Answers = BTreeMap<String, (u16, Vec<(&'static str, String)>, Vec<u8>)>;

struct Server {
    host: String,
    answers: Arc<Mutex<Answers>>,
    /// Path and Authorization of every request.
    seen: Arc<Mutex<Vec<(String, String)>>>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let server = Server { host, answers: Arc::default(), seen: Arc::default() };
        let (answers, seen) = (server.answers.clone(), server.seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &answers, &seen);
            }
        });
        server
    }
    fn put(&self, path: &str, status: u16, headers: &[(&'static str, String)], body: &[u8]) {
        self.answers.lock().unwrap().insert(path.to_owned(), (status, headers.to_vec(), body.to_vec()));
    }
    fn seen(&self, path: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|(p, _)| p == path).map(|(_, authorization)| authorization.clone()).collect()
    }
}

fn serve(mut stream: TcpStream, answers: &Mutex<Answers>, seen: &Mutex<Vec<(String, String)>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(|line| line.ok());
    let Some(request) = lines.next() else { return };
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let header = |line: String| line.split_once(": ").map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()));
    let headers: BTreeMap<String, String> = lines.take_while(|line| !line.is_empty()).filter_map(header).collect();
    let authorization = headers.get("authorization").cloned().unwrap_or_default();
    seen.lock().unwrap().push((path.clone(), authorization));
    let (status, headers, body) = answers.lock().unwrap().get(&path).cloned().unwrap_or((404, vec![], b"no".to_vec()));
    let mut head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
    headers.iter().for_each(|(k, v)| head.push_str(&format!("{k}: {v}\r\n")));
    let _ = stream.write_all(&[head.as_bytes(), b"\r\n", &body].concat());
}

struct Made {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

fn descriptor(media_type: &str, bytes: &[u8]) -> serde_json::Value {
    serde_json::json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()})
}

fn made() -> Made {
    let layer = Tar::default().file("x", "pulled").end();
    let config = serde_json::json!({"architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]}})
    .to_string()
    .into_bytes();
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)]})
    .to_string()
    .into_bytes();
    Made { layer, config, manifest }
}

fn blob_path(bytes: &[u8]) -> String {
    format!("/v2/library/alpine/blobs/{}", Digest::of(bytes))
}

fn manifest_path(tag: &str) -> String {
    format!("/v2/library/alpine/manifests/{tag}")
}

/// Serves the image as library/alpine:latest.
fn publish(server: &Server, made: &Made) {
    server.put("/v2/", 200, &[], b"{}");
    server.put(&manifest_path("latest"), 200, &[], &made.manifest);
    server.put(&blob_path(&made.config), 200, &[], &made.config);
    server.put(&blob_path(&made.layer), 200, &[], &made.layer);
}

struct Place {
    _dir: tempfile::TempDir,
    store: Store,
    config: RegistryConfig,
}

fn place(server: &Server) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&HostPath::parse(dir.path().to_str().unwrap()).unwrap()).unwrap();
    let config = format!("[[mirror]]\nhost = \"docker.io\"\nurl = \"http://{}\"\n", server.host);
    Place { _dir: dir, store, config: RegistryConfig::parse(&config).unwrap() }
}

impl Place {
    /// The mirror alone: the registry itself is not asked in tests.
    fn pull(&self, server: &Server, name: &str) -> Result<Image, Failure> {
        let reference = Reference::parse(name).unwrap();
        let endpoints = self.config.endpoints(&reference).unwrap();
        assert!(endpoints[0].base.ends_with(&server.host));
        let deadline = Instant::now() + REACH;
        let registry = Registry::connect(&endpoints[0], &reference.repository, &self.config, deadline)?;
        pull_from(&self.store, &registry, &reference, &Platform::parse("linux/amd64").unwrap(), &())
    }
    fn refused(&self, server: &Server, name: &str) -> Error {
        match self.pull(server, name) {
            Err(Failure::Refused(e)) => e,
            other => panic!("{other:?}"),
        }
    }
    fn check_empty(&self) {
        assert!(self.store.list().unwrap().is_empty());
        let blobs = self._dir.path().join("images/blobs/sha256");
        assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0);
    }
}

#[test]
fn a_mirror_serves_docker_io() {
    let (server, made) = (Server::start(), made());
    publish(&server, &made);
    let place = place(&server);
    let reference = Reference::parse("alpine").unwrap();
    let image = pull(&place.store, &reference, &place.config, &Platform::parse("amd64").unwrap(), &()).unwrap();
    assert_eq!(image.names, [reference]);
    assert_eq!(place.store.find("alpine").unwrap().id, Digest::of(&made.config));
    // what is here is not fetched again
    place.pull(&server, "alpine").unwrap();
    assert_eq!(server.seen(&blob_path(&made.layer)).len(), 1);
}

#[test]
fn a_token_is_fetched_and_sent_to_the_registry_alone() {
    let (server, storage, made) = (Server::start(), Server::start(), made());
    publish(&server, &made);
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"reg\"", server.host);
    server.put("/v2/", 401, &[("www-authenticate", realm)], b"");
    let token = "/token?service=reg&scope=repository:library/alpine:pull";
    server.put(token, 200, &[], br#"{"token":"secret"}"#);
    let elsewhere = format!("http://{}/signed?x=y", storage.host);
    server.put(&blob_path(&made.layer), 307, &[("location", elsewhere)], b"");
    storage.put("/signed?x=y", 200, &[], &made.layer);
    let own = blob_path(&made.config);
    server.put(&own, 302, &[("location", "/moved".to_owned())], b"");
    server.put("/moved", 200, &[], &made.config);
    let mut place = place(&server);
    place.config.add_credentials(&format!(r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#, server.host)).unwrap();
    place.pull(&server, "alpine").unwrap();
    assert_eq!(server.seen(token), ["Basic dTpw"]);
    assert_eq!(server.seen(&manifest_path("latest")), ["Bearer secret"]);
    assert_eq!(server.seen("/moved"), ["Bearer secret"]);
    assert_eq!(storage.seen("/signed?x=y"), [""]);
}

#[test]
fn an_index_leads_to_the_platform() {
    let (server, made) = (Server::start(), made());
    publish(&server, &made);
    let entry = |bytes: &[u8], architecture: &str| {
        let mut entry = descriptor(MANIFEST, bytes);
        entry["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
        entry
    };
    let index = |entries: &[serde_json::Value]| {
        serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string().into_bytes()
    };
    let both = index(&[entry(b"never", "arm64"), entry(&made.manifest, "amd64")]);
    server.put(&manifest_path("latest"), 200, &[], &both);
    server.put(&manifest_path(Digest::of(&made.manifest).as_str()), 200, &[], &made.manifest);
    let pinned = format!("alpine@{}", Digest::of(&both));
    server.put(&manifest_path(Digest::of(&both).as_str()), 200, &[], &both);
    let place = place(&server);
    assert_eq!(place.pull(&server, "alpine").unwrap().manifest, Digest::of(&made.manifest));
    place.pull(&server, &pinned).unwrap();
    assert_eq!(place.store.find(&pinned).unwrap().manifest, Digest::of(&made.manifest));
    server.put(&manifest_path("latest"), 200, &[], &index(&[entry(b"never", "arm64")]));
    let error = place.refused(&server, "alpine");
    assert_eq!(error.message, "there is no image for linux/amd64, only for linux/arm64");
}

#[test]
fn what_does_not_match_its_digest_is_not_kept() {
    let made = made();
    let other = Tar::default().file("x", "evil..").end();
    let big = vec![b' '; MAX_METADATA as usize + 1];
    let pinned = format!("alpine@{}", Digest::of(b"x"));
    type Change<'c> = &'c dyn Fn(&Server);
    let cases: &[(&str, &str, Change<'_>)] = &[
        ("layer", "alpine", &|s| s.put(&blob_path(&made.layer), 200, &[], &other)),
        ("cut layer", "alpine", &|s| s.put(&blob_path(&made.layer), 200, &[], &made.layer[..100])),
        ("long layer", "alpine", &|s| s.put(&blob_path(&made.layer), 200, &[], &[&made.layer[..], b"x"].concat())),
        ("config", "alpine", &|s| s.put(&blob_path(&made.config), 200, &[], b"{}")),
        ("manifest", &pinned, &|s| s.put(&manifest_path(&pinned[7..]), 200, &[], &made.manifest)),
        ("endless manifest", "alpine", &|s| s.put(&manifest_path("latest"), 200, &[], &big)),
        ("schema 1", "alpine", &|s| s.put(&manifest_path("latest"), 200, &[], br#"{"schemaVersion": 1}"#)),
        ("both", "alpine", &|s| {
            let mut both: serde_json::Value = serde_json::from_slice(&made.manifest).unwrap();
            both["manifests"] = serde_json::json!([]);
            s.put(&manifest_path("latest"), 200, &[], both.to_string().as_bytes());
        }),
        ("missing layer", "alpine", &|s| s.put(&blob_path(&made.layer), 404, &[], b"")),
        ("redirect loop", "alpine", &|s| {
            s.put(&blob_path(&made.layer), 302, &[("location", blob_path(&made.layer))], b"");
        }),
        ("redirect without tls", "alpine", &|s| {
            s.put(&blob_path(&made.layer), 302, &[("location", "http://192.0.2.1/x".to_owned())], b"");
        }),
    ];
    for (what, name, change) in cases {
        let server = Server::start();
        publish(&server, &made);
        change(&server);
        let place = place(&server);
        let error = place.refused(&server, name);
        assert!(!error.message.contains('\n'), "{what}: {error}");
        place.check_empty();
    }
}

#[test]
fn refusals_say_what_to_do() {
    for (status, headers, hint) in [
        (404, vec![], "look at the name"),
        (403, vec![], "log in"),
        (429, vec![("retry-after", "7".to_owned())], "wait 7 s"),
        (500, vec![], "try again"),
    ] {
        let server = Server::start();
        server.put("/v2/", 200, &[], b"");
        server.put(&manifest_path("latest"), status, &headers, b"");
        let error = place(&server).refused(&server, "alpine");
        assert!(error.hint.unwrap().contains(hint), "{status}");
    }
}

#[test]
fn a_registry_that_is_not_there_is_told_at_once() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server { host: String::new(), answers: Arc::default(), seen: Arc::default() };
    let place = place(&server_at(server, port));
    let start = Instant::now();
    let name = format!("127.0.0.1:{port}/alpine");
    let error =
        pull(&place.store, &Reference::parse(&name).unwrap(), &place.config, &Platform::host(), &()).unwrap_err();
    assert_eq!(
        error.message,
        format!("image {name} is not here and its registry cannot be reached (127.0.0.1:{port}: connection refused)")
    );
    assert_eq!(
        error.hint.as_deref(),
        Some("offline you can run hello and the images built from images/, or minirun load -i FILE")
    );
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
    let alpine = not_reachable(&Reference::parse("alpine").unwrap(), "x");
    assert_eq!(alpine.message, "image alpine is not here and its registry cannot be reached (x)");
}

fn server_at(server: Server, port: u16) -> Server {
    Server { host: format!("127.0.0.1:{port}"), ..server }
}

#[test]
fn a_silent_registry_is_given_up_in_time() {
    // it accepts and says nothing
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let place = place(&Server { host: host.clone(), answers: Arc::default(), seen: Arc::default() });
    let start = Instant::now();
    let reference = Reference::parse(&format!("{host}/x")).unwrap();
    let error = pull(&place.store, &reference, &place.config, &Platform::host(), &()).unwrap_err();
    assert!(error.message.contains("cannot be reached"), "{error}");
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
}
