//! A name for a container that was given none: an adjective and somebody who made what containers are made of.

use crate::error::Result;
use crate::id::Name;
use crate::state::{Roots, names};
use crate::sys::host;

const ADJECTIVES: [&str; 32] = [
    "agile", "brave", "bright", "calm", "clever", "curious", "daring", "eager", "fast", "fond", "gentle", "glad",
    "happy", "honest", "jolly", "keen", "kind", "lively", "lucky", "merry", "modest", "neat", "patient", "proud",
    "quick", "quiet", "sharp", "sunny", "tidy", "vivid", "warm", "wise",
];

/// People of Unix, networks and languages.
const SURNAMES: [&str; 32] = [
    "allman",
    "backus",
    "cerf",
    "diffie",
    "dijkstra",
    "engelbart",
    "floyd",
    "goldberg",
    "hamilton",
    "hopper",
    "hoare",
    "jacobson",
    "johnson",
    "joy",
    "kahn",
    "kernighan",
    "knuth",
    "lamport",
    "liskov",
    "lovelace",
    "mcilroy",
    "ossanna",
    "perlman",
    "pike",
    "postel",
    "ritchie",
    "rivest",
    "stallman",
    "tanenbaum",
    "thompson",
    "torvalds",
    "turing",
];

/// A name that nobody has at this moment; the claim decides.
pub(super) fn free(roots: &Roots) -> Result<Name> {
    let mut number = u32::from_le_bytes(host::random::<4>()?) as usize;
    let mut tries = 0;
    loop {
        let (adjective, surname) = (ADJECTIVES[number % 32], SURNAMES[number / 32 % 32]);
        let suffix = if tries < 8 { String::new() } else { format!("{}", number / 1024) };
        let name = Name::parse(&format!("{adjective}_{surname}{suffix}"))?;
        if names::holder(roots, &name)?.is_none() {
            return Ok(name);
        }
        number = u32::from_le_bytes(host::random::<4>()?) as usize;
        tries += 1;
    }
}
