//! The security domain: who the container's process is and what it may do.
//! `plan`, `step`, `capabilities`, `rlimits`, `paths` and `seccomp` are pure; `probe` reads, `apply` does.

pub mod apply;
pub mod capabilities;
pub mod paths;
pub mod plan;
pub mod probe;
pub mod rlimits;
pub mod seccomp;
pub mod step;
