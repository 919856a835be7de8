//! Images: what is inside a container before it runs.

pub mod assemble;
pub mod builtin;
