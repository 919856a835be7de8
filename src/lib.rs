//! minirun: a minimal container runtime. The map of the code is `src/README.md`; a test holds the layers it draws.

// lowest first: arrows only point down
pub mod error;
pub mod id;
pub mod security;
pub mod shell;

pub mod sys;

pub mod cgroup;
pub mod image;
pub mod mount;
pub mod net;
pub mod security;
pub mod state;

pub mod facts;
pub mod plan;
pub mod spec;

pub mod engine;
pub mod explain;

pub mod monitor;

pub mod ops;

pub mod cli;
