//! `--format`: Go's text/template, `table TEMPLATE` and `json`, as docker's users and tools send them.
//!
//! A listing names its columns once and gives its rows as maps from docker's field names to texts:
//! ```ignore
//! const LISTING: Listing = Listing {
//!     fields: &[("Name", "VOLUME NAME"), ("Driver", "DRIVER"), ("Labels", "LABELS"), ("Label", "")],
//!     table: "{{.Driver}}\t{{.Name}}",
//!     quiet: "{{.Name}}",
//! };
//! let row = |v: &VolumeRow| format::row([("Name", json!(v.name)), ("Label", json!(v.labels)), …]);
//! let rows: Vec<Row> = volumes.iter().map(row).collect();
//! format::print_rows(args.format.as_deref(), args.quiet, &LISTING, &rows)?;
//! ```
//! What has no end, such as events, gives its rows one by one, each with a template of its own where none was asked for.
//! A command that shows documents gives each to [`print_value`].

mod eval;
mod functions;
mod lexer;
mod parser;
#[cfg(test)]
mod tests;
mod text;

use super::ui::{self, Width};
use crate::error::{Error, Result};
use eval::Rules;
use lexer::Escapes;
use parser::Template;
use serde::Serialize as _;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The longest text of one template for one value.
const MAX_TEXT: usize = 16 << 20;

/// What a listing can show.
#[derive(Debug)]
pub(super) struct Listing {
    /// docker's name of each field and its header in a table. One whose header is empty is a lookup, `.Label "x"`.
    pub fields: &'static [(&'static str, &'static str)],
    /// The table that is shown where nothing is asked for, without the word `table`.
    pub table: &'static str,
    /// What `-q` shows.
    pub quiet: &'static str,
}

/// A line of a listing: docker's name of a field to a text as docker shows it, or for a lookup to an object.
pub(super) type Row = Map<String, Value>;

/// A row from its fields.
pub(super) fn row<const N: usize>(fields: [(&str, Value); N]) -> Row {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Prints the rows of a listing as `--format` says: nothing or `table` is the listing's own table, `json` an object a
/// line, `table TEMPLATE` a table with a header, and anything else a template for each row. A field that the listing does
/// not have is an error, with or without rows.
pub(super) fn print_rows(format: Option<&str>, quiet: bool, listing: &Listing, rows: &[Row]) -> Result<()> {
    print_rows_as(format, quiet, listing, rows, Width::Fits)
}

/// The same; with `--no-trunc` a table is as wide as what is in it.
pub(super) fn print_rows_as(
    format: Option<&str>,
    quiet: bool,
    listing: &Listing,
    rows: &[Row],
    width: Width,
) -> Result<()> {
    let output = match format {
        _ if quiet => lines(listing.quiet, listing, rows)?,
        Some("json") => json_lines(listing, rows),
        Some(format) if format.starts_with("table") && format != "table" => {
            return table(&format[5..], listing, rows, width);
        }
        None | Some("" | "table") => return table(listing.table, listing, rows, width),
        Some(template) => lines(template, listing, rows)?,
    };
    ui::print(&output)
}

/// What `inspect` finds of each name: one array for all that were found, even where one was not; with a template a text
/// for each. Gives the exit code.
pub(super) fn print_each(
    names: &[String],
    format: Option<&str>,
    mut inspect: impl FnMut(&str) -> Result<Value>,
) -> Result<u8> {
    let template = format.filter(|format| !format.is_empty() && *format != "json");
    template.map_or(Ok(()), check)?;
    let mut found = Vec::new();
    let code = super::each(names, |name| {
        found.push(inspect(name)?);
        Ok(())
    });
    match (format, template) {
        (_, Some(template)) => found.iter().try_for_each(|one| print_value(template, one))?,
        (Some("json"), None) => print_value("json", &Value::Array(found))?,
        _ => ui::print(&format!("{}\n", pretty(&found)?))?,
    }
    Ok(code)
}

/// What a template says of a whole document, such as one of `inspect`, and a new line. `optional` are fields that
/// docker has but shows only where they are set: `{{if .State.Health}}` must not be a mistake.
pub(super) fn of_value(template: &str, value: &Value, optional: &[&str]) -> Result<String> {
    let template = parsed(template, Escapes::Literal)?;
    Ok(eval::render(&template, value, Rules { optional, ..Rules::default() })? + "\n")
}

/// Whether such a template can be understood, before anything is looked up for it.
pub(super) fn check(template: &str) -> Result<()> {
    parsed(template, Escapes::Literal).map(drop)
}

/// Prints a document as `--format` says: `json` on one line, else a template.
pub(super) fn print_value(format: &str, value: &Value) -> Result<()> {
    match format {
        "json" => ui::print(&format!("{value}\n")),
        template => ui::print(&of_value(template, value, &[])?),
    }
}

/// A moment of RFC 3339 as docker lists it: `2026-01-02 03:04:05 +0000 UTC`.
pub(super) fn date(moment: &str) -> String {
    let part = |from: usize, to: usize| moment.get(from..to).unwrap_or_default();
    if moment.ends_with('Z') { format!("{} {} +0000 UTC", part(0, 10), part(11, 19)) } else { moment.to_owned() }
}

/// `a=1,b=2`, as docker lists labels.
pub(super) fn pairs(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn parsed(text: &str, escapes: Escapes) -> Result<Template> {
    let hint = "a template is like '{{.ID}}' or '{{json .}}'; the single quotes are for the shell";
    parser::parse(text, escapes).map_err(|e| e.hint(hint))
}

/// A template of a listing, all of whose fields are there.
fn of_listing(text: &str, listing: &Listing) -> Result<Template> {
    let template = parsed(text.trim_matches(' '), Escapes::Meant)?;
    let is_known = |name: &String| listing.fields.iter().any(|(field, _)| field == name);
    match template.fields.iter().find(|name| !is_known(name)) {
        None => Ok(template),
        Some(unknown) => {
            let known = listing.fields.iter().map(|(field, header)| match *header {
                "" => format!(".{field} NAME"),
                _ => format!(".{field}"),
            });
            Err(wrong(format!("unknown field .{unknown}"))
                .hint(format!("there are {}", known.collect::<Vec<_>>().join(", "))))
        }
    }
}

fn lines(template: &str, listing: &Listing, rows: &[Row]) -> Result<String> {
    let template = of_listing(template, listing)?;
    rows.iter().map(|row| line(&template, listing, needed(&template, row))).collect()
}

/// As much of a row as the template names: of a thousand rows, most of the rest would be looked at for nothing.
fn needed(template: &Template, row: &Row) -> Row {
    if template.whole {
        return row.clone();
    }
    let named = template.fields.iter().filter_map(|name| row.get_key_value(name));
    named.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What a template says of one row, and a new line.
fn line(template: &Template, listing: &Listing, row: Row) -> Result<String> {
    let (shown, lookups) = apart(listing, row);
    let rules = Rules { lookups: Some(&lookups), ..Rules::default() };
    Ok(eval::render(template, &Value::Object(shown), rules)? + "\n")
}

/// The fields, by name as docker's JSON has them, and the lookups.
fn apart(listing: &Listing, row: Row) -> (Row, Row) {
    let is_lookup = |name: &str| listing.fields.iter().any(|(field, header)| *field == name && header.is_empty());
    let (lookups, mut shown): (Vec<_>, Vec<_>) = row.into_iter().partition(|(name, _)| is_lookup(name));
    shown.sort_by(|(a, _), (b, _)| a.cmp(b));
    (shown.into_iter().collect(), lookups.into_iter().collect())
}

fn json_lines(listing: &Listing, rows: &[Row]) -> String {
    rows.iter().map(|row| format!("{}\n", Value::Object(apart(listing, row.clone()).0))).collect()
}

/// Tabs in the template separate the columns.
fn table(template: &str, listing: &Listing, rows: &[Row], width: Width) -> Result<()> {
    let (header, cells) = cells(template, listing, rows)?;
    ui::table(&header.iter().map(String::as_str).collect::<Vec<_>>(), &cells, width)
}

fn cells(template: &str, listing: &Listing, rows: &[Row]) -> Result<(Vec<String>, Vec<Vec<String>>)> {
    let template = of_listing(template, listing)?;
    let mut cells = Vec::new();
    for row in rows {
        let text = line(&template, listing, in_one_cell(needed(&template, row)))?;
        cells.extend(text.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>()));
    }
    let names: Row = listing.fields.iter().map(|(field, header)| ((*field).to_owned(), (*header).into())).collect();
    let lookups = names.iter().filter(|(_, header)| *header == "").map(|(name, _)| (name.clone(), Map::new().into()));
    let lookups: Map<String, Value> = lookups.collect();
    let rules = Rules { lookups: Some(&lookups), header: true, ..Rules::default() };
    let header = eval::render(&template, &Value::Object(names), rules);
    // a template may do with a row what cannot be done with a header: docker prints none then
    let header = if rows.is_empty() { header? } else { header.unwrap_or_default() };
    let header: Vec<String> = header.split('\t').map(|cell| cell.replace('\n', " ")).collect();
    Ok((header, cells))
}

/// Documents as docker's inspect prints them: four columns deeper with each level.
pub(super) fn pretty(documents: &[Value]) -> Result<String> {
    let mut text = Vec::new();
    let indented = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut to = serde_json::Serializer::with_formatter(&mut text, indented);
    documents.serialize(&mut to).map_err(|e| Error::internal(format!("inspect: {e}")))?;
    String::from_utf8(text).map_err(|e| Error::internal(format!("inspect: {e}")))
}

/// A row none of whose texts begins another cell or line.
fn in_one_cell(mut row: Row) -> Row {
    for value in row.values_mut() {
        *value = match value.take() {
            Value::String(text) => ui::printable(&text).replace('\t', " ").into(),
            Value::Object(lookup) => in_one_cell(lookup).into(),
            other => other,
        };
    }
    row
}

/// A mistake of a template.
fn wrong(what: impl std::fmt::Display) -> Error {
    Error::user(format!("template: {what}"))
}

fn too_long() -> Error {
    wrong(format!("its text is longer than {MAX_TEXT} bytes"))
}

/// Go's idea of a condition.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(all) => !all.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Go goes through maps by key.
fn sorted(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut pairs: Vec<_> = map.iter().collect();
    pairs.sort_by_key(|(key, _)| *key);
    pairs
}

/// The value of a key, or Go's empty value of that kind: a map of strings has an empty string for any other key.
fn or_empty(map: &Map<String, Value>, key: &str) -> Value {
    let texts = map.values().all(Value::is_string);
    map.get(key).cloned().unwrap_or_else(|| if texts { "".into() } else { Value::Null })
}
