//! What the container sees as its files: the root, everything mounted below it, masks, and the pivot.
//! It never resolves a path of the image outside the image's root (openat2, RESOLVE_IN_ROOT).

pub mod apply;
mod lend;
pub mod options;
pub mod overlay;
pub mod plan;
pub mod probe;
pub mod step;
