//! Sizes and CPU counts as docker takes them: `64m`, `1.5g`, `0.5`. Pure text to number.

use crate::error::{Error, Result};

/// Bytes: a number, perhaps with a fraction, and a unit of b, k, m, g, t or p in powers of 1024, in either case,
/// with or without `b` or `ib` behind it (docker/go-units, size.go, RAMInBytes).
pub fn parse(text: &str) -> Result<u64> {
    let bad = || Error::user(format!("invalid size {text:?}")).hint("a size is a number with b, k, m or g behind it");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(bad()),
    };
    scaled(number, 1 << shift).and_then(|bytes| u64::try_from(bytes).ok()).ok_or_else(bad)
}

/// The same, and `-1` for no limit (`--memory-swap`). At most 2^63-1.
pub fn parse_signed(text: &str) -> Result<i64> {
    if text == "-1" {
        return Ok(-1);
    }
    i64::try_from(parse(text)?).map_err(|_| Error::user(format!("size {text:?} is too large")))
}

/// `--cpus 0.5` in billionths of a CPU; more than nine decimals would be lost and are refused.
pub fn parse_cpus(text: &str) -> Result<i64> {
    const NANO: u64 = 1_000_000_000;
    let decimals = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let nano = scaled(text, NANO).filter(|_| decimals <= 9).and_then(|nano| i64::try_from(nano).ok());
    nano.ok_or_else(|| Error::user(format!("invalid --cpus {text:?}")).hint("--cpus takes a number such as 0.5 or 2"))
}

/// `number` times `unit`, rounded down, exactly: no floating point, so 0.1 CPU is 100000000 and not one less.
fn scaled(number: &str, unit: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) || whole.len() > 20 {
        return None;
    }
    // beyond 18 places a fraction of an exabyte is below one byte
    let fraction = &fraction[..fraction.len().min(18)];
    let parse = |s: &str| if s.is_empty() { Some(0) } else { s.parse::<u128>().ok() };
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    Some(parse(whole)? * u128::from(unit) + parse(fraction)? * u128::from(unit) / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (text, want) in [
            ("0", Some(0)),
            ("512", Some(512)),
            ("512b", Some(512)),
            ("64m", Some(64 << 20)),
            ("64M", Some(64 << 20)),
            ("64mb", Some(64 << 20)),
            ("64MiB", Some(64 << 20)),
            ("1.5g", Some(3 << 29)),
            (".5k", Some(512)),
            ("1 g", Some(1 << 30)),
            ("2t", Some(2 << 40)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("16384p", None),
            ("", None),
            (".", None),
            ("m", None),
            ("-1", None),
            ("1x", None),
            ("1.2.3m", None),
            ("0x10", None),
            ("1e3", None),
        ] {
            assert_eq!(parse(text).ok(), want, "{text:?}");
        }
    }

    #[test]
    fn only_signed_sizes_know_minus_one() {
        assert_eq!(parse_signed("-1").unwrap(), -1);
        assert_eq!(parse_signed("1k").unwrap(), 1024);
        assert!(parse_signed("-2").is_err());
        assert!(parse_signed("18446744073709551615").is_err());
    }

    #[test]
    fn cpus_are_exact() {
        for (text, want) in [
            ("0.5", Some(500_000_000)),
            ("0.1", Some(100_000_000)),
            ("2", Some(2_000_000_000)),
            ("1.123456789", Some(1_123_456_789)),
            ("1.1234567891", None),
            ("-1", None),
            ("", None),
            ("all", None),
        ] {
            assert_eq!(parse_cpus(text).ok(), want, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = (parse(&text), parse_signed(&text), parse_cpus(&text));
        }
    }
}
