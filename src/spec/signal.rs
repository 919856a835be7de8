//! Signals by name or number, as `--stop-signal`, STOPSIGNAL and `kill -s` have them. Pure.

use crate::error::{Error, Result};

/// The kernel's highest (SIGRTMAX, on every architecture that minirun runs on).
const HIGHEST: u8 = 64;
/// musl and glibc keep 32 to 34 for themselves; SIGRTMIN as programs count it (signal(7)).
const RTMIN: u8 = 34;

/// Linux's numbers on x86_64 and aarch64 (include/uapi/asm-generic/signal.h).
const NAMES: [(&str, u8); 34] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// Those that have one, in the order of their numbers.
pub fn names() -> [&'static str; 34] {
    NAMES.map(|(name, _)| name)
}

/// `SIGTERM`; the number of one without a name.
pub fn name(signal: u8) -> String {
    let known = NAMES.iter().find(|(_, number)| *number == signal);
    known.map_or_else(|| signal.to_string(), |(name, _)| format!("SIG{name}"))
}

/// `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3`, `SIGRTMAX-1`.
pub fn parse(text: &str) -> Result<u8> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let number = named.or_else(|| real_time(name)).or_else(|| upper.parse().ok().filter(|_| !upper.starts_with('+')));
    number.filter(|number| (1..=HIGHEST).contains(number)).ok_or_else(|| {
        Error::user(format!("unknown signal {text:?}")).hint("a name such as TERM or RTMIN+3, or a number from 1 to 64")
    })
}

fn real_time(name: &str) -> Option<u8> {
    let offset = |text: &str, sign: char| match text {
        "" => Some(0),
        text => text.strip_prefix(sign)?.parse::<u8>().ok().filter(|offset| *offset <= HIGHEST - RTMIN),
    };
    match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => offset(rest, '+').map(|offset| RTMIN + offset),
        (_, Some(rest)) => offset(rest, '-').map(|offset| HIGHEST - offset),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, want) in [
            ("TERM", Some(15)),
            ("SIGTERM", Some(15)),
            ("sigquit", Some(3)),
            ("9", Some(9)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("RTMIN+31", None),
            ("0", None),
            ("65", None),
            ("-9", None),
            ("+9", None),
            ("SIG", None),
            ("SIGSIGTERM", None),
            ("", None),
        ] {
            assert_eq!(parse(text).ok(), want, "{text:?}");
        }
    }
}
