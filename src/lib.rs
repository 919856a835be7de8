//! minirun: a minimal container runtime. The map of the code is `src/README.md`; a test holds the layers it draws.

// lowest first: arrows only point down
pub mod error;
pub mod id;
pub mod image;
pub mod shell;
pub mod sys;
