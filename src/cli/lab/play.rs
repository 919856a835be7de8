//! Plays a lab: says each command, gives it, and holds what is seen against what is expected.

use super::scenario::{Expect, HOST, Hears, Lab, Ping, Step};
use crate::cli::{obey_line, ui};
use crate::error::{Error, Result};
use crate::ops::lab::{self, Heard, Look, Place, Seen};
use crate::state::Roots;
use std::time::Duration;

/// Whether all was as expected. `own` are the roots of the lab's own host.
pub(super) fn play(lab: &Lab, own: &Roots) -> Result<bool> {
    ui::print(&format!("{}: {}\n", lab.name, lab.shows))?;
    let mut outcomes = Vec::new();
    for step in lab.steps {
        outcomes.extend(one(step, own)?);
    }
    let kept = outcomes.iter().filter(|kept| **kept).count();
    ui::print(&format!("\n{kept} of {} as expected\n\n", outcomes.len()))?;
    Ok(kept == outcomes.len())
}

/// A step that expects something gives whether it was seen.
fn one(step: &Step, own: &Roots) -> Result<Option<bool>> {
    match step {
        Step::Say(text) => ui::print(&format!("\n{text}\n")).map(|()| None),
        Step::Minirun(words) => {
            says(HOST, &format!("minirun {words}"))?;
            lab::quietly(|| obey_line(words, own))??;
            Ok(None)
        }
        Step::Refused(words, reason) => {
            says(HOST, &format!("minirun {words}"))?;
            let seen = match lab::quietly(|| obey_line(words, own))? {
                Ok(_) => "it is done".to_owned(),
                Err(error) => error.message,
            };
            let kept = seen.contains(reason);
            expected(&format!("refused: … {reason}"), &seen, kept)?;
            Ok(Some(kept))
        }
        Step::Ip { at, lines } => {
            lines.iter().try_for_each(|line| ip(at, line, own))?;
            Ok(None)
        }
        Step::Ping(ping) => self::ping(ping, own).map(Some),
    }
}

fn says(at: &str, line: &str) -> Result<()> {
    ui::print(&format!("{at}# {line}\n"))
}

fn expected(expected: &str, seen: &str, kept: bool) -> Result<()> {
    let end = if kept { "" } else { "   <- not as expected" };
    ui::print(&format!("    expected  {expected}\n    seen      {seen}{end}\n"))
}

fn place(name: &str) -> Place<'_> {
    Some(name).filter(|name| *name != HOST)
}

/// One line for `ip`; `br:net` is the bridge of a network.
fn ip(at: &str, line: &str, own: &Roots) -> Result<()> {
    let word = |word: &str| match word.strip_prefix("br:") {
        Some(network) => lab::bridge_of(network, own).map(|bridge| bridge.to_string()),
        None => Ok(word.to_owned()),
    };
    let line = line.split(' ').map(word).collect::<Result<Vec<_>>>()?.join(" ");
    says(at, &line)?;
    lab::wire(own, place(at), &line)
}

fn ping(ping: &Ping, own: &Roots) -> Result<bool> {
    says(ping.from, &format!("ping {}", ping.to))?;
    let to = ping.to.parse().map_err(|e| Error::internal(format!("{}: {e}", ping.to)))?;
    // whom nobody could ask a moment ago is asked for again a second later
    let patience = Duration::from_secs(if matches!(ping.expect, Expect::Answer(..)) { 5 } else { 1 });
    let bystander = ping.hears.map(|hears| hears.who);
    let (seen, heard) = lab::look(own, Look { from: place(ping.from), to, bystander, patience })?;
    let answer = match &seen {
        Seen::Answer { ttl, by } => {
            let asked = matches!(ping.expect, Expect::Answer(_, Some(_)));
            answered(*ttl, asked.then(|| by.as_deref().unwrap_or("nobody")))
        }
        Seen::Silence => SILENCE.to_owned(),
        Seen::NoRoute => NO_ROUTE.to_owned(),
    };
    let promise = match ping.expect {
        Expect::Answer(ttl, by) => answered(ttl, by),
        Expect::Silence => SILENCE.to_owned(),
        Expect::NoRoute => NO_ROUTE.to_owned(),
    };
    let overheard = |hears: &Hears, heard: Heard| Hears { arp: heard.arp, echo: heard.echo, ..*hears };
    let (mut wanted, mut got) = (promise, answer);
    if let (Some(hears), Some(heard)) = (&ping.hears, heard) {
        wanted.push_str(&hearing(hears));
        got.push_str(&hearing(&overheard(hears, heard)));
    }
    let kept = wanted == got;
    expected(&wanted, &got, kept)?;
    Ok(kept)
}

const SILENCE: &str = "silence";
const NO_ROUTE: &str = "\"Network is unreachable\": there is no route";

fn answered(ttl: u8, by: Option<&str>) -> String {
    let from = by.map(|by| format!(" from {by}'s link address")).unwrap_or_default();
    format!("an answer{from}, TTL {ttl}")
}

fn hearing(hears: &Hears) -> String {
    let what = match (hears.arp, hears.echo) {
        (true, true) => "all of it",
        (true, false) => "the ARP request alone",
        (false, true) => "the echo alone",
        (false, false) => "nothing",
    };
    format!("; {} hears {what}", hears.who)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::wire::Verb;

    #[test]
    fn every_line_of_every_lab_can_be_read() {
        for lab in super::super::labs() {
            for step in lab.steps {
                match step {
                    Step::Say(_) => {}
                    Step::Minirun(words) | Step::Refused(words, _) => {
                        crate::cli::parse_line(words).unwrap_or_else(|error| panic!("{words}: {}", error.message));
                    }
                    Step::Ip { lines, .. } => {
                        for line in *lines {
                            Verb::parse(&line.replace("br:", "")).unwrap_or_else(|error| panic!("{}", error.message));
                        }
                    }
                    Step::Ping(ping) => assert!(ping.to.parse::<std::net::IpAddr>().is_ok(), "{}", ping.to),
                }
            }
        }
    }
}
