//! Images: names, the store, and how images come into it and out of it. `transfer` is the one way that all of them go,
//! from a source (`archive`: a layout, an archive, `dir:`; the store; `registry`) to a destination (the same); a plain
//! rootfs comes in by `archive::import`. For running there is `Store::lower`: directories for overlayfs, or one to copy.
//!
//! * `reference`, `index`: pure data. `copy`: places, as skopeo spells them. `store`: find, tag, remove; `verify`,
//!   `usage`: what is in it, against its digests and against the disk. `ingest`: blobs on their way in; the store changes
//!   only when an image is whole. `unpack`: layer directories; `skeleton`: the one below all. `layer/`: the extractor.
//!   `assemble`: making images; `builtin`: the one inside this program; `files/`: trees of files as tar streams, and
//!   what a container has changed as a layer; `seed`: a directory of an image for a volume, or all of it; `inside/`: what
//!   is in one.
//! * Nothing here prints, knows a container, or trusts a byte that it has not hashed.

pub mod archive;
pub mod assemble;
pub mod builtin;
pub mod change;
pub mod copy;
pub mod files;
pub mod flat;
mod index;
mod ingest;
pub mod inside;
mod layer;
pub mod layout;
mod platform;
mod progress;
pub mod reference;
pub mod registry;
pub mod seed;
pub mod skeleton;
mod store;
mod transfer;
mod unpack;
mod usage;
mod verify;

pub use platform::Platform;
pub use progress::Progress;
pub use reference::Reference;
pub use store::{Image, LayerRef, Removed, Store, foreign_architecture, host_architecture};
pub use unpack::{Lower, takes_overlay};
pub use usage::{Part, Usage};
pub use verify::Verdict;
