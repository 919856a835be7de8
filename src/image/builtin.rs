//! The image `hello`, which is in this program: one static binary (images/hello), compiled by build.rs.
//! It needs no network, no file and no package; rootfs-builder makes the same image from images/hello/recipe.toml.

use super::assemble::{self, Blob, Compression, Content, Entry, EntryKind, Image, Time};
use crate::error::{Error, Result};
use crate::id::HostPath;
use oci_spec::image::{Arch, ConfigBuilder, HistoryBuilder, ImageConfiguration, ImageConfigurationBuilder, Os};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The program: `hello` prints what it sees, `hello --kernel` what tells one kernel from another.
pub const HELLO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello"));

pub const HELLO_NAME: &str = "hello:latest";

/// 2026-11-01; the recipe has the same.
const EPOCH: i64 = 1_793_491_200;

/// Writes the image as the OCI layout `dir`, which need not exist. Gives its manifest.
pub fn hello_layout(dir: &HostPath) -> Result<Blob> {
    assemble::create_layout(dir)?;
    let layer = assemble::add_layer(dir, vec![hello_entry()], Some(EPOCH), Compression::Gzip)?;
    assemble::add_image(dir, Image { name: HELLO_NAME, config: hello_config()?, layers: &[layer] })
}

/// The image's configuration, for who only wants to know how it would be run.
pub fn hello_config() -> Result<ImageConfiguration> {
    let invalid = |e: oci_spec::OciSpecError| Error::internal(format!("configuration of {HELLO_NAME}: {e}"));
    // a command and not an entry point: `run hello sh` is to fail for want of a shell, as the lesson has it
    let process = ConfigBuilder::default().cmd(vec!["/hello".to_owned()]).build().map_err(invalid)?;
    let created = assemble::rfc3339(EPOCH)?;
    let by = "rootfs-builder build hello"; // what makes the same image from its recipe
    let history = HistoryBuilder::default().created(created.clone()).created_by(by).build().map_err(invalid)?;
    ImageConfigurationBuilder::default()
        .created(created)
        .architecture(Arch::default())
        .os(Os::Linux)
        .config(process)
        .history(vec![history])
        .build()
        .map_err(invalid)
}

fn hello_entry() -> Entry {
    Entry {
        path: PathBuf::from("hello"),
        kind: EntryKind::File(Content::Bytes(HELLO.to_vec())),
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Time::from_seconds(EPOCH),
        xattrs: BTreeMap::new(),
    }
}
