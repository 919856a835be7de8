//! `--health-…`: what says whether a container is well. Pure text to data.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The flags as given; times in milliseconds. What is not given the image says, or docker's defaults do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthWords {
    /// For the container's shell.
    pub command: Option<String>,
    pub interval: Option<u64>,
    pub timeout: Option<u64>,
    pub start_period: Option<u64>,
    pub start_interval: Option<u64>,
    pub retries: Option<u32>,
    /// `--no-healthcheck`
    pub none: bool,
}

/// A check, complete; times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    pub command: Vec<String>,
    pub interval: u64,
    pub timeout: u64,
    pub start_period: u64,
    pub start_interval: u64,
    pub retries: u32,
}

/// An image's own, as docker writes it into its configuration; times in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageHealth {
    /// `["NONE"]`, `["CMD", word…]` or `["CMD-SHELL", text]`.
    pub test: Vec<String>,
    pub interval: u64,
    pub timeout: u64,
    pub start_period: u64,
    pub start_interval: u64,
    pub retries: u32,
}

/// `30s`, `1m30s`, `500ms`; at least a millisecond, or 0.
pub fn duration(flag: &str, text: &str) -> Result<u64> {
    let parsed = match text {
        "0" => Some(0),
        text => text.parse::<jiff::SignedDuration>().ok().and_then(|one| u64::try_from(one.as_millis()).ok()),
    };
    parsed.ok_or_else(|| Error::user(format!("invalid {flag} {text:?}")).hint("a time such as 30s, 1m30s or 500ms"))
}

/// docker's defaults, in milliseconds (moby, daemon/health.go).
const INTERVAL: u64 = 30_000;
const TIMEOUT: u64 = 30_000;
const START_INTERVAL: u64 = 5_000;
const RETRIES: u32 = 3;

/// What a text is given to.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// A command in an image's words.
pub fn test(command: &[String]) -> Vec<String> {
    let (kind, words) = match command {
        [shell, flag, text] if [shell, flag] == SHELL => ("CMD-SHELL", std::slice::from_ref(text)),
        words => ("CMD", words),
    };
    [kind.to_owned()].into_iter().chain(words.iter().cloned()).collect()
}

/// The check that a container has: the flags go before the image. `None` where there is none.
pub fn check(words: &HealthWords, image: Option<&ImageHealth>) -> Result<Option<HealthCheck>> {
    let given = HealthWords { none: false, ..words.clone() } != HealthWords::default();
    if words.none {
        return match given {
            true => Err(Error::user("--no-healthcheck contradicts the other --health flags").hint("leave it out")),
            false => Ok(None),
        };
    }
    let shell = |text: &str| SHELL.into_iter().chain([text]).map(str::to_owned).collect::<Vec<_>>();
    let of_image = image.and_then(|image| match image.test.split_first() {
        Some((word, rest)) if word == "CMD" && !rest.is_empty() => Some(rest.to_vec()),
        Some((word, [text])) if word == "CMD-SHELL" => Some(shell(text)),
        _ => None,
    });
    let command = match words.command.as_deref() {
        Some("none") => return Ok(None),
        Some(text) if !text.is_empty() => Some(shell(text)),
        _ => of_image,
    };
    let Some(command) = command else { return Ok(None) };
    let usual = ImageHealth::default();
    let image = image.unwrap_or(&usual);
    let or = |flag: Option<u64>, nanoseconds: u64, usual: u64| {
        flag.unwrap_or(nanoseconds / 1_000_000).checked_sub(1).map_or(usual, |less| less + 1)
    };
    Ok(Some(HealthCheck {
        command,
        interval: or(words.interval, image.interval, INTERVAL),
        timeout: or(words.timeout, image.timeout, TIMEOUT),
        start_period: or(words.start_period, image.start_period, 0),
        start_interval: or(words.start_interval, image.start_interval, START_INTERVAL),
        retries: [words.retries.unwrap_or(image.retries), RETRIES].into_iter().find(|n| *n > 0).unwrap_or(RETRIES),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_go_before_the_image_and_both_before_the_defaults() {
        let image: ImageHealth = serde_json::from_str(
            r#"{"Test": ["CMD", "check", "me"], "Interval": 5000000000, "Retries": 7, "Timeout": 0}"#,
        )
        .unwrap();
        let words = HealthWords { interval: Some(100), ..HealthWords::default() };
        let got = check(&words, Some(&image)).unwrap().unwrap();
        assert_eq!(got.command, ["check", "me"]);
        assert_eq!((got.interval, got.timeout, got.start_period, got.retries), (100, 30_000, 0, 7));
        let words = HealthWords { command: Some("true".into()), ..HealthWords::default() };
        let got = check(&words, Some(&image)).unwrap().unwrap();
        assert_eq!((got.command[2].as_str(), got.interval, got.retries), ("true", 5000, 7));
        assert_eq!(check(&words, None).unwrap().unwrap().interval, 30_000);
    }

    #[test]
    fn none_is_none() {
        let none = HealthWords { none: true, ..HealthWords::default() };
        let image =
            |test: &[&str]| ImageHealth { test: test.iter().map(ToString::to_string).collect(), ..Default::default() };
        let own = image(&["CMD-SHELL", "exit 1"]);
        assert!(check(&HealthWords::default(), Some(&own)).unwrap().is_some());
        assert_eq!(check(&none, Some(&own)).unwrap(), None);
        assert_eq!(check(&HealthWords::default(), Some(&image(&["NONE"]))).unwrap(), None);
        assert_eq!(check(&HealthWords::default(), None).unwrap(), None);
        assert!(check(&HealthWords { retries: Some(1), ..none }, Some(&own)).is_err());
    }

    #[test]
    fn times_are_dockers() {
        for (text, want) in [
            ("30s", Some(30_000)),
            ("1m30s", Some(90_000)),
            ("500ms", Some(500)),
            ("0", Some(0)),
            ("ten", None),
            ("-1s", None),
        ] {
            assert_eq!(duration("--health-interval", text).ok(), want, "{text}");
        }
    }
}
