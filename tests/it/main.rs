//! The one integration binary. Tests drive the minirun binary and look at the system with other tools; none of them
//! unshares, forks or sets a namespace in its own process.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stderr)]
#![allow(unreachable_pub)] // a binary exports nothing; here `pub` says what other test files use

mod adopted;
mod article;
mod attached;
mod calls;
mod check;
mod coexistence;
mod completion;
mod crowd;
mod debug;
mod detached;
mod detached_records;
mod detached_streams;
mod docker_lines;
mod errors;
mod events;
mod explain;
mod files;
mod files_hostile;
mod files_images;
mod format;
mod golden;
mod graph;
mod health;
mod inspected;
mod installed;
mod joined;
mod kernel;
mod killed;
mod killed_between_steps;
mod killed_detached;
mod layering;
mod limits;
mod mounted_images;
mod names;
mod network;
mod networks;
mod pages;
mod plugged;
mod prune;
mod recipes;
mod registry;
mod restarts;
mod run;
mod segments;
mod started_again;
mod style;
mod support;
mod sweep;
mod tmux;
mod usage;
mod users;
mod volumes;
