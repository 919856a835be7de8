//! Archives of every form, whole and damaged, into a store of the test's own.

use super::super::layer::tests::Tar;
use super::*;
use crate::id::HostPath;
use crate::sys::at;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;

type NamedBytes = (String, Vec<u8>);

pub(in crate::image) struct Place {
    pub dir: tempfile::TempDir,
    pub store: Store,
}

pub(in crate::image) fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&HostPath::parse(dir.path().join("root").to_str().unwrap()).unwrap()).unwrap();
    Place { dir, store }
}

impl Place {
    /// Nothing of an image is in the store.
    fn check_empty(&self, what: &str) {
        assert!(self.store.list().unwrap().is_empty(), "{what}");
        let root = self.dir.path().join("root");
        assert_eq!(fs::read_dir(root.join("images/blobs/sha256")).unwrap().count(), 0, "{what}");
        let left: Vec<_> = fs::read_dir(root.join("images")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|n| !n.to_string_lossy().starts_with(".staging-")), "{what}: {left:?}");
    }
}

fn load(store: &Store, path: &Path, progress: &dyn Progress) -> Result<Vec<Image>> {
    super::load(store, File::open(path).unwrap(), path.to_str().unwrap(), progress)
}

/// As through a pipe.
pub(in crate::image) fn load_stream(store: &Store, archive: &[u8], what: &str) -> Result<Vec<Image>> {
    load_files(store, what, &(), |spool| Files::spool(archive, spool))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image of these layers as the files of a layout, without index.json.
pub(in crate::image) struct Made {
    pub files: Vec<(String, Vec<u8>)>,
    pub manifest: Digest,
    pub size: usize,
}

pub(in crate::image) fn blob(files: &mut Vec<(String, Vec<u8>)>, bytes: &[u8]) -> serde_json::Value {
    let digest = Digest::of(bytes);
    files.push((format!("blobs/sha256/{}", digest.hex()), bytes.to_vec()));
    serde_json::json!({"digest": digest, "size": bytes.len()})
}

fn typed(mut descriptor: serde_json::Value, media_type: &str) -> serde_json::Value {
    descriptor["mediaType"] = media_type.into();
    descriptor
}

fn config(layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    serde_json::json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}})
        .to_string()
        .into_bytes()
}

pub(in crate::image) fn image(layers: &[Vec<u8>]) -> Made {
    let mut files = vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
    let blobs: Vec<_> = layers
        .iter()
        .map(|l| typed(blob(&mut files, &gzip(l)), "application/vnd.oci.image.layer.v1.tar+gzip"))
        .collect();
    let config = typed(blob(&mut files, &config(layers)), "application/vnd.oci.image.config.v1+json");
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": blobs});
    let manifest = manifest.to_string().into_bytes();
    blob(&mut files, &manifest);
    Made { files, manifest: Digest::of(&manifest), size: manifest.len() }
}

fn index(made: &Made, name: &str) -> Vec<u8> {
    serde_json::json!({"schemaVersion": 2, "manifests": [{
        "mediaType": MANIFEST, "digest": made.manifest, "size": made.size,
        "annotations": {"org.opencontainers.image.ref.name": name}
    }]})
    .to_string()
    .into_bytes()
}

pub(in crate::image) fn with_index(mut made: Made, name: &str) -> Vec<(String, Vec<u8>)> {
    made.files.push(("index.json".to_owned(), index(&made, name)));
    made.files
}

/// An archive whose index names this document as its image.
pub(in crate::image) fn described(document: &serde_json::Value, mut made: Made) -> Vec<u8> {
    let bytes = document.to_string().into_bytes();
    blob(&mut made.files, &bytes);
    made = Made { manifest: Digest::of(&bytes), size: bytes.len(), files: made.files };
    tar(&with_index(made, "x"))
}

/// An image whose manifest has these layers, and whose configuration has those.
fn described_layers(layers: &[Vec<u8>], configured: &[Vec<u8>]) -> Vec<u8> {
    let mut made = image(layers);
    let mut manifest: serde_json::Value = serde_json::from_slice(&made.files[made.files.len() - 1].1).unwrap();
    manifest["config"] = typed(blob(&mut made.files, &config(configured)), "application/vnd.oci.image.config.v1+json");
    described(&manifest, made)
}

pub(in crate::image) fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    files.iter().fold(Tar::default(), |tar, (path, bytes)| tar.bytes(path, bytes)).end()
}

pub(in crate::image) fn layer(text: &str) -> Vec<u8> {
    Tar::default().dir("etc/").file("etc/x", text).end()
}

#[test]
fn a_layer_that_is_there_twice_is_one_directory_where_the_upper_one_is() {
    let place = place();
    let path = place.dir.path().join("image");
    fs::write(&path, tar(&with_index(image(&[layer("1"), layer("2"), layer("1")]), "twice:1"))).unwrap();
    let found = load(&place.store, &path, &()).unwrap().remove(0);
    assert_eq!(found.layers.len(), 3);
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: unpacking layers needs root");
        return;
    }
    let dirs = place.store.layer_dirs(&found).unwrap();
    let texts = dirs.iter().map(|dir| fs::read_to_string(dir.child("etc/x").as_path()).unwrap());
    assert_eq!(texts.collect::<Vec<_>>(), ["2", "1"]);
    assert_eq!(place.store.expected_dirs(&found), (dirs, true));
}

#[test]
fn a_layout_comes_in_as_directory_and_as_archive() {
    let files = with_index(image(&[layer("1"), layer("2")]), "busybox:1.36");
    for form in ["directory", "tar", "gz", "zst", "xz"] {
        let place = place();
        let path = place.dir.path().join("image");
        match form {
            "directory" => {
                for (name, bytes) in &files {
                    fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
                    fs::write(path.join(name), bytes).unwrap();
                }
            }
            "gz" => fs::write(&path, gzip(&tar(&files))).unwrap(),
            "xz" => fs::write(&path, xz::tests::stored(&tar(&files))).unwrap(),
            "zst" => fs::write(&path, zstd::encode_all(&tar(&files)[..], 1).unwrap()).unwrap(),
            _ => fs::write(&path, tar(&files)).unwrap(),
        }
        let images = load(&place.store, &path, &()).unwrap();
        assert_eq!(images[0].label(), "busybox:1.36", "{form}");
        let found = place.store.find("busybox:1.36").unwrap();
        assert_eq!(place.store.find(&found.id.short()[..5]).unwrap().manifest, found.manifest);
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: unpacking layers needs root");
            continue;
        }
        let dirs = place.store.layer_dirs(&found).unwrap();
        assert_eq!(dirs.len(), 2);
        assert_eq!(fs::read_to_string(dirs[1].child("etc/x").as_path()).unwrap(), "2");
        assert_eq!(
            fs::canonicalize(super::super::unpack::short_link(&dirs[1]).as_path()).unwrap(),
            fs::canonicalize(dirs[1].as_path()).unwrap()
        );
        let removed = place.store.remove("busybox:1.36", &|| Ok(BTreeSet::new()), |_| Ok(())).unwrap();
        assert_eq!(removed.deleted, [found.id]);
        place.check_empty(form);
        let left = fs::read_dir(place.store.layers().as_path()).unwrap().map(|e| e.unwrap().file_name());
        assert!(left.into_iter().all(|n| n == "l" || n == ".lock"));
        assert_eq!(fs::read_dir(place.store.layers().child("l").as_path()).unwrap().count(), 0);
    }
}

#[test]
fn a_docker_archive_comes_in_with_its_tags() {
    let (first, second) = (layer("1"), layer("2"));
    let config = config(&[first.clone(), second.clone(), first.clone()]);
    let manifest = br#"[{"Config":"c.json","RepoTags":["alpine:3","team/x:y"],"Layers":["a/layer.tar","b/layer.tar","c/layer.tar"]}]"#;
    let archive = Tar::default()
        .bytes("a/layer.tar", &first)
        .bytes("b/layer.tar", &gzip(&second))
        .symlink("c/layer.tar", "../a/layer.tar")
        .bytes("c.json", &config)
        .bytes("manifest.json", manifest)
        .end();
    let place = place();
    let images = load_stream(&place.store, &archive[..], "x").unwrap();
    let names: Vec<String> = images[0].names.iter().map(Reference::familiar).collect();
    assert_eq!(names, ["alpine:3", "team/x:y"]);
    assert_eq!(images[0].id, Digest::of(&config));
    assert_eq!(images[0].layers[0], images[0].layers[2]);
    assert_eq!(images[0].layers[1].media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
    // one name goes, the image stays; with the last name it goes too
    place.store.remove("alpine:3", &|| Ok(BTreeSet::new()), |_| Ok(())).unwrap();
    let image = place.store.find("team/x:y").unwrap();
    let in_use = BTreeSet::from([image.manifest.clone()]);
    let refused =
        place.store.remove("team/x:y", &|| Ok(in_use.clone()), |manifest| Err(Error::user(manifest.as_str())));
    assert_eq!(refused.unwrap_err().message, image.manifest.as_str());
    // what a container needs stays without a name, too
    place.store.layer_dirs(&image).unwrap();
    place.store.remove(image.id.short(), &|| Ok(in_use.clone()), |_| Ok(())).unwrap();
    assert!(place.store.list().unwrap().is_empty());
    place.store.sweep(&|| Ok(in_use.clone())).unwrap();
    assert!(place.store.expected_dirs(&image).1);
    assert_eq!(place.store.of_container(&image.manifest).unwrap().layers, image.layers);
    place.store.sweep(&|| Ok(BTreeSet::new())).unwrap();
    place.check_empty("removed");
}

#[test]
fn an_image_without_layers_comes_in_as_go_writes_it() {
    let configs = [
        r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers"}}"#,
        r#"{"architecture":"amd64","os":"linux","history":null,"rootfs":{"type":"layers","diff_ids":null}}"#,
    ];
    for text in configs {
        let place = place();
        let mut made = Made { files: Vec::new(), ..image(&[]) };
        let config = typed(blob(&mut made.files, text.as_bytes()), "application/vnd.oci.image.config.v1+json");
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": null});
        assert!(load_stream(&place.store, &described(&manifest, made), "x").unwrap()[0].layers.is_empty());
        for manifest in [r#"[{"Config":"c.json","RepoTags":["d:1"],"Layers":null}]"#, r#"[{"Config":"c.json"}]"#] {
            let files = [("c.json".to_owned(), text.into()), ("manifest.json".to_owned(), manifest.into())];
            assert!(load_stream(&place.store, &tar(&files), "x").unwrap()[0].layers.is_empty(), "{manifest}");
        }
    }
    let files = [("index.json".to_owned(), br#"{"schemaVersion":2,"manifests":null}"#.to_vec())];
    let error = load_stream(&place().store, &tar(&files), "x").unwrap_err();
    assert!(error.message.ends_with("it holds no image"), "{error}");
}

#[test]
fn one_image_in_two_compressions_is_found_by_its_id() {
    let place = place();
    let plain = layer("1");
    let first =
        load_stream(&place.store, &tar(&with_index(image(std::slice::from_ref(&plain)), "x")), "x").unwrap().remove(0);
    let mut made = image(std::slice::from_ref(&plain));
    let mut manifest: serde_json::Value = serde_json::from_slice(&made.files[made.files.len() - 1].1).unwrap();
    manifest["layers"][0] = typed(blob(&mut made.files, &plain), "application/vnd.oci.image.layer.v1.tar");
    // under the same name, which the first one loses
    let second = load_stream(&place.store, &described(&manifest, made), "x").unwrap().remove(0);
    let found = |text: &str| place.store.find(text).map(|image| image.manifest);
    assert!(first.id == second.id && first.manifest != second.manifest);
    for id in [second.id.as_str(), second.id.short()] {
        assert_eq!(found(id).unwrap(), second.manifest);
    }
    let name = Reference::parse("old").unwrap();
    place.store.tag(&first, &name).unwrap();
    let nothing = || Ok(BTreeSet::new());
    let remove = |text: &str| place.store.remove(text, &nothing, |_| Ok(())).unwrap().untagged;
    assert_eq!(remove(second.id.as_str()), [name]); // the newest name
    assert_eq!(found(second.id.as_str()).unwrap(), second.manifest);
    assert_eq!(remove(second.id.as_str()), [Reference::parse("x").unwrap()]);
    assert!(found(second.id.as_str()).is_err());
}

#[test]
fn broken_archives_leave_nothing() {
    let good = with_index(image(&[layer("1")]), "x");
    let damaged = |at: usize, change: &dyn Fn(&mut NamedBytes)| {
        let mut files = good.clone();
        change(&mut files[at]);
        tar(&files)
    };
    let whole = tar(&good);
    let cycle = {
        let mut files = Vec::new();
        let inner = Digest::of(b"never");
        let outer =
            serde_json::json!({"schemaVersion": 2, "manifests": [{"mediaType": INDEX, "digest": inner, "size": 5}]});
        files.push(("index.json".to_owned(), outer.to_string().into_bytes()));
        tar(&files)
    };
    let diff = Tar::default()
        .bytes("l.tar", &layer("other"))
        .bytes("c.json", &config(&[layer("1")]))
        .bytes("manifest.json", br#"[{"Config":"c.json","RepoTags":null,"Layers":["l.tar"]}]"#)
        .end();
    let outside =
        Tar::default().bytes("manifest.json", br#"[{"Config":"../../etc/passwd","RepoTags":null,"Layers":[]}]"#).end();
    let both = {
        let made = image(&[layer("1")]);
        let at = made.files.len() - 1;
        let mut manifest: serde_json::Value = serde_json::from_slice(&made.files[at].1).unwrap();
        manifest["manifests"] = serde_json::json!([]);
        described(&manifest, made)
    };
    let index_first = described(
        &serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "layers": [], "config": {}}),
        image(&[layer("1")]),
    );
    let schema_1 = described(&serde_json::json!({"schemaVersion": 1, "name": "x"}), image(&[layer("1")]));
    let artifact = described(
        &serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "x/y", "layers": [], "config": {
            "mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "digest": Digest::of(b"{}")}}),
        {
            let mut made = image(&[]);
            blob(&mut made.files, b"{}");
            made
        },
    );
    let counts = described_layers(&[layer("1"), layer("2")], &[layer("1")]);
    let lies = |change: &dyn Fn(&mut serde_json::Value)| {
        let made = image(&[layer("1")]);
        let mut manifest: serde_json::Value = serde_json::from_slice(&made.files[made.files.len() - 1].1).unwrap();
        change(&mut manifest["layers"][0]);
        described(&manifest, made)
    };
    let digest = |text: String| lies(&move |layer| layer["digest"] = text.clone().into());
    let hex = "0123456789abcdef".repeat(4);
    let xz_layer = Tar::default()
        .bytes("l.tar", &xz::tests::stored(&layer("1")))
        .bytes("c.json", &config(&[layer("1")]))
        .bytes("manifest.json", br#"[{"Config":"c.json","RepoTags":null,"Layers":["l.tar"]}]"#)
        .end();
    let links = Tar::default().symlink("manifest.json", "manifest.json").bytes("x", b"").end();
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        ("empty", "it holds no file", Vec::new()),
        ("no archive", "no tar", b"hello".repeat(1000)),
        ("no text either", "", (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
        ("cut", "", whole[..whole.len() / 2].to_vec()),
        ("flipped byte", "digest mismatch: the content of ", damaged(1, &|f| f.1[30] ^= 1)),
        ("missing blob", " is missing", damaged(1, &|f| *f = ("elsewhere".into(), Vec::new()))),
        ("bad index", "index.json: EOF", damaged(4, &|f| f.1.truncate(20))),
        ("endless index", " is missing", cycle),
        ("diff id", "digest mismatch: the content of ", diff),
        ("outside", r#""../../etc/passwd" is outside the archive"#, outside),
        ("cut gzip", "", gzip(&whole)[..200].to_vec()),
        ("a manifest and an index", "both a manifest and an index", both),
        ("an index and a manifest", "both a manifest and an index", index_first),
        ("schema 1", "docker's schema 1", schema_1),
        ("an artifact", "is an artifact, not an image", artifact),
        ("more layers than diff ids", "has 2 layers and 1 diff ids", counts),
        ("a size that is none", "bytes, not 7", lies(&|layer| layer["size"] = 7.into())),
        ("a digest with a path", "manifest ", digest(format!("sha256:../{}", &hex[3..]))),
        ("a digest that is too short", "manifest ", digest(format!("sha256:{}", &hex[1..]))),
        ("a digest that is too long", "manifest ", digest(format!("sha256:{hex}0"))),
        ("upper case", "manifest ", digest(format!("sha256:{}", hex.to_uppercase()))),
        ("another algorithm", "is not sha256", digest(format!("sha512:{hex}{hex}"))),
        ("a layer in xz", "xz compression is not read", xz_layer),
        ("a link to itself", "neither index.json nor manifest.json", links),
        ("damaged xz", "", xz::tests::stored(&whole)[..2000].to_vec()),
    ];
    for (what, word, archive) in cases {
        let place = place();
        let path = place.dir.path().join("x.tar");
        fs::write(&path, &archive).unwrap();
        let as_file = super::load(&place.store, File::open(&path).unwrap(), "x.tar", &());
        for error in [load_stream(&place.store, &archive[..], "x.tar"), as_file].map(|done| done.expect_err(what)) {
            assert_eq!(error.kind, crate::error::Kind::Image, "{what}: {error}");
            assert!(error.hint.is_some() && error.message.starts_with("loading x.tar: "), "{what}: {error}");
            assert!(!error.message.contains('\n') && error.message.is_ascii(), "{what}: {error}");
            assert!(error.message.contains(word), "{what}: {error}");
            place.check_empty(what);
        }
    }
}

#[test]
fn digests_and_files_of_a_layout_directory_are_not_trusted() {
    type Change = fn(&std::path::Path, &str);
    let cases: &[(&str, Change)] = &[
        ("blob is a link", |dir, blob| {
            fs::rename(dir.join(blob), dir.join("real")).unwrap();
            let blobs = at::open_root(&dir.join("blobs/sha256")).unwrap();
            at::symlink("../../real".as_ref(), &blobs, blob.rsplit('/').next().unwrap().as_ref()).unwrap();
        }),
        ("blob is a FIFO", |dir, blob| {
            fs::remove_file(dir.join(blob)).unwrap();
            nix::unistd::mkfifo(&dir.join(blob), nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
        ("digest with a path", |dir, _| {
            let index = fs::read_to_string(dir.join("index.json")).unwrap();
            let at = index.find("sha256:").unwrap();
            fs::write(dir.join("index.json"), format!("{}sha256:../{}", &index[..at], &index[at + 10..])).unwrap();
        }),
        ("index.json is a link", |dir, _| {
            fs::rename(dir.join("index.json"), dir.join("real")).unwrap();
            at::symlink("real".as_ref(), &at::open_root(dir).unwrap(), "index.json".as_ref()).unwrap();
        }),
        ("blobs is a link", |dir, _| {
            fs::rename(dir.join("blobs"), dir.join("real")).unwrap();
            at::symlink("real".as_ref(), &at::open_root(dir).unwrap(), "blobs".as_ref()).unwrap();
        }),
        ("blob is a directory", |dir, blob| {
            fs::remove_file(dir.join(blob)).unwrap();
            fs::create_dir(dir.join(blob)).unwrap();
        }),
        ("upper case digest", |dir, _| {
            let index = fs::read_to_string(dir.join("index.json")).unwrap().replace(['a', 'b'], "A");
            fs::write(dir.join("index.json"), index).unwrap();
        }),
    ];
    for (what, change) in cases {
        let place = place();
        let dir = place.dir.path().join("image");
        let files = with_index(image(&[layer("1")]), "x");
        for (name, bytes) in &files {
            fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
            fs::write(dir.join(name), bytes).unwrap();
        }
        change(&dir, &files[1].0);
        assert!(load(&place.store, &dir, &()).is_err(), "{what}");
        place.check_empty(what);
    }
}

#[test]
fn an_index_in_an_index_ends_somewhere() {
    for (depth, good) in [(4, true), (5, false)] {
        let mut made = image(&[layer("1")]);
        let mut kind = MANIFEST;
        for _ in 0..depth {
            let platform =
                serde_json::json!({"os": "linux", "architecture": oci_spec::image::Arch::default().to_string()});
            let index = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
                {"mediaType": kind, "digest": made.manifest, "size": made.size, "platform": platform}]});
            let bytes = index.to_string().into_bytes();
            blob(&mut made.files, &bytes);
            (made.manifest, made.size, kind) = (Digest::of(&bytes), bytes.len(), INDEX);
        }
        let place = place();
        let archive = tar(&with_index(made, "x"));
        let loaded = load_stream(&place.store, &archive, "x");
        assert_eq!(loaded.is_ok(), good, "{depth}: {loaded:?}");
        if !good {
            assert!(loaded.unwrap_err().message.contains("indexes within indexes"));
            place.check_empty("deep");
        }
    }
}

#[test]
fn a_root_file_system_is_imported() {
    let place = place();
    let name = Reference::parse("debian:12").unwrap();
    let as_is = Import { name: &name, changes: &[], message: None, platform: Platform::host() };
    let image = import(&place.store, &gzip(&layer("x"))[..], "root.tar.gz", &as_is).unwrap();
    assert_eq!(image.layers[0].diff_id, Digest::of(&layer("x")));
    assert_eq!(crate::image::foreign_architecture(&image.config), None);
    assert_eq!(place.store.find("debian:12").unwrap().id, image.id);
    let other = Reference::parse("debian:13").unwrap();
    // nobody reads a layer of xz, so it is none
    let xz = xz::tests::stored(&layer("y"));
    let inflated =
        import(&place.store, &xz[..], "root.tar.xz", &Import { name: &other, platform: Platform::host(), ..as_is })
            .unwrap();
    assert_eq!(inflated.layers[0].diff_id, Digest::of(&layer("y")));
    assert_eq!(inflated.layers[0].media_type, "application/vnd.oci.image.layer.v1.tar");
    for bad in [&b"no tar"[..], b"", &xz[..xz.len() / 2]] {
        assert!(import(&place.store, bad, "bad", &as_is).is_err());
    }
    assert_eq!(place.store.list().unwrap().len(), 2);
}

#[test]
fn a_damaged_store_is_noticed_and_the_rest_goes_on() {
    let place = place();
    for text in ["a", "b"] {
        load_stream(&place.store, &tar(&with_index(image(&[layer(text)]), text))[..], text).unwrap();
    }
    let (a, b) = (place.store.find("a").unwrap(), place.store.find("b").unwrap());
    let path = place.store.blob_path(&a.layers[0].digest);
    let mut bytes = fs::read(path.as_path()).unwrap();
    bytes[40] ^= 1;
    fs::write(path.as_path(), bytes).unwrap();
    if nix::unistd::geteuid().is_root() {
        assert_eq!(place.store.layer_dirs(&a).unwrap_err().kind, crate::error::Kind::Image);
        place.store.layer_dirs(&b).unwrap();
    }
    fs::write(place.store.blob_path(&a.manifest).as_path(), "{}").unwrap();
    let list = place.store.list().unwrap();
    assert!(list[0].is_err() && list[1].is_ok());
    place.store.remove("a", &|| Ok(BTreeSet::new()), |_| Ok(())).unwrap();
    assert_eq!(place.store.find("b").unwrap().id, b.id);
}

#[test]
fn one_layer_is_unpacked_once_by_many() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: unpacking layers needs root");
        return;
    }
    let place = place();
    load_stream(&place.store, &tar(&with_index(image(&[layer("1"), layer("2")]), "x"))[..], "x").unwrap();
    let image = place.store.find("x").unwrap();
    // what one who was killed left behind
    let left = place.store.layers().child(&format!(".unpack-{}", image.layers[0].diff_id.hex()));
    fs::create_dir(left.as_path()).unwrap();
    fs::write(left.child("half").as_path(), "").unwrap();
    let all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| place.store.layer_dirs(&image).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(!all[0][0].child("half").as_path().exists() && !left.as_path().exists());
}

#[test]
fn what_a_killed_load_left_goes_and_a_running_one_is_let_be() {
    let place = place();
    let stale = place.store.images().child(".staging-old");
    fs::create_dir(stale.as_path()).unwrap();
    fs::write(stale.child("1").as_path(), "x").unwrap();
    let orphan = place.store.blob_path(&Digest::of(b"orphan"));
    fs::write(orphan.as_path(), "orphan").unwrap();
    let running = Ingest::begin(&place.store).unwrap();
    assert!(place.store.sweep(&|| Ok(BTreeSet::new())).unwrap().is_empty());
    drop(running);
    assert_eq!(place.store.sweep(&|| Ok(BTreeSet::new())).unwrap(), [orphan.clone(), stale.clone()]);
    assert!(!orphan.as_path().exists() && !stale.as_path().exists());
}
