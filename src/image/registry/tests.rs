//! Against a small registry of our own on loopback.

use super::http::{Failure, REACH};
use super::*;
use crate::error::{Error, Result};
use crate::id::{Digest, HostPath};
use crate::image::archive::{INDEX, MANIFEST};
use crate::image::layer::tests::Tar;
use crate::image::store::{Image, MAX_METADATA, Store};
use crate::image::{Platform, Reference};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What stands behind a path.
#[derive(Clone, Default)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Of the first answers only so many bytes of the body come, then the connection ends.
    cuts: Vec<usize>,
    ranges: Ranges,
    /// So many bytes of the answer come, then nothing more, and the connection stands.
    stalls: Option<usize>,
    /// Says no content-length: the end of the connection is that of the body.
    silent: bool,
    /// Answers this Authorization alone; others get 401.
    only: Option<&'static str>,
}

/// What a server does about `Range: bytes=N-`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Ranges {
    #[default]
    Ignored,
    Known,
    Refused,
}

/// A request as it came, and how much of a body went back.
#[derive(Clone, Default)]
struct Seen {
    method: String,
    path: String,
    authorization: String,
    range: String,
    body: Vec<u8>,
    served: usize,
}

#[derive(Clone)]
struct Server {
    host: String,
    answers: Arc<Mutex<BTreeMap<String, Answer>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// So many connections end without an answer.
    drops: Arc<Mutex<usize>>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server { host: listener.local_addr().unwrap().to_string(), ..Server::nowhere() };
        let own = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let server = own.clone();
                std::thread::spawn(move || server.serve(stream.unwrap()));
            }
        });
        server
    }
    fn nowhere() -> Server {
        Server { host: String::new(), answers: Arc::default(), seen: Arc::default(), drops: Arc::default() }
    }
    fn put(&self, path: &str, status: u16, headers: &[(&'static str, String)], body: &[u8]) {
        let answer = Answer { status, headers: headers.to_vec(), body: body.to_vec(), ..Answer::default() };
        self.answer(path, answer);
    }
    fn answer(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }
    fn change(&self, path: &str, change: impl FnOnce(&mut Answer)) {
        change(self.answers.lock().unwrap().get_mut(path).unwrap());
    }
    fn requests(&self, path: &str) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.path == path).cloned().collect()
    }
    /// The Authorization of each request.
    fn seen(&self, path: &str) -> Vec<String> {
        self.requests(path).into_iter().map(|seen| seen.authorization).collect()
    }
    fn served(&self, path: &str) -> usize {
        self.requests(path).iter().map(|seen| seen.served).sum()
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|n| *n > 0).map(|_| line.trim_end().to_owned())
        };
        let Some(request) = line() else { return };
        let mut headers = BTreeMap::new();
        while let Some(line) = line().filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once(": ").unwrap();
            headers.insert(key.to_ascii_lowercase(), value.to_owned());
        }
        let header = |key: &str| headers.get(key).cloned().unwrap_or_default();
        let mut words = request.split(' ').map(str::to_owned);
        let mut seen = Seen {
            method: words.next().unwrap(),
            path: words.next().unwrap(),
            authorization: header("authorization"),
            range: header("range"),
            body: vec![0; header("content-length").parse().unwrap_or(0)],
            served: 0,
        };
        reader.read_exact(&mut seen.body).unwrap();
        let mut drops = self.drops.lock().unwrap();
        if *drops > 0 {
            *drops -= 1;
            return;
        }
        drop(drops);
        let stalls = self.answers.lock().unwrap().get(&seen.path).and_then(|answer| answer.stalls);
        let (head, body) = self.answer_to(&seen);
        seen.served = body.len();
        self.seen.lock().unwrap().push(seen);
        let mut bytes = [head.as_bytes(), &body].concat();
        bytes.truncate(stalls.unwrap_or(usize::MAX));
        let _ = stream.write_all(&bytes);
        if stalls.is_some() {
            let _ = stream.read(&mut [0]); // until the other side goes
        }
    }

    fn answer_to(&self, seen: &Seen) -> (String, Vec<u8>) {
        let no = Answer { status: 404, body: b"no".to_vec(), ..Answer::default() };
        let mut answers = self.answers.lock().unwrap();
        let mut answer = match answers.get_mut(&seen.path) {
            Some(answer) if answer.only.is_some_and(|only| only != seen.authorization) => {
                Answer { status: 401, headers: answer.headers.clone(), ..Answer::default() }
            }
            Some(answer) => {
                let mut now = answer.clone();
                now.cuts.truncate(1);
                answer.cuts = answer.cuts.split_off(now.cuts.len());
                now
            }
            None => no,
        };
        let from = seen.range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')?.parse::<usize>().ok());
        match (from.filter(|_| answer.status == 200), answer.ranges) {
            (Some(from), Ranges::Known) => {
                answer.status = 206;
                answer.headers.push(("content-range", format!("bytes {from}-{0}/{0}", answer.body.len())));
                answer.body = answer.body.split_off(from);
            }
            (Some(_), Ranges::Refused) => (answer.status, answer.body) = (416, Vec::new()),
            _ => {}
        }
        let mut head = format!("HTTP/1.1 {} x\r\nconnection: close\r\n", answer.status);
        if !answer.silent {
            head.push_str(&format!("content-length: {}\r\n", answer.body.len()));
        }
        answer.headers.iter().for_each(|(k, v)| head.push_str(&format!("{k}: {v}\r\n")));
        answer.body.truncate(answer.cuts.first().copied().unwrap_or(usize::MAX));
        if seen.method == "HEAD" {
            answer.body.clear();
        }
        (head + "\r\n", answer.body)
    }
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
    made_of(Tar::default().file("x", "pulled").end())
}

fn made_of(layer: Vec<u8>) -> Made {
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
        self.pull_for(server, name, Some("linux/amd64"))
    }
    fn pull_for(&self, server: &Server, name: &str, platform: Option<&str>) -> Result<Image, Failure> {
        let reference = Reference::parse(name).unwrap();
        let endpoints = self.config.endpoints(&reference).unwrap();
        assert!(endpoints[0].base.ends_with(&server.host));
        let remote = Remote::connect(&endpoints[0], &reference, &self.config, Access::Pull, REACH)?;
        let platform = platform.map(|platform| Platform::parse(platform).unwrap());
        pull::from(&self.store, &remote, &reference, platform.as_ref(), &())
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
        assert_eq!(self.partials(), [0; 0]);
        let layers = std::fs::read_dir(self._dir.path().join("layers")).unwrap();
        let unpacked = layers.map(|e| e.unwrap().file_name().into_string().unwrap());
        assert!(unpacked.into_iter().all(|name| name == "l" || name == ".lock"));
    }
    /// The lengths of the blobs that have come in part.
    fn partials(&self) -> Vec<u64> {
        let all = std::fs::read_dir(self._dir.path().join("images")).unwrap().map(Result::unwrap);
        let part = all.filter(|entry| entry.file_name().to_str().unwrap().starts_with(".partial-"));
        part.map(|entry| entry.metadata().unwrap().len()).collect()
    }
}

#[test]
fn a_mirror_serves_docker_io() {
    let (server, made) = (Server::start(), made());
    publish(&server, &made);
    let place = place(&server);
    let reference = Reference::parse("alpine").unwrap();
    let image = pull(&place.store, &reference, &place.config, Some(&Platform::parse("amd64").unwrap()), &()).unwrap();
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
    place.config.logins.add(&format!(r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#, server.host)).unwrap();
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
    // by the index's digest too, which is that of all platforms, without the registry
    let here = place.store.find(&pinned).unwrap();
    assert_eq!((here.names.len(), here.digest_of(&here.names[0])), (1, &Digest::of(&both)));
    place.pull(&server, &pinned).unwrap();
    assert_eq!(place.store.find(&pinned).unwrap().manifest, Digest::of(&made.manifest));
    server.put(&manifest_path("latest"), 200, &[], &index(&[entry(b"never", "arm64")]));
    let error = place.refused(&server, "alpine");
    assert_eq!(error.message, "there is no image for linux/amd64, only for linux/arm64");
}

/// A proxy that leads to this server, whatever it is asked for; the heads of the requests that it had.
fn proxy_to(server: &Server) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, to, heads) = (listener.local_addr().unwrap().to_string(), server.host.clone(), Arc::default());
    let seen: Arc<Mutex<Vec<String>>> = Arc::clone(&heads);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut host) = (client.unwrap(), TcpStream::connect(&to).unwrap());
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap() > 0 {
                head.push(byte[0]);
            }
            seen.lock().unwrap().push(String::from_utf8(head).unwrap());
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let (mut up, mut down) = (client.try_clone().unwrap(), host.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut up, &mut host));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut down, &mut client);
                let _ = client.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    (address, heads)
}

#[test]
fn a_pull_goes_through_the_proxy() {
    let (server, made) = (Server::start(), made());
    publish(&server, &made);
    let (address, heads) = proxy_to(&server);
    let mut place = place(&server);
    // of a name that nobody knows but the proxy
    let config = "insecure = [\"r.invalid:5000\"]\n[[mirror]]\nhost = \"docker.io\"\nurl = \"http://r.invalid:5000\"\n";
    place.config = RegistryConfig::parse(config).unwrap();
    let named = Server { host: "r.invalid:5000".to_owned(), ..server.clone() };
    assert!(matches!(place.pull(&named, "alpine"), Err(Failure::Absent(_))), "the control");
    place.config.proxies = [String::new(), format!("http://u:word@{address}"), String::new()];
    place.pull(&named, "alpine").unwrap();
    let heads = heads.lock().unwrap();
    assert!(!server.requests(&blob_path(&made.layer)).is_empty() && !heads.is_empty());
    for head in heads.iter() {
        assert!(head.starts_with("CONNECT r.invalid:5000 HTTP/1.1\r\n"), "{head}");
        assert!(head.to_lowercase().contains("\r\nproxy-authorization: basic dtp3b3jk\r\n"), "{head}");
    }
}

#[test]
fn what_has_an_images_configuration_and_tars_is_an_image_whatever_it_is_called() {
    let (server, made) = (Server::start(), made());
    publish(&server, &made);
    let mut manifest: serde_json::Value = serde_json::from_slice(&made.manifest).unwrap();
    manifest["artifactType"] = "application/vnd.example.app".into();
    server.put(&manifest_path("latest"), 200, &[], manifest.to_string().as_bytes());
    let place = place(&server);
    place.pull(&server, "alpine").unwrap();
    manifest["layers"][0]["mediaType"] = "application/vnd.example.data".into();
    server.put(&manifest_path("latest"), 200, &[], manifest.to_string().as_bytes());
    assert!(place.refused(&server, "alpine").message.contains("an artifact, application/vnd.example.app"));
}

#[test]
fn what_is_there_for_one_platform_alone_is_not_pulled_for_another() {
    let (server, made) = (Server::start(), made());
    publish(&server, &made);
    let place = place(&server);
    let Err(Failure::Refused(error)) = place.pull_for(&server, "alpine", Some("linux/arm64")) else { panic!("pulled") };
    assert_eq!(error.message, "the registry has it for linux/amd64 alone, not for linux/arm64");
    place.check_empty();
    assert!(server.seen(&blob_path(&made.layer)).is_empty());
    place.pull_for(&server, "alpine", None).unwrap();
}

#[test]
fn a_copy_goes_on_where_it_was_cut() {
    let (server, made) = (Server::start(), made());
    publish(&server, &made);
    let place = place(&server);
    let reference = Reference::parse("alpine").unwrap();
    let endpoint = place.config.endpoints(&reference).unwrap().remove(0);
    let remote = Remote::connect(&endpoint, &reference, &place.config, Access::Pull, REACH).unwrap();
    let (digest, size) = (Digest::of(&made.layer), made.layer.len() as u64);
    let all = made.layer.len();
    for (ranges, served) in
        [(Ranges::Known, all), (Ranges::Refused, 512 + 600 + all), (Ranges::Ignored, 512 + 600 + all)]
    {
        let cuts = match ranges {
            Ranges::Refused => vec![512, 0, 600, 0],
            _ => vec![512, 600],
        };
        let (before, body) = (server.served(&blob_path(&made.layer)), made.layer.clone());
        let silent = ranges == Ranges::Known; // one that says no length has its end where it is cut
        server.answer(&blob_path(&made.layer), Answer { status: 200, body, cuts, ranges, silent, ..Answer::default() });
        let mut bytes = Vec::new();
        remote.blob(&digest, size).unwrap().read_to_end(&mut bytes).unwrap();
        assert!(bytes == made.layer, "{ranges:?}");
        assert_eq!(server.served(&blob_path(&made.layer)) - before, served, "{ranges:?}");
    }
    let error = remote.blob(&digest, 1 << 50).err().unwrap();
    assert!(error.message.ends_with("more than 64 GiB"), "{error}");
    let mut large: serde_json::Value = serde_json::from_slice(&made.manifest).unwrap();
    large["layers"][0]["size"] = (1u64 << 50).into();
    server.put(&manifest_path("latest"), 200, &[], large.to_string().as_bytes());
    assert_eq!(place.refused(&server, "alpine").message, error.message);
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
        ("artifact", "alpine", &|s| {
            let mut chart: serde_json::Value = serde_json::from_slice(&made.manifest).unwrap();
            chart["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json".into();
            s.put(&manifest_path("latest"), 200, &[], chart.to_string().as_bytes());
        }),
        ("endless layer", "alpine", &|s| {
            let silent = Answer { status: 200, body: vec![0; 1 << 22], silent: true, ..Answer::default() };
            s.answer(&blob_path(&made.layer), silent);
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
        (403, vec![], "minirun login"),
        (429, vec![("retry-after", "70".to_owned())], "wait 70 s"),
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
    let place = place(&Server { host: format!("127.0.0.1:{port}"), ..Server::nowhere() });
    let start = Instant::now();
    let name = format!("127.0.0.1:{port}/alpine");
    let error = pull(&place.store, &Reference::parse(&name).unwrap(), &place.config, None, &()).unwrap_err();
    assert_eq!(
        error.message,
        format!("image {name} is not here and its registry cannot be reached (127.0.0.1:{port}: connection refused)")
    );
    assert_eq!(
        error.hint.as_deref(),
        Some("offline you can run hello and the images built from images/, or minirun load -i FILE")
    );
    assert!(start.elapsed() < std::time::Duration::from_secs(30));
    let alpine = remote::not_reachable(&Reference::parse("alpine").unwrap(), "x");
    assert_eq!(alpine.message, "image alpine is not here and its registry cannot be reached (x)");
}

#[test]
fn a_silent_registry_is_given_up_in_time() {
    // it accepts and says nothing
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let place = place(&Server { host: host.clone(), ..Server::nowhere() });
    let start = Instant::now();
    let reference = Reference::parse(&format!("{host}/x")).unwrap();
    let error = pull(&place.store, &reference, &place.config, None, &()).unwrap_err();
    assert!(error.message.contains("cannot be reached"), "{error}");
    assert!(start.elapsed() < std::time::Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn a_silent_mirror_leaves_time_for_the_registry() {
    let (silent, server, made) = (TcpListener::bind("127.0.0.1:0").unwrap(), Server::start(), made());
    publish(&server, &made);
    let mirror = format!("[[mirror]]\nhost = {:?}\nurl = \"http://{}\"\n", server.host, silent.local_addr().unwrap());
    let Place { store, _dir, .. } = place(&server);
    let config = RegistryConfig::parse(&mirror).unwrap();
    let reference = Reference::parse(&format!("{}/library/alpine", server.host)).unwrap();
    let start = Instant::now();
    pull(&store, &reference, &config, Some(&Platform::parse("amd64").unwrap()), &()).unwrap();
    assert!(start.elapsed() < REACH, "{:?}", start.elapsed());
    silent.set_nonblocking(true).unwrap();
    drop(silent.accept().unwrap()); // the control: it was asked first
}

/// A mirror of a registry, both with the image, and the store of who pulls.
fn mirrored(mirror: &Server, made: &Made) -> (Server, Place, Reference) {
    let server = Server::start();
    [mirror, &server].into_iter().for_each(|server| publish(server, made));
    let place = place(&server);
    let text = format!("[[mirror]]\nhost = {:?}\nurl = \"http://{}\"\n", server.host, mirror.host);
    let mut config = RegistryConfig::parse(&text).unwrap();
    config.silence = Some(Duration::from_millis(300));
    let reference = Reference::parse(&format!("{}/library/alpine", server.host)).unwrap();
    (server, Place { config, ..place }, reference)
}

#[test]
fn a_mirror_that_falls_silent_is_left_for_the_registry() {
    let made = large();
    let layer = blob_path(&made.layer);
    for (path, stalls) in [(manifest_path("latest"), 0), (layer.clone(), 100_000)] {
        let mirror = Server::start();
        let (server, place, reference) = mirrored(&mirror, &made);
        mirror.change(&path, |answer| answer.stalls = Some(stalls));
        server.change(&layer, |answer| answer.ranges = Ranges::Known);
        pull(&place.store, &reference, &place.config, Some(&Platform::parse("amd64").unwrap()), &()).unwrap();
        assert_eq!(mirror.seen(&path).len(), 1, "it was asked once: {path}");
        let range = &server.requests(&layer)[0].range;
        assert_eq!(range.is_empty(), stalls == 0, "what has come of the layer is kept: {range}");
    }
}

#[test]
fn a_mirror_that_is_not_there_is_passed_over_at_once() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let gone = Server { host: format!("127.0.0.1:{port}"), ..Server::nowhere() };
    let (_server, place, reference) = mirrored(&gone, &made());
    let start = Instant::now();
    pull(&place.store, &reference, &place.config, Some(&Platform::parse("amd64").unwrap()), &()).unwrap();
    let tries: Duration = (0..super::http::TRIES).map(super::http::backoff).sum();
    assert!(start.elapsed() < tries, "{:?}", start.elapsed());
}

#[test]
fn the_first_question_is_asked_again_too() {
    let (server, made) = (Server::start(), made());
    publish(&server, &made);
    *server.drops.lock().unwrap() = 2;
    place(&server).pull(&server, "alpine").unwrap();
    assert_eq!(*server.drops.lock().unwrap(), 0, "the control: it was cut");
}

#[test]
fn trouble_of_the_host_is_told_while_layers_stand_still() {
    let (server, lower, upper) = (Server::start(), made(), large());
    let config = serde_json::json!({"architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&lower.layer), Digest::of(&upper.layer)]}});
    let config = config.to_string().into_bytes();
    let layer = |made: &Made| descriptor("application/vnd.oci.image.layer.v1.tar", &made.layer);
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [layer(&lower), layer(&upper)]});
    publish(&server, &Made { layer: lower.layer.clone(), config, manifest: manifest.to_string().into_bytes() });
    let place = place(&server);
    if crate::sys::host::uid() != 0 || !place.store.takes_overlay() {
        return; // nothing is unpacked before all has come
    }
    server.put(&blob_path(&upper.layer), 200, &[], &upper.layer);
    server.change(&blob_path(&upper.layer), |answer| answer.stalls = Some(100_000));
    let names = place._dir.path().join("layers/l");
    std::fs::remove_dir(&names).unwrap();
    std::fs::write(&names, "").unwrap(); // no layer can have its short name
    let start = Instant::now();
    let Err(Failure::Refused(error)) = place.pull(&server, "alpine") else { panic!("it is told") };
    assert!(error.message.contains("layers/l"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

/// A blob that is worth cutting: bytes that do not deflate, in a tar that is not compressed.
fn large() -> Made {
    let noise: Vec<u8> = (0..600_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let noise: String = noise.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    made_of(Tar::default().file("x", &noise).end())
}

#[test]
fn what_was_cut_goes_on_where_it_stopped() {
    let (server, made) = (Server::start(), large());
    publish(&server, &made);
    let (path, half) = (blob_path(&made.layer), made.layer.len() / 2);
    server.change(&path, |answer| {
        answer.ranges = Ranges::Known;
        answer.cuts = vec![half];
    });
    let place = place(&server);
    place.pull(&server, "alpine").unwrap();
    let ranges: Vec<String> = server.requests(&path).into_iter().map(|seen| seen.range).collect();
    assert_eq!(ranges, ["".to_owned(), format!("bytes={half}-")]);
    assert_eq!(server.served(&path), made.layer.len(), "each byte once");
    assert_eq!(place.partials(), [0; 0]);
}

#[test]
fn a_pull_goes_on_where_another_one_failed() {
    let (server, made) = (Server::start(), large());
    publish(&server, &made);
    let (path, half) = (blob_path(&made.layer), made.layer.len() / 2);
    let place = place(&server);
    server.change(&path, |answer| {
        answer.ranges = Ranges::Known;
        answer.cuts = [&[half][..], &[0; 10]].concat();
    });
    assert!(matches!(place.pull(&server, "alpine"), Err(Failure::Unreachable(_))));
    assert_eq!(place.partials(), [half as u64]);
    assert!(place.store.list().unwrap().is_empty());
    server.change(&path, |answer| answer.cuts.clear());
    place.pull(&server, "alpine").unwrap();
    assert_eq!(server.served(&path), made.layer.len(), "each byte once");
    assert_eq!(place.partials(), [0; 0]);
}

#[test]
fn what_is_kept_of_a_failed_pull_goes_with_a_sweep() {
    let (server, made) = (Server::start(), large());
    publish(&server, &made);
    server.change(&blob_path(&made.layer), |answer| answer.cuts = [&[1000][..], &[0; 10]].concat());
    let place = place(&server);
    place.pull(&server, "alpine").unwrap_err();
    assert_eq!(place.partials(), [1000]);
    let ingest = crate::image::ingest::Ingest::begin(&place.store).unwrap();
    place.store.sweep(&|| Ok(std::collections::BTreeSet::new())).unwrap();
    assert_eq!(place.partials(), [1000], "somebody pulls");
    drop(ingest);
    place.store.sweep(&|| Ok(std::collections::BTreeSet::new())).unwrap();
    place.check_empty();
}

#[test]
fn a_registry_without_ranges_sends_all_of_it_again() {
    for ranges in [Ranges::Ignored, Ranges::Refused] {
        let (server, made) = (Server::start(), large());
        publish(&server, &made);
        let (path, half) = (blob_path(&made.layer), made.layer.len() / 2);
        server.change(&path, |answer| {
            answer.ranges = ranges;
            answer.cuts = vec![half];
        });
        place(&server).pull(&server, "alpine").unwrap();
        assert_eq!(server.served(&path), half + made.layer.len(), "{ranges:?}");
    }
}

#[test]
fn a_part_that_is_wrong_is_thrown_away_and_fetched_once_more() {
    let (server, made) = (Server::start(), large());
    publish(&server, &made);
    let path = blob_path(&made.layer);
    server.change(&path, |answer| answer.ranges = Ranges::Known);
    let place = place(&server);
    let part = place._dir.path().join(format!("images/.partial-{}", Digest::of(&made.layer).hex()));
    for damage in [0, 1000, made.layer.len() / 2] {
        let mut half = made.layer[..made.layer.len() / 2 + 1].to_vec();
        half[damage] ^= 1;
        std::fs::write(&part, half).unwrap();
        let image = place.pull(&server, "alpine").unwrap();
        assert_eq!(std::fs::read(place.store.blob_path(&image.layers[0].digest).as_path()).unwrap(), made.layer);
        assert_eq!(place.partials(), [0; 0]);
        place.store.remove("alpine", &|| Ok(std::collections::BTreeSet::new()), |_| Ok(())).unwrap();
    }
    // and where the registry itself is wrong, once
    let mut wrong = made.layer.clone();
    wrong[1000] ^= 1;
    server.change(&path, |answer| answer.body = wrong);
    std::fs::write(&part, &made.layer[..500]).unwrap();
    let before = server.requests(&path).len();
    let error = place.refused(&server, "alpine");
    assert!(error.message.contains("digest mismatch"), "{error}");
    assert_eq!(server.requests(&path).len(), before + 2);
    place.check_empty();
}

#[test]
fn a_token_that_ends_in_the_middle_is_renewed() {
    let (server, made) = (Server::start(), made());
    publish(&server, &made);
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"reg\"", server.host);
    server.put("/v2/", 401, &[("www-authenticate", realm.clone())], b"");
    let token = "/token?service=reg&scope=repository:library/alpine:pull";
    server.put(token, 200, &[], br#"{"token":"first"}"#);
    let path = blob_path(&made.layer);
    // the layer alone wants another one, which is given out from then on
    let challenge = vec![("www-authenticate", realm)];
    let body = made.layer.clone();
    server.answer(
        &path,
        Answer { status: 200, headers: challenge, body, only: Some("Bearer second"), ..Answer::default() },
    );
    let place = place(&server);
    let error = place.refused(&server, "alpine");
    assert!(error.message.contains("answers 401"), "{error}");
    assert_eq!(server.seen(&path), ["Bearer first", "Bearer first"], "once more, and no more than that");
    server.put(token, 200, &[], br#"{"access_token":"second"}"#);
    place.pull(&server, "alpine").unwrap();
}

#[test]
fn an_identity_token_is_changed_for_one_of_the_repository() {
    let (server, made) = (Server::start(), made());
    publish(&server, &made);
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"reg\"", server.host);
    server.put("/v2/", 401, &[("www-authenticate", realm)], b"");
    server.put("/token", 200, &[], br#"{"access_token":"short"}"#);
    let mut place = place(&server);
    let login = format!(r#"{{"auths":{{"{}":{{"identitytoken":"long&lived"}}}}}}"#, server.host);
    place.config.logins.add(&login).unwrap();
    place.pull(&server, "alpine").unwrap();
    let asked = server.requests("/token");
    assert_eq!((asked.len(), asked[0].method.as_str(), asked[0].authorization.as_str()), (1, "POST", ""));
    let form = String::from_utf8(asked[0].body.clone()).unwrap();
    assert!(form.contains("grant_type=refresh_token") && form.contains("refresh_token=long%26lived"), "{form}");
    assert_eq!(server.seen(&manifest_path("latest")), ["Bearer short"]);
}

#[test]
fn who_is_told_to_come_again_soon_does_so() {
    let (server, made) = (Server::start(), made());
    publish(&server, &made);
    let path = manifest_path("latest");
    server.put(&path, 429, &[("retry-after", "1".to_owned())], b"");
    let (again, manifest) = (server.clone(), made.manifest.clone());
    let waits = std::thread::spawn(move || {
        while again.requests(&manifest_path("latest")).is_empty() {
            std::thread::yield_now();
        }
        again.put(&manifest_path("latest"), 200, &[], &manifest);
    });
    place(&server).pull(&server, "alpine").unwrap();
    waits.join().unwrap();
    assert_eq!(server.requests(&path).len(), 2);
}

#[test]
fn attestations_are_no_images() {
    let (server, made) = (Server::start(), made());
    publish(&server, &made);
    let mut entry = descriptor(MANIFEST, &made.manifest);
    entry["platform"] = serde_json::json!({"os": "linux", "architecture": "amd64"});
    let mut attestation = descriptor(MANIFEST, b"never asked for");
    attestation["platform"] = serde_json::json!({"os": "unknown", "architecture": "unknown"});
    attestation["annotations"] = serde_json::json!({"vnd.docker.reference.type": "attestation-manifest"});
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [attestation, entry]});
    server.put(&manifest_path("latest"), 200, &[], index.to_string().as_bytes());
    server.put(&manifest_path(Digest::of(&made.manifest).as_str()), 200, &[], &made.manifest);
    assert_eq!(place(&server).pull(&server, "alpine").unwrap().manifest, Digest::of(&made.manifest));
}

#[test]
fn all_tags_are_found_page_by_page() {
    let server = Server::start();
    server.put("/v2/", 200, &[], b"");
    let next = "</v2/library/alpine/tags/list?last=b&n=1000>; rel=\"next\"".to_owned();
    server.put("/v2/library/alpine/tags/list?n=1000", 200, &[("link", next)], br#"{"tags": ["a", "b"]}"#);
    // a proxy before it has another scheme and port than it knows of
    let next = |host: &str| format!("<https://{host}/v2/library/alpine/tags/list?last=c>; rel=\"next\"");
    let second = |next: String| {
        server.put("/v2/library/alpine/tags/list?last=b&n=1000", 200, &[("link", next)], br#"{"tags": ["c"]}"#);
    };
    second(next("127.0.0.1"));
    server.put("/v2/library/alpine/tags/list?last=c", 200, &[], br#"{"tags": ["d"]}"#);
    let found = || tags(&Reference::parse("alpine").unwrap(), &place(&server).config);
    let names: Vec<_> = found().unwrap().iter().map(Reference::familiar).collect();
    assert_eq!(names, ["alpine:a", "alpine:b", "alpine:c", "alpine:d"]);
    for elsewhere in [next("example.org"), next("").replace("https:", ""), next("127.0.0.2")] {
        second(elsewhere);
        assert!(found().unwrap_err().message.contains("the list of tags goes on at"));
    }
    server.put("/v2/library/alpine/tags/list?last=b&n=1000", 200, &[], br#"{"tags": ["../x"]}"#);
    assert!(found().is_err());
}

#[test]
fn a_blob_is_sent_once_and_mounted_where_the_registry_has_it() {
    let (server, made) = (Server::start(), made());
    publish(&server, &made);
    let mut here = place(&server);
    here.config.mirrors[0].host = "docker.io".to_owned();
    let image = here.pull(&server, "alpine").unwrap();
    let to = Reference::parse(&format!("{}/team/site:2", server.host)).unwrap();
    let layer = Digest::of(&made.layer);
    let session = "/v2/team/site/blobs/uploads/";
    server.put(session, 202, &[("location", "/upload?state=x".to_owned())], b"");
    let sent = |digest: &Digest| format!("/upload?state=x&digest={digest}");
    for digest in [&layer, &image.id] {
        server.put(&sent(digest), 201, &[], b"");
    }
    server.put("/v2/team/site/manifests/2", 201, &[], b"");
    push(&here.store, &image, &to, &here.config, &()).unwrap();
    assert_eq!(server.requests(&sent(&layer))[0].body, made.layer);
    assert_eq!(server.requests("/v2/team/site/manifests/2")[0].body, made.manifest);
    // it has the layer now, and the configuration in another repository
    server.put(&format!("/v2/team/site/blobs/{layer}"), 200, &[], b"");
    let mount = format!("{session}?mount={}&from=team/other", image.id);
    server.put(&mount, 201, &[], b"");
    let named = Image { names: vec![Reference::parse(&format!("{}/team/other", server.host)).unwrap()], ..image };
    push(&here.store, &named, &to, &here.config, &()).unwrap();
    assert_eq!((server.requests(&sent(&layer)).len(), server.requests(&mount).len()), (1, 1));
    // and who may not, is told so
    server.put("/v2/team/site/manifests/2", 403, &[], br#"{"errors":[{"code":"DENIED","message":"not yours"}]}"#);
    let error = push(&here.store, &named, &to, &here.config, &()).unwrap_err();
    assert!(error.message.contains("403 (not yours)"), "{error}");
    assert!(error.hint.unwrap().contains("minirun login"));
}

#[test]
fn a_login_is_looked_at_before_it_is_kept() {
    let server = Server::start();
    let challenge = vec![("www-authenticate", "Basic realm=\"x\"".to_owned())];
    let only = Some("Basic bWU6d29yZA==");
    server.answer("/v2/", Answer { status: 200, headers: challenge, only, ..Answer::default() });
    let config = RegistryConfig::default();
    check_login(&server.host, "me", "word", &config).unwrap();
    let error = check_login(&server.host, "me", "wrong", &config).unwrap_err();
    assert!(error.message.contains("does not take this name and password"), "{error}");
}
