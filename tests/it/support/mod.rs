//! What the tests share. It uses no module of minirun: what it says of the system it has from other tools.

pub mod command;
pub mod console;
pub mod dump;
pub mod hub;
pub mod layers;
pub mod reach;
pub mod registry;
pub mod requires;
pub mod rootfs;
pub mod sandbox;
pub mod snapshot;
pub mod source;
pub mod terminal;
