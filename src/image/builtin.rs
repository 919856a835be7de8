//! The images that are in this program: they need no network, no file and no package. `hello` is one static binary
//! (images/hello), compiled by build.rs; rootfs-builder makes the same image from images/hello/recipe.toml. `scratch` is
//! nothing at all, as in a Dockerfile: a root for programs that are mounted into it.

use super::Reference;
use super::assemble::{self, Blob, Compression, Content, Entry, EntryKind, Image, Time};
use crate::error::{Error, Result};
use crate::id::HostPath;
use oci_spec::image::{Arch, ConfigBuilder, HistoryBuilder, ImageConfiguration, ImageConfigurationBuilder, Os};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The program: `hello` prints what it sees, `hello --kernel` what tells one kernel from another.
pub const HELLO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello"));

/// 2026-11-01; the recipe has the same.
const EPOCH: i64 = 1_793_491_200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    Hello,
    Scratch,
}

impl Builtin {
    /// The one that a name means, unless an image of this name is here.
    pub fn of(name: &str) -> Option<Builtin> {
        let name = Reference::parse(name).ok()?.familiar();
        [Builtin::Hello, Builtin::Scratch].into_iter().find(|one| one.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Builtin::Hello => "hello:latest",
            Builtin::Scratch => "scratch:latest",
        }
    }

    /// Writes the image as the OCI layout `dir`, which need not exist. Gives its manifest.
    pub fn layout(self, dir: &HostPath) -> Result<Blob> {
        assemble::create_layout(dir)?;
        let layers = match self {
            Builtin::Hello => vec![assemble::add_layer(dir, vec![hello_entry()], Some(EPOCH), Compression::Gzip)?],
            Builtin::Scratch => Vec::new(),
        };
        assemble::add_image(dir, Image { name: self.name(), config: self.config()?, layers: &layers })
    }

    /// The image's configuration, for who only wants to know how it would be run.
    pub fn config(self) -> Result<ImageConfiguration> {
        let invalid = |e: oci_spec::OciSpecError| Error::internal(format!("configuration of {}: {e}", self.name()));
        let (created, plain) = (assemble::rfc3339(EPOCH)?, ImageConfigurationBuilder::default());
        let plain = plain.created(created.clone()).architecture(Arch::default()).os(Os::Linux);
        match self {
            Builtin::Hello => {
                // a command and not an entry point: `run hello sh` is to fail for want of a shell, as the lesson has it
                let process = ConfigBuilder::default().cmd(vec!["/hello".to_owned()]).build().map_err(invalid)?;
                let by = "rootfs-builder build hello"; // what makes the same image from its recipe
                let history = HistoryBuilder::default().created(created).created_by(by).build().map_err(invalid)?;
                plain.config(process).history(vec![history]).build()
            }
            Builtin::Scratch => plain.build(),
        }
        .map_err(invalid)
    }
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
