//! iptables-legacy, whose chain FORWARD may drop what it does not know: our bridges get rules there, by its own program,
//! each with the network's mark as its comment. Whether they are there is read in the kernel, and a host that has no such
//! rules starts no program.

use super::network::Network;
use super::others::{Legacy, legacy_rules, unmarked};
use super::step::Step;
use crate::error::{Error, Result};
use crate::id::{HostPath, IfName};
use crate::shell::words;
use crate::sys::iptables::{self, Accept, Family};
use std::path::Path;

/// The networks of this family that it has no rules for, where it drops what it does not know.
pub(super) fn facts(networks: &[&Network], family: Family) -> Vec<Legacy> {
    // that it cannot be looked at holds nobody up
    let Some(filter) = iptables::filter(family).ok().flatten().filter(|filter| filter.drops) else {
        return Vec::new();
    };
    let has_family = |one: &&&Network| one.subnets.iter().any(|s| s.net.addr().is_ipv4() == (family == Family::V4));
    let passes = |bridge: &str| {
        let has = |is: &dyn Fn(&Accept) -> bool| filter.accepts.iter().any(is);
        has(&|rule| rule.from == bridge && rule.to.is_empty()) && has(&|rule| rule.to == bridge && rule.from.is_empty())
    };
    let path = iptables::program(family);
    let program = path.and_then(|path| HostPath::parse(path.to_str()?).ok());
    let dropped = networks.iter().filter(has_family).map(|one| one.router()).filter(|link| !passes(link.as_str()));
    let of = |bridge: &IfName| Legacy { bridge: bridge.clone(), tool: family.tool().into(), program: program.clone() };
    dropped.map(of).collect()
}

/// Adds the rules. Where its program says no, it is a warning with what helps: the host is reached all the same.
pub(super) fn allow(step: &Step, warnings: &mut Vec<String>) -> Result<()> {
    let Step::AllowLegacy { program, bridge, comment } = step else { return Ok(()) };
    for rule in legacy_rules("-I", bridge, comment) {
        if let Err(said) = iptables::execute(program.as_path(), &rule)? {
            // the kernel may lack the match of comments; a rule without one could not be told from others' later
            let (why, helps) = (said.replace('\n', " "), unmarked(program, bridge));
            warnings.push(format!(
                "{program}: {why}: forwarded packets of {bridge} are dropped; {helps} lets them through"
            ));
            break;
        }
    }
    Ok(())
}

/// Removes the rules that carry this mark.
pub(super) fn forget(mark: &str) -> Vec<Error> {
    [Family::V4, Family::V6].into_iter().flat_map(|family| forget_family(mark, family)).collect()
}

fn forget_family(mark: &str, family: Family) -> Vec<Error> {
    let marked = || {
        let filter = iptables::filter(family)?.unwrap_or_default();
        Ok::<_, Error>(filter.accepts.into_iter().filter(|rule| rule.comment == mark).collect::<Vec<_>>())
    };
    let rules = match marked() {
        Ok(rules) => rules,
        Err(error) => return vec![error],
    };
    let program = iptables::program(family).unwrap_or_else(|| family.tool().into());
    let remove = |rule: &Accept| {
        let link = if rule.from.is_empty() { &rule.to } else { &rule.from };
        let rules = legacy_rules("-D", &IfName::parse(link)?, mark);
        execute(&program, &rules[usize::from(rule.from.is_empty())])
    };
    let errors: Vec<Error> = rules.iter().filter_map(|rule| remove(rule).err()).collect();
    match marked() {
        Ok(left) if left.is_empty() => Vec::new(), // somebody else has been quicker
        _ => errors,
    }
}

fn execute(program: &Path, rule: &[String]) -> Result<()> {
    let path = program.display().to_string();
    let line = words(std::iter::once(path.as_str()).chain(rule.iter().map(String::as_str)));
    match iptables::execute(program, rule) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(said)) => Err(Error::host(format!("{path}: {said}")).hint(line)),
        Err(failed) => Err(Error::from(failed).hint(line)),
    }
}
