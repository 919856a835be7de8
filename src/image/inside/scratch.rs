//! An archive, unpacked for as long as somebody looks into it: in a directory of the store that `sweep` would remove after
//! us, where we were killed.

use crate::error::{Error, Result};
use crate::id::HostPath;
use crate::image::archive;
use crate::image::ingest::Ingest;
use crate::image::layer::{self, TarStream};
use crate::image::store::{Image, Store};
use crate::image::unpack::Lower;
use crate::sys::fs;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// What an archive turned out to be; it is there until this is dropped.
#[derive(Debug)]
pub struct Scratch<'s> {
    pub found: Found,
    dir: HostPath,
    _staging: Ingest<'s>,
}

#[derive(Debug)]
pub enum Found {
    Image {
        image: Box<Image>,
        /// One for each layer, lowest first, or all in one where those cannot be.
        lower: Lower,
    },
    /// A root file system, whose content is told by the name.
    Root { dir: HostPath, name: String },
}

/// What a root file system has at its top and an archive of images has not.
const OF_ROOTS: [&[u8]; 18] = [
    b"bin", b"boot", b"dev", b"etc", b"home", b"lib", b"lib64", b"media", b"mnt", b"opt", b"proc", b"root", b"run",
    b"sbin", b"srv", b"tmp", b"usr", b"var",
];
const OF_IMAGES: [&[u8]; 3] = [b"index.json", b"manifest.json", b"oci-layout"];

impl<'s> Scratch<'s> {
    /// Unpacks a file, or the directory of an OCI layout.
    pub fn unpack(store: &'s Store, path: &HostPath) -> Result<Scratch<'s>> {
        let mut staging = Ingest::begin(store)?;
        let dir = staging.fresh_path()?;
        let nothing = Found::Root { dir: dir.clone(), name: String::new() };
        let mut scratch = Scratch { found: nothing, dir: dir.clone(), _staging: staging };
        scratch.found = match is_rootfs(path)? {
            true => {
                fs::mkdir(dir.as_path(), 0o755)?;
                fs::chmod(dir.as_path(), 0o755)?;
                let unpacked = layer::unpack(open(path)?, &dir, &|| Ok(Vec::new())).map_err(|e| e.during(path))?;
                Found::Root { dir, name: unpacked.sums.diff_id.hex().to_owned() }
            }
            false => {
                let own = Store::open(&dir)?;
                let mut images = archive::load(&own, open(path)?, path.as_str(), &())?;
                match (images.pop(), images.len()) {
                    (Some(image), 0) => Found::Image { lower: own.by_layer(&image)?, image: Box::new(image) },
                    (_, others) => {
                        return Err(Error::user(format!("{path} holds {} images", others + 1))
                            .hint(format!("minirun load -i {path}, then name one of them")));
                    }
                }
            }
        };
        Ok(scratch)
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        let _what_is_left_goes_with_the_next_sweep = fs::remove_tree(self.dir.as_path());
    }
}

fn open(path: &HostPath) -> Result<File> {
    let cannot = |e| Error::from(e).during(format!("cannot open {path}"));
    Ok(File::from(fs::open_read(path.as_path()).map_err(cannot)?))
}

/// Whether it is the tar of a root file system, told by what is at its top; not an archive or a layout of images.
fn is_rootfs(path: &HostPath) -> Result<bool> {
    let file = open(path)?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(false);
    }
    let broken = |e: std::io::Error| {
        Error::image(format!("{path} cannot be read as a tar: {e}"))
            .hint("it must be a tar, plain or with gzip or zstd, or a directory")
    };
    let (plain, _) = layer::inflated(BufReader::with_capacity(256 << 10, file)).map_err(broken)?;
    let mut tar = TarStream::new(plain);
    let mut any = false;
    while let Some(member) = tar.next().map_err(broken)? {
        any = true;
        let path = member.path.strip_prefix(b"./").unwrap_or(&member.path);
        let top = path.split(|b| *b == b'/').next().unwrap_or_default();
        if OF_ROOTS.contains(&top) || OF_IMAGES.contains(&path) {
            return Ok(!OF_IMAGES.contains(&path));
        }
    }
    match any {
        true => Ok(true),
        false => Err(Error::image(format!("{path} holds no file"))),
    }
}

/// Whether a directory is an OCI layout, or an unpacked archive, and not a root file system.
pub fn is_layout(dir: &Path) -> bool {
    let has = |name: &str| fs::exists(&dir.join(name));
    has("oci-layout") || (has("index.json") && has("blobs"))
}
