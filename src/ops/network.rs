//! stub
use crate::error::Result;
use crate::id::{ContainerId, HostPath};
use crate::net;
use crate::plan::step::Undo;
use crate::spec::request::RunRequest;
use crate::state::Roots;
use oci_spec::runtime::Spec;
use std::os::fd::OwnedFd;
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Use { Lend, Peek }
pub(super) struct Lent {
    pub(super) facts: net::plan::NetFacts,
    pub(super) plan: net::plan::NetPlan,
    pub(super) undo: Vec<Undo>,
    pub(super) locks: Vec<OwnedFd>,
}
pub(super) fn lend(_r: &Roots, _id: &ContainerId, _q: &RunRequest, _s: &mut Spec, _u: Use) -> Result<Lent> {
    Ok(Lent { facts: net::plan::NetFacts {}, plan: net::plan::NetPlan { prepare: vec![], host: vec![], warnings: vec![] }, undo: vec![], locks: vec![] })
}
pub(super) fn files(life: &HostPath, _q: &RunRequest, _l: &Lent, hostname: &str) -> Vec<(HostPath, String)> {
    vec![(life.child("hosts"), "127.0.0.1 localhost\n".into()), (life.child("hostname"), format!("{hostname}\n")), (life.child("resolv.conf"), String::new())]
}
