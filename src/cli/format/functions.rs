//! The functions of templates: Go's own and docker's. `and` and `or`, which need not look at all their words, are the
//! evaluator's. Pure.
//! Sources: Go, text/template/funcs.go; docker, templates/templates.go.

use super::{text, wrong};
use crate::error::Result;
use serde_json::Value;
use std::cmp::Ordering;

/// All of them.
pub(super) const NAMES: [&str; 22] = [
    "and", "or", "not", "len", "index", "slice", "print", "printf", "println", "eq", "ne", "lt", "le", "gt", "ge",
    "json", "upper", "lower", "title", "join", "split", "truncate",
];

/// docker's name for blanks around a text; apart, for the list above is one for people.
const PAD: &str = "pad";

pub(super) fn is_known(name: &str) -> bool {
    NAMES.contains(&name) || name == PAD
}

/// Calls one. In the header of a table docker's own functions leave the column's name as it is.
pub(super) fn call(name: &str, values: &[Value]) -> Result<Value> {
    let named = |error: crate::error::Error| error.during(format!("template: {name}"));
    let done = match (name, values) {
        ("not", [value]) => Ok((!super::is_true(value)).into()),
        ("len", [value]) => length(value),
        ("index", [value, keys @ ..]) => index(value, keys),
        ("slice", [value, bounds @ ..]) => slice(value, bounds),
        ("print", _) => Ok(text::print(values).into()),
        ("println", _) => Ok(text::println(values).into()),
        ("printf", [Value::String(format), rest @ ..]) => text::printf(format, rest).map(Value::from),
        ("eq", [first, others @ ..]) if !others.is_empty() => equal_any(first, others),
        ("ne", [a, b]) => equal(a, b).map(|equal| (!equal).into()),
        ("lt", [a, b]) => order(a, b).map(|order| order.is_lt().into()),
        ("le", [a, b]) => order(a, b).map(|order| order.is_le().into()),
        ("gt", [a, b]) => order(a, b).map(|order| order.is_gt().into()),
        ("ge", [a, b]) => order(a, b).map(|order| order.is_ge().into()),
        ("json", [value]) => Ok(value.to_string().into()),
        ("upper", [Value::String(text)]) => Ok(text.to_uppercase().into()),
        ("lower", [Value::String(text)]) => Ok(text.to_lowercase().into()),
        ("title", [Value::String(text)]) => Ok(title(text).into()),
        ("join", [list, Value::String(between)]) => join(list, between),
        ("split", [Value::String(text), Value::String(at)]) => Ok(split(text, at)),
        ("truncate", [Value::String(text), Value::Number(longest)]) => truncate(text, longest.as_i64()),
        ("pad", [Value::String(text), before, after]) => pad(text, before.as_u64(), after.as_u64()),
        _ => {
            let types: Vec<&str> = values.iter().map(text::type_name).collect();
            Err(wrong(format!("does not take ({})", types.join(", "))))
        }
    };
    done.map_err(named)
}

/// The same in the header of a table, where the values are the columns' names.
pub(super) fn call_in_header(name: &str, values: &[Value]) -> Result<Value> {
    let of_docker = ["json", "upper", "lower", "title", "join", "split", "truncate", PAD].contains(&name);
    match values {
        [first, ..] if of_docker => Ok(first.clone()),
        _ => call(name, values),
    }
}

fn length(value: &Value) -> Result<Value> {
    match value {
        Value::String(text) => Ok(text.len().into()),
        Value::Array(all) => Ok(all.len().into()),
        Value::Object(map) => Ok(map.len().into()),
        Value::Null | Value::Bool(_) | Value::Number(_) => Err(wrong(format!("of type {}", text::type_name(value)))),
    }
}

/// `index x 1 "a"` is Go's `x[1]["a"]`. What a map does not have is empty, of the kind of what it has.
fn index(value: &Value, keys: &[Value]) -> Result<Value> {
    let mut found = value.clone();
    for key in keys {
        found = match (&found, key) {
            (Value::Object(map), Value::String(key)) => super::or_empty(map, key),
            (Value::Array(all), Value::Number(_)) => all.get(position(key, all.len())?).cloned().unwrap_or_default(),
            (Value::String(text), Value::Number(_)) => text.as_bytes().get(position(key, text.len())?).copied().into(),
            (Value::Null, _) => return Err(wrong("index of nil")),
            (of, key) => {
                let (of, key) = (text::type_name(of), text::type_name(key));
                return Err(wrong(format!("cannot index {of} with {key}")));
            }
        };
    }
    Ok(found)
}

/// An index below `length`.
fn position(key: &Value, length: usize) -> Result<usize> {
    let at = key.as_u64().and_then(|at| usize::try_from(at).ok()).filter(|at| *at < length);
    at.ok_or_else(|| wrong(format!("index out of range: {}", text::show(key))))
}

/// `slice x 1 2` is Go's `x[1:2]`.
fn slice(value: &Value, bounds: &[Value]) -> Result<Value> {
    let length = match value {
        Value::String(text) => text.len(),
        Value::Array(all) => all.len(),
        other => return Err(wrong(format!("cannot slice {}", text::type_name(other)))),
    };
    let bound = |at: usize, default| bounds.get(at).map_or(Ok(default), |bound| position(bound, length + 1));
    let (from, to) = (bound(0, 0)?, bound(1, length)?);
    if from > to || bounds.len() > 2 {
        return Err(wrong(format!("invalid slice {from}:{to}")));
    }
    Ok(match value {
        Value::String(text) => String::from_utf8_lossy(&text.as_bytes()[from..to]).into(),
        Value::Array(all) => all[from..to].to_vec().into(),
        other => other.clone(),
    })
}

fn equal_any(first: &Value, others: &[Value]) -> Result<Value> {
    for other in others {
        if equal(first, other)? {
            return Ok(true.into());
        }
    }
    Ok(false.into())
}

fn equal(a: &Value, b: &Value) -> Result<bool> {
    match (a, b) {
        (Value::Null, _) | (_, Value::Null) => Ok(a == b),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        _ => order(a, b).map(Ordering::is_eq),
    }
}

fn order(a: &Value, b: &Value) -> Result<Ordering> {
    let exact = |value: &Value| value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    match (a, b) {
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        (Value::Number(x), Value::Number(y)) => match (exact(a), exact(b)) {
            (Some(a), Some(b)) => Ok(a.cmp(&b)),
            _ => Ok(x.as_f64().partial_cmp(&y.as_f64()).unwrap_or(Ordering::Equal)),
        },
        _ => Err(wrong(format!("cannot compare {} with {}", text::type_name(a), text::type_name(b)))),
    }
}

fn title(text: &str) -> String {
    let mut first = true;
    let mut titled = String::with_capacity(text.len());
    for c in text.chars() {
        if first {
            titled.extend(c.to_uppercase())
        } else {
            titled.push(c)
        }
        first = !(c.is_alphanumeric() || c == '_');
    }
    titled
}

fn join(list: &Value, between: &str) -> Result<Value> {
    let texts: Option<Vec<&str>> = match list {
        Value::Array(all) => all.iter().map(Value::as_str).collect(),
        Value::Null => Some(Vec::new()),
        _ => None,
    };
    texts.map(|texts| texts.join(between).into()).ok_or_else(|| wrong("takes a list of strings"))
}

fn split(text: &str, at: &str) -> Value {
    match at {
        "" => text.chars().map(|c| Value::from(c.to_string())).collect(),
        at => text.split(at).map(Value::from).collect(),
    }
}

/// At most so many bytes, as docker counts.
fn truncate(text: &str, longest: Option<i64>) -> Result<Value> {
    let longest = longest.and_then(|longest| usize::try_from(longest).ok()).ok_or_else(|| wrong("to less than 0"))?;
    Ok(String::from_utf8_lossy(text.as_bytes().get(..longest).unwrap_or(text.as_bytes())).into())
}

fn pad(text: &str, before: Option<u64>, after: Option<u64>) -> Result<Value> {
    let blanks = |count: Option<u64>| {
        let count = count.and_then(|count| usize::try_from(count).ok()).filter(|count| *count <= super::MAX_TEXT);
        count.map(|count| " ".repeat(count)).ok_or_else(super::too_long)
    };
    let (before, after) = (blanks(before)?, blanks(after)?);
    Ok(if text.is_empty() { String::new() } else { format!("{before}{text}{after}") }.into())
}
