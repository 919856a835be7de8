//! minirun: a minimal container runtime. The map of the code is `src/README.md`; a test holds the layers it draws.

// lowest first: arrows only point down
pub mod cli;
pub mod error;
pub mod id;
pub mod ops;
pub mod shell;
pub mod spec;
pub mod sys;
