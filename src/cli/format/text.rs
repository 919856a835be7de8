//! Values as Go prints them: `map[a:b]`, `[a b]`, `1e+06`; print, println and printf. Pure.
//! Source: Go, fmt/print.go and fmt/format.go.

use super::wrong;
use crate::error::Result;
use serde_json::{Number, Value};

/// As `%v`; nothing there is `<nil>`.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(yes) => yes.to_string(),
        Value::Number(number) => show_number(number),
        Value::String(text) => text.clone(),
        Value::Array(all) => format!("[{}]", all.iter().map(show).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs = super::sorted(map).into_iter().map(|(key, value)| format!("{key}:{}", show(value)));
            format!("map[{}]", pairs.collect::<Vec<_>>().join(" "))
        }
    }
}

fn show_number(number: &Number) -> String {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(float) => shortest(float),
        None => number.to_string(),
    }
}

/// `%v` of a float: as few digits as identify it, with an exponent where that is below -4 or above 5.
fn shortest(float: f64) -> String {
    let scientific = exponent(format!("{float:e}"));
    let power: i32 = scientific.rsplit_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    if (-4..6).contains(&power) { float.to_string() } else { scientific }
}

/// Rust's `1e6` as Go's `1e+06`.
fn exponent(text: String) -> String {
    let Some((digits, power)) = text.split_once('e') else { return text };
    let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
    format!("{digits}e{sign}{power:0>2}")
}

/// What Go calls the type of a value like this.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// With blanks between neighbours neither of which is a string.
pub(super) fn print(values: &[Value]) -> String {
    let mut text = String::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 && !value.is_string() && !values[at - 1].is_string() {
            text.push(' ');
        }
        text.push_str(&show(value));
    }
    text
}

pub(super) fn println(values: &[Value]) -> String {
    format!("{}\n", values.iter().map(show).collect::<Vec<_>>().join(" "))
}

/// Wider or more exact than this is no sensible wish (Go's own limit).
const MAX_WIDTH: usize = 1_000_000;

/// A verb with its flags: `%-20.8s`.
#[derive(Debug, Clone, Copy, Default)]
struct Verb {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
    verb: char,
}

pub(super) fn printf(format: &str, values: &[Value]) -> Result<String> {
    let (mut text, mut next, mut rest) = (String::new(), values.iter(), format);
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let Some((verb, length)) = parse_verb(after, &mut next)? else {
            text.push_str("%!(NOVERB)");
            rest = "";
            break;
        };
        rest = &after[length..];
        match (verb.verb, next.as_slice().is_empty()) {
            ('%', _) => text.push('%'),
            (other, true) => text.push_str(&format!("%!{other}(MISSING)")),
            (_, false) => text.extend(next.next().map(|value| one(verb, value))),
        }
        if text.len() > super::MAX_TEXT {
            return Err(super::too_long());
        }
    }
    text.push_str(rest);
    let extra: Vec<String> = next.map(|value| format!("{}={}", type_name(value), show(value))).collect();
    if !extra.is_empty() {
        text.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    Ok(text)
}

/// `None` where the text ends before the verb.
fn parse_verb(text: &str, values: &mut std::slice::Iter<'_, Value>) -> Result<Option<(Verb, usize)>> {
    let mut verb = Verb::default();
    let mut chars = text.char_indices().peekable();
    while let Some((_, flag)) = chars.next_if(|(_, c)| matches!(c, '-' | '+' | '#' | ' ' | '0')) {
        match flag {
            '-' => verb.minus = true,
            '+' => verb.plus = true,
            '#' => verb.sharp = true,
            ' ' => verb.space = true,
            _ => verb.zero = true,
        }
    }
    let mut size = |chars: &mut std::iter::Peekable<std::str::CharIndices<'_>>| -> Result<Option<i64>> {
        if chars.next_if(|(_, c)| *c == '*').is_some() {
            return Ok(values.next().and_then(Value::as_i64));
        }
        let mut size = None;
        while let Some((_, digit)) = chars.next_if(|(_, c)| c.is_ascii_digit()) {
            size = Some(size.unwrap_or(0) * 10 + i64::from(digit.to_digit(10).unwrap_or(0)));
            if size.is_some_and(|size| size.unsigned_abs() > MAX_WIDTH as u64) {
                return Err(wrong("printf: too wide"));
            }
        }
        Ok(size)
    };
    let width = size(&mut chars)?.unwrap_or(0);
    verb.minus |= width < 0;
    verb.width = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX).min(MAX_WIDTH);
    if chars.next_if(|(_, c)| *c == '.').is_some() {
        verb.precision = Some(size(&mut chars)?.unwrap_or(0).clamp(0, MAX_WIDTH as i64) as usize);
    }
    let Some((at, letter)) = chars.next() else { return Ok(None) };
    verb.verb = letter;
    Ok(Some((verb, at + letter.len_utf8())))
}

/// One value; of lists and maps each part.
fn one(verb: Verb, value: &Value) -> String {
    match value {
        Value::Array(all) if verb.verb != 'T' => {
            format!("[{}]", all.iter().map(|value| one(verb, value)).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) if verb.verb != 'T' => {
            let pair =
                |(key, value): (&String, &Value)| format!("{}:{}", one(verb, &key.as_str().into()), one(verb, value));
            format!("map[{}]", super::sorted(map).into_iter().map(pair).collect::<Vec<_>>().join(" "))
        }
        _ => scalar(verb, value).unwrap_or_else(|| match value {
            Value::Null => format!("%!{}(<nil>)", verb.verb),
            _ => format!("%!{}({}={})", verb.verb, type_name(value), show(value)),
        }),
    }
}

/// `None` where the verb is not for such a value.
fn scalar(verb: Verb, value: &Value) -> Option<String> {
    let text = match (verb.verb, value) {
        ('T', _) => type_name(value).to_owned(),
        ('v', Value::Number(number)) if number.is_f64() => return float(Verb { verb: 'g', ..verb }, number.as_f64()?),
        ('v', Value::Number(number)) => return whole(Verb { verb: 'd', ..verb }, number),
        ('v', Value::String(text)) if verb.sharp => quote(text),
        ('s' | 'v', Value::String(text)) => cut(text, verb.precision),
        ('v' | 't', Value::Bool(_)) | ('v', Value::Null) => show(value),
        ('q', Value::String(text)) => quote(&cut(text, verb.precision)),
        ('x' | 'X', Value::String(text)) => {
            let hex = crate::id::hex(text.as_bytes());
            if verb.verb == 'X' { hex.to_uppercase() } else { hex }
        }
        (_, Value::Number(number)) if number.is_f64() => return float(verb, number.as_f64()?),
        (_, Value::Number(number)) => return whole(verb, number),
        _ => return None,
    };
    Some(padded(verb, &text))
}

fn cut(text: &str, precision: Option<usize>) -> String {
    precision.map_or_else(|| text.to_owned(), |longest| text.chars().take(longest).collect())
}

/// A string as Go writes it in a program.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

fn whole(verb: Verb, number: &Number) -> Option<String> {
    let number = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))?;
    let size = number.unsigned_abs();
    let (prefix, digits) = match verb.verb {
        'd' => ("", size.to_string()),
        'b' => ("0b", format!("{size:b}")),
        'o' => ("0", format!("{size:o}")),
        'x' => ("0x", format!("{size:x}")),
        'X' => ("0X", format!("{size:X}")),
        'c' | 'q' | 'U' => {
            let c = u32::try_from(number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
            let text = match verb.verb {
                'c' => c.to_string(),
                'q' => format!("'{}'", quote(&c.to_string()).trim_matches('"').replace('\'', "\\'")),
                _ => format!("U+{:04X}", u32::from(c)),
            };
            return Some(padded(verb, &text));
        }
        _ => return None,
    };
    let digits = format!("{digits:0>width$}", width = verb.precision.unwrap_or(0));
    let prefix = if verb.sharp { prefix } else { "" };
    Some(padded_number(verb, number < 0, &format!("{prefix}{digits}")))
}

fn float(verb: Verb, float: f64) -> Option<String> {
    let size = float.abs();
    let text = match (verb.verb, verb.precision) {
        ('f' | 'F', precision) => format!("{size:.digits$}", digits = precision.unwrap_or(6)),
        ('e', precision) => exponent(format!("{size:.digits$e}", digits = precision.unwrap_or(6))),
        ('E', precision) => exponent(format!("{size:.digits$e}", digits = precision.unwrap_or(6))).to_uppercase(),
        ('g', None) => shortest(size),
        ('G', None) => shortest(size).to_uppercase(),
        ('g', Some(digits)) => significant(size, digits.max(1)),
        _ => return None,
    };
    Some(padded_number(verb, float.is_sign_negative(), &text))
}

/// `%.3g`: so many digits that count, without zeros behind.
fn significant(float: f64, digits: usize) -> String {
    let scientific = format!("{float:.behind$e}", behind = digits - 1);
    let power: i32 = scientific.rsplit_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    let bare = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if power < -4 || power >= i32::try_from(digits).unwrap_or(i32::MAX) {
        let (number, _) = scientific.split_once('e').unwrap_or((&scientific, ""));
        return exponent(format!("{}e{power}", bare(number)));
    }
    let behind = i32::try_from(digits).unwrap_or(i32::MAX).saturating_sub(1 + power).max(0);
    bare(&format!("{float:.behind$}", behind = usize::try_from(behind).unwrap_or(0)))
}

fn padded_number(verb: Verb, negative: bool, size: &str) -> String {
    let sign = match (negative, verb.plus, verb.space) {
        (true, _, _) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    };
    if verb.zero && !verb.minus && !(verb.verb == 'd' && verb.precision.is_some()) {
        let width = verb.width.saturating_sub(sign.len());
        return format!("{sign}{size:0>width$}");
    }
    padded(Verb { zero: false, ..verb }, &format!("{sign}{size}"))
}

fn padded(verb: Verb, text: &str) -> String {
    let width = verb.width;
    match (verb.minus, verb.zero) {
        (true, _) => format!("{text:<width$}"),
        (false, true) => format!("{text:0>width$}"),
        (false, false) => format!("{text:>width$}"),
    }
}
