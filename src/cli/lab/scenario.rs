//! What a lab is: commands, and what they are expected to show. Data alone.

/// One experiment.
#[derive(Debug)]
pub(super) struct Lab {
    pub(super) name: &'static str,
    /// In one line.
    pub(super) shows: &'static str,
    pub(super) steps: &'static [Step],
}

#[derive(Debug)]
pub(super) enum Step {
    /// What comes next, and why.
    Say(&'static str),
    /// A command of minirun's, without its first word.
    Minirun(&'static str),
    /// The same, which is refused: its error has these words.
    Refused(&'static str, &'static str),
    /// Links, addresses and routes by hand, at HOST or in a container. `$a` is the pid of container a, and `br:net` the
    /// bridge of a network.
    Ip {
        at: &'static str,
        lines: &'static [&'static str],
    },
    Ping(Ping),
}

/// One echo request.
#[derive(Debug)]
pub(super) struct Ping {
    /// A container, or HOST.
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) expect: Expect,
    /// What a bystander hears of it.
    pub(super) hears: Option<Hears>,
}

pub(super) const HOST: &str = "host";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// An answer with this TTL: 64 without a router between, 63 with one; from the link address of a container, of
    /// HOST, or of whoever it may be.
    Answer(u8, Option<&'static str>),
    Silence,
    NoRoute,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Hears {
    pub(super) who: &'static str,
    pub(super) arp: bool,
    pub(super) echo: bool,
}

/// A question from one to the other.
pub(super) const fn ping(from: &'static str, to: &'static str, expect: Expect) -> Step {
    Step::Ping(Ping { from, to, expect, hears: None })
}

/// A question whose ARP request a bystander hears, and nothing of what follows.
pub(super) const fn overheard(from: &'static str, to: &'static str, expect: Expect, who: &'static str) -> Step {
    Step::Ping(Ping { from, to, expect, hears: Some(Hears { who, arp: true, echo: false }) })
}

/// A question of which a bystander hears nothing at all.
pub(super) const fn unheard(from: &'static str, to: &'static str, expect: Expect, who: &'static str) -> Step {
    Step::Ping(Ping { from, to, expect, hears: Some(Hears { who, arp: false, echo: false }) })
}
