//! What `ps` and `images` list, and which of it is wanted.

pub mod containers;
pub(super) mod filter;
pub mod images;
