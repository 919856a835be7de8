//! Images from place to place, through every form, and back.

use super::*;
use crate::image::archive::tests::{described, image, layer, load_stream, place, tar, with_index};
use std::collections::BTreeSet;
use std::io::Read as _;

fn at(dir: &tempfile::TempDir, name: &str) -> HostPath {
    HostPath::parse(dir.path().to_str().unwrap()).unwrap().child(name)
}

fn means<'a>(root: &'a HostPath, platform: Option<&'a Platform>) -> Means<'a> {
    static NONE: std::sync::LazyLock<RegistryConfig> = std::sync::LazyLock::new(RegistryConfig::default);
    Means { root, platform, registries: &NONE }
}

fn parse(text: &str, dir: &tempfile::TempDir) -> Place {
    Place::parse(text, |name| Ok(at(dir, name))).unwrap()
}

const FORMS: [&str; 4] = ["oci:", "oci-archive:", "docker-archive:", "dir:"];

#[test]
fn an_image_comes_back_through_every_form() {
    let from = place();
    let made = image(&[layer("1"), layer("2"), layer("1")]);
    let digest = made.manifest.clone();
    load_stream(&from.store, &tar(&with_index(made, "team/app:1")), "x").unwrap();
    let host = Platform::host();
    for form in FORMS {
        for all in [true, false] {
            let to_file = means(&from.store.root, (!all).then_some(&host));
            let name = if form == "dir:" { "" } else { ":team/app:1" };
            let text = format!("{form}{}-{all}{name}", form.trim_end_matches(':'));
            assert_eq!(copy(&parse("team/app:1", &from.dir), &parse(&text, &from.dir), to_file, &()).unwrap(), digest);
            let to = place();
            let into = means(&to.store.root, Some(&host));
            let back = copy(&parse(&text, &from.dir), &parse("minirun:again", &from.dir), into, &());
            assert_eq!(back.unwrap_or_else(|e| panic!("{text}: {e}")), digest);
            assert_eq!(to.store.find("again").unwrap().layers.len(), 3);
            assert!(to.store.verify(&[], &()).unwrap()[0].damage.is_empty());
        }
    }
}

#[test]
fn an_archive_has_what_images_share_once_and_is_the_same_again() {
    let from = place();
    for (name, layers) in [("a", [layer("1"), layer("2")]), ("b", [layer("1"), layer("3")])] {
        load_stream(&from.store, &tar(&with_index(image(&layers), name)), "x").unwrap();
    }
    let images: Vec<_> = from.store.list().unwrap().into_iter().map(Result::unwrap).collect();
    let images: Vec<_> = images.into_iter().map(|image| (image.clone(), image.names.clone())).collect();
    for kind in [Kind::DockerArchive, Kind::OciArchive] {
        let paths = ["first", "second"].map(|name| at(&from.dir, name));
        paths.iter().for_each(|path| save(&from.store, &images, kind, Ok(path), &()).unwrap());
        let bytes = paths.each_ref().map(|path| std::fs::read(path.as_path()).unwrap());
        assert!(bytes[0] == bytes[1] && bytes[0].len() % 512 == 0);
        let mut names = Vec::new();
        let mut archive = ::tar::Archive::new(&bytes[0][..]);
        for member in archive.entries().unwrap() {
            let mut member = member.unwrap();
            let name = member.path().unwrap().display().to_string();
            let mut content = Vec::new();
            member.read_to_end(&mut content).unwrap();
            if let Some(hex) = name.strip_prefix("blobs/sha256/") {
                assert_eq!(Digest::of(&content).hex(), hex);
            }
            names.push(name);
        }
        let unique: BTreeSet<&String> = names.iter().collect();
        // two manifests, two configurations, three layers
        let others = if kind == Kind::DockerArchive { 3 } else { 2 };
        assert_eq!((names.len(), unique.len()), (7 + others, 7 + others), "{names:?}");
        let to = place();
        let loaded = load_stream(&to.store, &bytes[0], "x").unwrap();
        assert_eq!(loaded.iter().map(Image::label).collect::<Vec<_>>(), ["a:latest", "b:latest"]);
        assert_eq!(loaded[1].manifest, images[1].0.manifest);
    }
}

#[test]
fn layers_that_docker_cannot_read_are_inflated_for_it() {
    let from = place();
    let plain = layer("1");
    let mut made = image(std::slice::from_ref(&plain));
    let packed = zstd::encode_all(&plain[..], 1).unwrap();
    let blob = crate::image::archive::tests::blob(&mut made.files, &packed);
    let manifest = made.files.iter().find(|(name, _)| name.ends_with(made.manifest.hex())).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&manifest.1).unwrap();
    for key in ["digest", "size"] {
        manifest["layers"][0][key] = blob[key].clone();
    }
    manifest["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+zstd".into();
    let image = load_stream(&from.store, &described(&manifest, made), "x").unwrap().remove(0);
    for (kind, kept) in [(Kind::DockerArchive, false), (Kind::OciArchive, true)] {
        let path = at(&from.dir, "out.tar");
        save(&from.store, &[(image.clone(), image.names.clone())], kind, Ok(&path), &()).unwrap();
        let to = place();
        let again = load_stream(&to.store, &std::fs::read(path.as_path()).unwrap(), "x").unwrap().remove(0);
        assert_eq!((again.id == image.id, again.manifest == image.manifest), (true, kept));
        assert_eq!(again.layers[0].digest == image.layers[0].diff_id, !kept);
    }
}

#[test]
fn what_cannot_be_written_leaves_what_was_there() {
    let from = place();
    load_stream(&from.store, &tar(&with_index(image(&[layer("1")]), "x")), "x").unwrap();
    let stored = from.store.find("x").unwrap();
    // a layer that is not what its digest says any more
    let blob = from.store.blob_path(&stored.layers[0].digest);
    let mut bytes = std::fs::read(blob.as_path()).unwrap();
    bytes[30] ^= 1;
    std::fs::write(blob.as_path(), bytes).unwrap();
    let verdict = from.store.verify(&["x".to_owned()], &()).unwrap().remove(0);
    assert!(verdict.damage[0].starts_with(&format!("layer {}: ", stored.layers[0].digest)), "{verdict:?}");
    for form in FORMS {
        let path = at(&from.dir, "place");
        let error = copy(
            &parse("x", &from.dir),
            &parse(&format!("{form}place"), &from.dir),
            means(&from.store.root, None),
            &(),
        );
        assert!(error.unwrap_err().message.contains("digest mismatch"), "{form}");
        assert!(!path.as_path().exists(), "{form}");
        let left: Vec<_> = std::fs::read_dir(from.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["root"], "{form}");
    }
    let mine = at(&from.dir, "mine");
    std::fs::create_dir(mine.as_path()).unwrap();
    std::fs::write(mine.child("version").as_path(), "1.0").unwrap();
    for form in ["oci:mine", "dir:mine", "oci-archive:mine"] {
        copy(&parse("x", &from.dir), &parse(form, &from.dir), means(&from.store.root, None), &()).unwrap_err();
        assert_eq!(std::fs::read_dir(mine.as_path()).unwrap().count(), 1, "{form}");
    }
}

#[test]
fn a_damaged_blob_goes_and_comes_again_by_a_load() {
    let from = place();
    let archive = tar(&with_index(image(&[layer("1"), layer("2")]), "x"));
    load_stream(&from.store, &archive, "x").unwrap();
    let stored = from.store.find("x").unwrap();
    let verdicts = || from.store.verify(&[], &()).unwrap();
    for digest in [&stored.layers[0].digest, &stored.id, &stored.manifest] {
        let path = from.store.blob_path(digest);
        let good = std::fs::read(path.as_path()).unwrap();
        std::fs::write(path.as_path(), &good[1..]).unwrap();
        let damaged = verdicts();
        assert_eq!(damaged[0].damage.len(), 1, "{damaged:?}");
        // what has come again meanwhile stays
        std::fs::write(path.as_path(), &good).unwrap();
        assert!(from.store.remove_damaged(&damaged).unwrap().is_empty());
        std::fs::write(path.as_path(), &good[1..]).unwrap();
        assert_eq!(from.store.remove_damaged(&damaged).unwrap().iter().collect::<Vec<_>>(), [digest]);
        assert!(!path.as_path().exists());
        load_stream(&from.store, &archive, "x").unwrap();
        assert!(verdicts()[0].damage.is_empty());
    }
}

#[test]
fn places_are_written_as_skopeo_writes_them() {
    let dir = tempfile::tempdir().unwrap();
    let file = |kind, path: &str, name: Option<&str>| Place::File {
        kind,
        path: at(&dir, path),
        name: name.map(str::to_owned),
    };
    for (text, place) in [
        ("busybox:1.36", Place::Stored("busybox:1.36".to_owned())),
        ("docker:dind", Place::Stored("docker:dind".to_owned())),
        ("localhost:5000/x:1", Place::Stored("localhost:5000/x:1".to_owned())),
        ("minirun:oci:latest", Place::Stored("oci:latest".to_owned())),
        ("docker://alpine", Place::Registry(Reference::parse("alpine").unwrap())),
        ("oci:a/b:busybox:latest", file(Kind::OciDir, "a/b", Some("busybox:latest"))),
        ("oci-archive:a.tar", file(Kind::OciArchive, "a.tar", None)),
        ("docker-archive:a.tar:@1", file(Kind::DockerArchive, "a.tar", Some("@1"))),
        ("dir:a:b", file(Kind::DockerDir, "a:b", None)),
    ] {
        assert_eq!(parse(text, &dir), place, "{text}");
    }
    assert!(Place::parse("docker-daemon:x", |_| unreachable!()).unwrap_err().hint.unwrap().contains("docker save"));
}
