//! One or two layers of mutated tar, unpacked in both forms beside a canary. Nothing outside the directory may change,
//! nothing may panic, and nothing may hang (libFuzzer's -timeout). Run by `hack/soak fuzz`; needs root and a tmpfs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use minirun::id::{Digest, HostPath};
use minirun::image::{Image, LayerRef, Store, flat};
use minirun::sys::{at, fs};
use oci_spec::image::ImageConfiguration;
use std::path::Path;

/// One input: a byte of choices, a byte that says where the second layer begins, and the layers.
const CHOICES: usize = 2;
const BLOCK: usize = 512;

fuzz_target!(|input: &[u8]| {
    if input.len() < CHOICES {
        return;
    }
    let (choices, tar) = input.split_at(CHOICES);
    let mut tar = tar.to_vec();
    tar.chunks_exact_mut(BLOCK).for_each(sign);
    let middle = (usize::from(choices[1]) * BLOCK).min(tar.len());
    let layers: Vec<&[u8]> = if middle == 0 { vec![&tar] } else { vec![&tar[..middle], &tar[middle..]] };
    let place = tempfile::tempdir().unwrap();
    let root = place.path();
    std::fs::create_dir(root.join("canary")).unwrap();
    std::fs::write(root.join("canary/file"), "alive").unwrap();
    let before = seen(root);
    let store = HostPath::parse(root.join("store").to_str().unwrap()).unwrap();
    let image = image(&store, &layers);
    if choices[0] & 1 == 0 {
        let blobs = at::open_root(store.child("images").as_path()).unwrap();
        let out = store.child("out");
        let done = flat::unpack(&blobs, &image, &out, &());
        assert_eq!(fs::exists(out.as_path()), done.is_ok(), "an error leaves nothing");
    } else {
        let done = Store::open(&store).unwrap().layer_dirs(&image);
        let left = fs::list(store.child("layers").as_path()).unwrap();
        assert!(done.is_ok() || !left.iter().any(|name| name.starts_with(".unpack")), "{left:?}");
    }
    assert_eq!(seen(root), before);
    fs::remove_tree(store.as_path()).unwrap(); // a deep tree is more than the standard library can remove
});

/// A mutated header gets the sum that makes it one; else nearly every input would end at its first block.
fn sign(block: &mut [u8]) {
    if &block[257..262] == b"ustar" {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// An image of these layers, whose blobs are in the store.
fn image(store: &HostPath, layers: &[&[u8]]) -> Image {
    let blobs = store.child("images/blobs/sha256");
    std::fs::create_dir_all(blobs.as_path()).unwrap();
    let add = |bytes: &&[u8]| {
        let digest = Digest::of(bytes);
        std::fs::write(blobs.child(digest.hex()).as_path(), bytes).unwrap();
        LayerRef { diff_id: digest.clone(), digest, media_type: String::new(), size: bytes.len() as u64 }
    };
    let layers = layers.iter().map(add).collect();
    let (manifest, id) = (Digest::of(b"manifest"), Digest::of(b"config"));
    let config = ImageConfiguration::default();
    Image { names: Vec::new(), manifest, index: None, id, config, health: None, layers }
}

/// Everything beside the store, with what an escape would change of it.
fn seen(root: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt as _;
    let mut lines = Vec::new();
    for dir in [root.to_owned(), root.join("canary")] {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let m = std::fs::symlink_metadata(&path).unwrap();
            if !path.ends_with("store") {
                lines.push(format!("{path:?} {:o} {} {}.{}", m.mode(), m.len(), m.ctime(), m.ctime_nsec()));
            }
        }
    }
    lines.sort();
    lines
}
