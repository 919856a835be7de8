//! What other firewalls of the host have to be told so that they let our packets through, and what the user is to be told
//! of it. Pure.

use super::network::Network;
use super::plan::{ForeignFacts, NetFacts, NetPlan};
use super::publish::Published;
use super::step::Step;
use crate::id::{HostPath, IfName};
use crate::shell::words;
use serde::{Deserialize, Serialize};

/// A firewalld that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firewalld {
    /// The bridges that are in its zone `trusted`.
    pub trusted: Vec<IfName>,
    /// It lets no published port through but those that it is told of (StrictForwardPorts=yes).
    pub strict: bool,
}

/// A bridge whose packets iptables-legacy drops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Legacy {
    pub bridge: IfName,
    /// `iptables-legacy` or `ip6tables-legacy`.
    pub tool: String,
    /// Where that is installed.
    #[serde(default)]
    pub program: Option<HostPath>,
}

/// The two rules of iptables-legacy for a bridge, as words for its program behind what is to be done with them.
pub(super) fn legacy_rules(to_do: &str, bridge: &IfName, comment: &str) -> [Vec<String>; 2] {
    ["-i", "-o"].map(|key| {
        // another one may be at work: its lock is waited for, but not for ever
        let words = ["-w", "10", to_do, "FORWARD", key, bridge.as_str()];
        let mark = ["-m", "comment", "--comment", comment, "-j", "ACCEPT"];
        words.into_iter().chain(mark).map(str::to_owned).collect()
    })
}

/// The same two without a comment, as lines.
pub(super) fn unmarked(program: &HostPath, bridge: &IfName) -> String {
    let line = |key| words([program.as_str(), "-w", "10", "-I", "FORWARD", key, bridge.as_str(), "-j", "ACCEPT"]);
    ["-i", "-o"].map(line).join("; ")
}

/// The lines that let packets of a bridge through.
pub(super) fn legacy_text(program: &str, bridge: &IfName, comment: &str) -> String {
    let line = |rule: Vec<String>| words(std::iter::once(program).chain(rule.iter().map(String::as_str)));
    legacy_rules("-I", bridge, comment).map(line).join("; ")
}

/// Whether a chain has not the two rules that let packets from and to this network through.
pub(super) fn drops(chain: &ForeignFacts, network: &Network) -> bool {
    chain.comments.iter().filter(|one| **one == network.mark).count() < 2
}

/// Rules in chains that drop what they do not know, and the bridge in firewalld's zone; a warning for each.
pub(super) fn let_through(network: &Network, facts: &NetFacts, plan: &mut NetPlan) {
    let bridge = network.router();
    for chain in facts.foreign.iter().filter(|chain| drops(chain, network)) {
        plan.warnings.push(format!("chain {} drops forwarded packets: added rules for {bridge}", chain.chain.text()));
        let (chain, comment) = (chain.chain.clone(), network.mark.clone());
        plan.prepare.push(Step::AllowForward { chain, bridge: bridge.clone(), comment });
    }
    if facts.firewalld.as_ref().is_some_and(|firewalld| !firewalld.trusted.contains(bridge)) {
        plan.warnings.push(format!("firewalld rejects what it does not know: put {bridge} into its zone trusted"));
        plan.prepare.push(Step::TrustBridge { bridge: bridge.clone() });
    }
    // its rules are of another kind, which no rule of nf_tables overrules and only its own program writes
    for Legacy { tool, program, .. } in facts.legacy.iter().filter(|one| one.bridge == *bridge) {
        let comment = network.mark.clone();
        match program.clone() {
            Some(program) => {
                plan.warnings.push(format!("{tool} drops forwarded packets: added rules for {bridge}"));
                plan.prepare.push(Step::AllowLegacy { program, bridge: bridge.clone(), comment });
            }
            None => plan.warnings.push(format!(
                "{tool} drops forwarded packets, and these let ours through: {}",
                legacy_text(tool, bridge, &comment)
            )),
        }
    }
}

/// A line for each port that firewalld will not let through.
pub(super) fn closed(ports: &[Published], facts: &NetFacts) -> Vec<String> {
    let strict = facts.firewalld.as_ref().is_some_and(|firewalld| firewalld.strict);
    let line = |port: &Published| {
        let (protocol, to) = (port.protocol, port.to);
        let rule = format!("port={}:proto={protocol}:toport={}:toaddr={}", port.port, to.port(), to.ip());
        format!("firewalld keeps published ports closed (StrictForwardPorts): firewall-cmd --add-forward-port={rule}")
    };
    ports.iter().filter(|_| strict).map(line).collect()
}
