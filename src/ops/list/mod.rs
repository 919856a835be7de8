//! What `ps` and `images` list, and which of it is wanted.

pub mod containers;
mod filter;
pub mod images;
