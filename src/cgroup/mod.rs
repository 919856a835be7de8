//! The cgroup domain: where a container's processes are counted and limited, on cgroup v1, v2 and both at once.
//! `facts`, `table`, `devices`, `plan` and `step` are pure; `probe` and `usage` read, `apply` does.

pub mod apply;
pub mod devices;
pub mod facts;
pub mod plan;
pub mod probe;
pub mod step;
pub mod table;
pub mod usage;
