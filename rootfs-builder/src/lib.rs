//! rootfs-builder: a recipe of images/ becomes a reproducible OCI image.
//! No package manager runs, no package's script runs, nothing needs root: owners live in tar headers. The exception is
//! a Debian that is installed (`bootstrap`).
//!
//! recipe (what is wanted) + lock (which packages exactly) → fetch (the .deb files) → deb (what they hold)
//! → tree (one root; `trust`: its certificates) → complete (nothing is missing)
//! → image (an OCI layout, written by `minirun::image::assemble`)

pub mod apt;
pub mod bootstrap;
pub mod complete;
pub mod contents;
pub mod deb;
pub mod fetch;
pub mod glob;
pub mod image;
pub mod lock;
pub mod recipe;
pub mod tree;
pub(crate) mod trust;

use minirun::error::{Error, Kind};
use std::path::Path;

/// A failure of the standard library's, with the path it is about.
pub(crate) fn failed(doing: &str, path: &Path, e: &std::io::Error) -> Error {
    let message = format!("{doing} {}: {e}", path.display());
    Error { kind: Kind::Host, message, hint: None, errno: e.raw_os_error() }
}
