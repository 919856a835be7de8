//! What the assembled bytes must be like.
#![allow(clippy::disallowed_methods)] // links on the host, to be met by what is tested

use super::*;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn entry(path: &str, kind: EntryKind) -> Entry {
    let path = PathBuf::from(path);
    Entry { path, kind, mode: 0o644, uid: 0, gid: 0, mtime: Time::from_seconds(1000), xattrs: BTreeMap::new() }
}

fn file(path: &str, text: &str) -> Entry {
    entry(path, EntryKind::File(Content::Bytes(text.into())))
}

fn layout() -> (tempfile::TempDir, HostPath) {
    let dir = tempfile::tempdir().unwrap();
    let path = HostPath::parse(dir.path().to_str().unwrap()).unwrap();
    create_layout(&path).unwrap();
    (dir, path)
}

fn blob(dir: &HostPath, digest: &Digest) -> Vec<u8> {
    std::fs::read(dir.child("blobs/sha256").child(digest.hex()).as_path()).unwrap()
}

/// Header, path, link and PAX records of an entry.
type Read = (tar::Header, PathBuf, Option<PathBuf>, BTreeMap<String, Vec<u8>>);

/// The entries of an uncompressed layer.
fn read_back(dir: &HostPath, layer: &Layer) -> Vec<Read> {
    let bytes = blob(dir, &layer.blob.digest);
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut list = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = PathBuf::from(std::ffi::OsString::from_vec(entry.path_bytes().into_owned()));
        let link = entry.link_name().unwrap().map(|link| link.into_owned());
        let pax = entry.pax_extensions().unwrap().into_iter().flatten().map(|record| {
            let record = record.unwrap();
            (record.key().unwrap().to_owned(), record.value_bytes().to_vec())
        });
        let pax = pax.collect();
        list.push((entry.header().clone(), path, link, pax));
    }
    list
}

#[test]
fn the_order_of_entries_does_not_matter() {
    let (_keep, dir) = layout();
    let entries = || {
        vec![
            entry("etc", EntryKind::Directory),
            file("etc/passwd", "root"),
            entry("a-link", EntryKind::Hardlink("etc/passwd".into())),
            file("etc.d", ""),
            entry("", EntryKind::Directory),
        ]
    };
    let mut reversed = entries();
    reversed.reverse();
    let first = add_layer(&dir, entries(), None, Compression::None).unwrap();
    assert_eq!(first, add_layer(&dir, reversed, None, Compression::None).unwrap());
    let paths: Vec<_> = read_back(&dir, &first).into_iter().map(|(_, path, ..)| path).collect();
    assert_eq!(paths, ["./", "etc/", "etc/passwd", "etc.d", "a-link"].map(PathBuf::from));
}

#[test]
fn paths_outside_the_root_and_twice_the_same_path_are_refused() {
    let (_keep, dir) = layout();
    for path in ["/etc", "../etc", "a/../b", "./a", "a//b", "a/", "a\0b"] {
        let error = add_layer(&dir, vec![file(path, "")], None, Compression::None).unwrap_err();
        assert!(error.message.contains("not a path below the root"), "{path:?}: {error}");
    }
    let link = entry("a", EntryKind::Hardlink("../b".into()));
    assert!(add_layer(&dir, vec![link], None, Compression::None).is_err());
    let error = add_layer(&dir, vec![file("a", "1"), file("a", "2")], None, Compression::None).unwrap_err();
    assert_eq!(error.to_string(), "a is in the layer twice");
}

#[test]
fn plain_entries_need_no_pax_records() {
    let (_keep, dir) = layout();
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(100));
    let mut setuid = file(&long, "x");
    (setuid.mode, setuid.uid, setuid.gid) = (0o104_755, 65532, 7);
    let device = entry("null", EntryKind::CharDevice { major: 1, minor: 3 });
    let layer = add_layer(&dir, vec![setuid, device], None, Compression::None).unwrap();
    let list = read_back(&dir, &layer);
    assert!(list.iter().all(|(.., pax)| pax.is_empty()));
    let (header, path, ..) = &list[0];
    assert_eq!((header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0o4755, 65532, 7));
    assert_eq!(path, Path::new(&long));
    assert_eq!(header.username().unwrap(), Some(""));
    assert_eq!((list[1].0.device_major().unwrap(), list[1].0.device_minor().unwrap()), (Some(1), Some(3)));
}

#[test]
fn what_ustar_cannot_hold_stands_in_pax_records() {
    let (_keep, dir) = layout();
    let deep = format!("{}/file", vec!["directory"; 40].join("/"));
    let mut big = file(&deep, "x");
    (big.uid, big.mtime) = (0o10_000_000, Time { seconds: 5, nanoseconds: 120_000_000 });
    big.xattrs.insert("security.capability".into(), vec![1, 0, 0, 2, b'=', 255]);
    let mut old = entry("old", EntryKind::Symlink("t".repeat(101).into()));
    old.mtime = Time { seconds: -2, nanoseconds: 500_000_000 };
    let layer = add_layer(&dir, vec![big, old], None, Compression::None).unwrap();
    let list = read_back(&dir, &layer);

    let (_, path, _, pax) = &list[0];
    assert_eq!(path, Path::new(&deep));
    assert_eq!(pax["uid"], b"2097152");
    assert_eq!(pax["mtime"], b"5.12");
    assert_eq!(pax["SCHILY.xattr.security.capability"], [1, 0, 0, 2, b'=', 255]);
    let (_, _, link, pax) = &list[1];
    assert_eq!(link.as_deref(), Some(Path::new(&"t".repeat(101))));
    assert_eq!(pax["mtime"], b"-1.5");
}

#[test]
fn times_are_clamped_to_the_epoch() {
    let (_keep, dir) = layout();
    let mut late = file("late", "");
    late.mtime = Time { seconds: 2000, nanoseconds: 1 };
    let layer = add_layer(&dir, vec![file("early", ""), late], Some(1500), Compression::None).unwrap();
    let times: Vec<_> = read_back(&dir, &layer).iter().map(|(header, ..)| header.mtime().unwrap()).collect();
    assert_eq!(times, [1000, 1500]);
}

#[test]
fn content_comes_from_memory_from_a_slice_or_from_below_a_directory() {
    let (_keep, dir) = layout();
    let host = tempfile::tempdir().unwrap();
    std::fs::write(host.path().join("whole"), "0123456789").unwrap();
    std::os::unix::fs::symlink("whole", host.path().join("link")).unwrap();
    let root = Arc::new(crate::sys::fs::Root::open(host.path()).unwrap());
    let inside = |path: &str| Content::Inside { root: root.clone(), path: path.into() };
    let open = Arc::new(std::fs::File::open(host.path().join("whole")).unwrap());
    let entries = vec![
        file("a", "bytes"),
        entry("b", EntryKind::File(Content::Slice { file: open.clone(), offset: 2, length: 3 })),
        entry("c", EntryKind::File(inside("whole"))),
    ];
    let layer = add_layer(&dir, entries, None, Compression::None).unwrap();
    let bytes = blob(&dir, &layer.blob.digest);
    let texts: Vec<String> = tar::Archive::new(bytes.as_slice())
        .entries()
        .unwrap()
        .map(|entry| std::io::read_to_string(entry.unwrap()).unwrap())
        .collect();
    assert_eq!(texts, ["bytes", "234", "0123456789"]);

    let short = entry("d", EntryKind::File(Content::Slice { file: open, offset: 8, length: 3 }));
    let error = add_layer(&dir, vec![short], None, Compression::None).unwrap_err();
    assert_eq!(error.to_string(), "adding d to a layer: the file became shorter while it was read");
    assert!(add_layer(&dir, vec![entry("e", EntryKind::File(inside("link")))], None, Compression::None).is_err());
    assert_eq!(std::fs::read_dir(dir.child("blobs/sha256").as_path()).unwrap().count(), 1, "nothing half-made stays");
}

#[test]
fn every_compression_gives_the_same_diff_id() {
    let (_keep, dir) = layout();
    let layers = [Compression::None, Compression::Gzip].map(|compression| {
        let layer = add_layer(&dir, vec![file("a", &"text ".repeat(10_000))], None, compression).unwrap();
        assert_eq!(Digest::of(&blob(&dir, &layer.blob.digest)), layer.blob.digest);
        assert_eq!(blob(&dir, &layer.blob.digest).len() as u64, layer.blob.size);
        layer
    });
    assert!(layers.iter().all(|layer| layer.diff_id == layers[0].diff_id));
    assert_eq!(layers[0].diff_id, layers[0].blob.digest);
    let gzip = blob(&dir, &layers[1].blob.digest);
    assert_eq!(gzip[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255], "no time, no name, no system");

    // zlib-rs gives other bytes for other cuts of its input: nobody must see how the tar came
    let tar = blob(&dir, &layers[0].blob.digest);
    for layer in &layers {
        assert_eq!(add_tar(&dir, &mut tar.as_slice(), layer.compression).unwrap(), *layer);
        assert_eq!(add_tar(&dir, &mut SmallReads(&tar), layer.compression).unwrap(), *layer);
    }
}

struct SmallReads<'a>(&'a [u8]);

impl std::io::Read for SmallReads<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(1000);
        self.0.read(&mut buffer[..length])
    }
}

#[test]
fn json_is_canonical() {
    let text = canonical_json(&json!({ "b": 1, "a": { "d": [2, 1], "c": null } })).unwrap();
    assert_eq!(text, br#"{"a":{"c":null,"d":[2,1]},"b":1}"#);
}

#[test]
fn an_image_of_the_same_name_is_replaced_and_others_stay() {
    let (_keep, dir) = layout();
    let layer = add_layer(&dir, vec![file("a", "")], None, Compression::Gzip).unwrap();
    let mut digests = Vec::new();
    for (name, created) in [("b:latest", 1), ("a:1", 1), ("b:latest", 2)] {
        let mut config = ImageConfiguration::default();
        config.set_created(Some(rfc3339(created).unwrap()));
        digests.push(add_image(&dir, Image { name, config, layers: std::slice::from_ref(&layer) }).unwrap().digest);
    }
    create_layout(&dir).unwrap();
    let index = ImageIndex::from_file(dir.child("index.json").as_path()).unwrap();
    let list: Vec<_> =
        index.manifests().iter().map(|entry| (ref_name(entry).unwrap(), entry.digest().to_string())).collect();
    assert_eq!(list, [("a:1", digests[1].to_string()), ("b:latest", digests[2].to_string())]);

    let manifest: oci_spec::image::ImageManifest = serde_json::from_slice(&blob(&dir, &digests[2])).unwrap();
    let config = Digest::parse(manifest.config().digest().as_ref()).unwrap();
    let config: ImageConfiguration = serde_json::from_slice(&blob(&dir, &config)).unwrap();
    assert_eq!(config.rootfs().diff_ids(), &[layer.diff_id.to_string()]);
    assert_eq!(config.created().as_deref(), Some("1970-01-01T00:00:02Z"));
}

#[test]
fn the_built_in_image_is_one_file() {
    let (_keep, dir) = layout();
    let first = crate::image::builtin::Builtin::Hello.layout(&dir).unwrap();
    assert_eq!(first, crate::image::builtin::Builtin::Hello.layout(&dir).unwrap());
    let manifest: oci_spec::image::ImageManifest = serde_json::from_slice(&blob(&dir, &first.digest)).unwrap();
    let layer = Digest::parse(manifest.layers()[0].digest().as_ref()).unwrap();
    let gzip = blob(&dir, &layer);
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(gzip.as_slice()));
    let list: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.path().unwrap().into_owned(), entry.header().mode().unwrap(), entry.size())
        })
        .collect();
    assert_eq!(list, [(PathBuf::from("hello"), 0o755, crate::image::builtin::HELLO.len() as u64)]);
}
