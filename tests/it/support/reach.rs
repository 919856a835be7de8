//! Whether a container's packets come through. An answer may take as long as a busy machine needs for it; that there
//! is none is known after two seconds, an age between namespaces of one host, and not waited for longer in a slow guest.

use super::command::{Output, seconds};
use super::sandbox::Sandbox;
use std::time::Duration;

/// One ping from a running container, which needs the capability NET_RAW.
#[track_caller]
pub fn ping(sandbox: &Sandbox, from: &str, to: &str, patience: Duration) -> Output {
    sandbox.minirun(&["exec", from, "ping", "-c", "1", "-W", &patience.as_secs().to_string(), to])
}

/// Whether the very first packet to the address, or the name, is answered.
#[track_caller]
pub fn reaches(sandbox: &Sandbox, from: &str, to: &str) -> bool {
    ping(sandbox, from, to, seconds(20)).code() == 0
}

/// Whether a packet to the address is not answered, or does not even get away.
#[track_caller]
pub fn cut_off(sandbox: &Sandbox, from: &str, to: &str) -> bool {
    let said = ping(sandbox, from, to, Duration::from_secs(2));
    let lost = said.stdout.contains("100% packet loss") || said.stderr.contains("unreachable");
    assert!(said.code() == 0 || said.code() == 1 && lost, "{said}");
    said.code() == 1
}

/// The TTL with which the answer to one packet comes.
#[track_caller]
pub fn ttl(sandbox: &Sandbox, from: &str, to: &str) -> u8 {
    let said = ping(sandbox, from, to, seconds(20)).text();
    let (_, rest) = said.split_once("ttl=").unwrap_or_else(|| panic!("no TTL: {said}"));
    rest.split(' ').next().unwrap().parse().unwrap()
}
