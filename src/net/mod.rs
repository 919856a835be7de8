//! The container's network: a veth on a bridge, NAT and published ports. Data in [`plan`] and [`step`], said in
//! `explain`, the deed in [`apply`], the system's answers in [`probe`], what is lent to whom in [`record`] and
//! [`lease`].
//! It never starts a thread, and no proxy: the kernel forwards. It starts no process but iptables-legacy's, where that
//! has rules.

pub mod apply;
pub mod attachment;
pub mod cables;
pub mod definition;
pub mod dns;
pub mod entry;
pub mod files;
pub mod firewalld;
pub mod lease;
pub mod matrix;
pub mod names;
pub mod neighbours;
pub mod network;
pub mod others;
pub mod plan;
pub mod port;
pub mod probe;
pub mod publish;
pub mod record;
pub mod reload;
pub mod remove;
pub mod resolver;
pub mod ruleset;
pub mod segment;
pub mod shape;
pub mod step;
pub mod sublink;
pub mod subnet;
pub mod survey;
pub mod view;
pub mod wire;

mod batch;
mod explain;
mod legacy;
mod link;
mod refused;
mod undo;

#[cfg(test)]
mod tests;
