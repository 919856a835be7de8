//! What is inside a root file system, found out without mounting it and without running anything of it: of images of
//! any processor, of containers, directories and archives alike.
//!
//! * `tree`: the merged root as data, its layers' share in it, and the only way to its files. `os`, `packages`, `rpm`,
//!   `elf`, `libraries`: what a root says of itself. `difference`: two roots; `changes`: an image and a copy of it.
//!   `unified`: two texts. `scratch`: an archive, unpacked for as long as somebody looks.
//! * A link is resolved in the data, so none leads out; no device and no FIFO is opened; every read has a bound.

mod changes;
mod difference;
pub mod elf;
mod libraries;
mod os;
mod packages;
mod rpm;
mod scratch;
mod tree;
mod unified;

pub use changes::changes_between;
pub use difference::{Options, Reason, Row, difference};
pub use libraries::{Linkage, linkage};
pub use os::{Certificates, Distribution, Libc, Os, look};
pub use packages::{Packages, packages};
pub use scratch::{Found, Scratch, is_layout};
pub use tree::{Form, Key, Node, Source, Tree, Waste, key, name_of, shown};
pub use unified::unified;
