//! A template's text in pieces: what is copied as it is, and the words between `{{` and `}}`. Pure.
//! Grammar: Go, text/template/parse/lex.go.

use super::wrong;
use crate::error::Result;
use serde_json::Value;

/// What is between two actions, or one action.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub word: Word,
    /// A blank stands before it: `.A .B` are two values, `.A.B` is one.
    pub spaced: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word {
    Dot,
    /// `.Name`
    Field(String),
    /// `$` or `$name`, with the dollar.
    Variable(String),
    /// A function or a keyword.
    Name(String),
    Literal(Value),
    Pipe,
    Open,
    Close,
    Comma,
    Declare,
    Assign,
}

/// What the two characters `\t` and `\n` are in the text outside of actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escapes {
    /// A tab and a new line: docker's listings.
    Meant,
    /// Themselves: docker's inspect.
    Literal,
}

/// What the trim markers `{{- ` and ` -}}` take away.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

pub(super) fn pieces(text: &str, escapes: Escapes) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let (mut rest, mut trimmed) = (text, false);
    loop {
        let (text, action) = match rest.split_once("{{") {
            Some((text, action)) => (text, Some(action)),
            None => (rest, None),
        };
        let trims = action.is_some_and(|action| action.starts_with('-') && action[1..].starts_with(BLANKS));
        let text = match escapes {
            Escapes::Meant => text.replace(r"\t", "\t").replace(r"\n", "\n"),
            Escapes::Literal => text.to_owned(),
        };
        let text = if trimmed { text.trim_start_matches(BLANKS) } else { &text };
        let text = if trims { text.trim_end_matches(BLANKS) } else { text };
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        let Some(action) = action else { return Ok(pieces) };
        let action = if trims { action[1..].trim_start_matches(BLANKS) } else { action };
        let end = match action.strip_prefix("/*") {
            Some(comment) => comment_end(comment)?,
            None => {
                let (tokens, end) = tokens(action)?;
                pieces.push(Piece::Action(tokens));
                end
            }
        };
        (rest, trimmed) = (end.rest, end.trims);
    }
}

/// What follows an action, and whether it takes the blanks behind it away.
struct End<'a> {
    rest: &'a str,
    trims: bool,
}

/// The end of an action, where it begins here.
fn end(text: &str) -> Option<End<'_>> {
    let bare = text.trim_start_matches(BLANKS);
    match bare.strip_prefix("-}}").filter(|_| bare.len() < text.len()) {
        Some(rest) => Some(End { rest, trims: true }),
        None => bare.strip_prefix("}}").map(|rest| End { rest, trims: false }),
    }
}

fn comment_end(comment: &str) -> Result<End<'_>> {
    let after = comment.split_once("*/").map(|(_, after)| after).ok_or_else(|| wrong("a comment has no */"))?;
    let direct = after.strip_prefix("}}").map(|rest| End { rest, trims: false });
    direct.or_else(|| end(after).filter(|end| end.trims)).ok_or_else(|| wrong("a comment ends with */}}"))
}

fn tokens(action: &str) -> Result<(Vec<Token>, End<'_>)> {
    let (mut tokens, mut rest) = (Vec::new(), action);
    loop {
        if let Some(end) = end(rest) {
            return Ok((tokens, end));
        }
        let bare = rest.trim_start_matches(BLANKS);
        let Some(first) = bare.chars().next() else { return Err(wrong("an action has no }}")) };
        let (word, length) = word(first, bare)?;
        tokens.push(Token { word, spaced: bare.len() < rest.len() });
        rest = &bare[length..];
    }
}

/// The word that this begins with, and its length in bytes.
fn word(first: char, text: &str) -> Result<(Word, usize)> {
    let after = &text[first.len_utf8()..];
    let next = after.chars().next().unwrap_or(' ');
    let name = name_length(after);
    Ok(match first {
        '.' if next.is_ascii_digit() => number(text)?,
        '.' if name > 0 => (Word::Field(after[..name].to_owned()), 1 + name),
        '.' => (Word::Dot, 1),
        '$' => (Word::Variable(text[..=name].to_owned()), 1 + name),
        '"' | '\'' => quoted(first, after)?,
        '`' => {
            let end = after.find('`').ok_or_else(|| wrong("a ` has no second one"))?;
            (Word::Literal(after[..end].into()), end + 2)
        }
        '|' => (Word::Pipe, 1),
        '(' => (Word::Open, 1),
        ')' => (Word::Close, 1),
        ',' => (Word::Comma, 1),
        '=' => (Word::Assign, 1),
        ':' if next == '=' => (Word::Declare, 2),
        '0'..='9' => number(text)?,
        '+' | '-' if next.is_ascii_digit() || next == '.' => number(text)?,
        _ if is_name(first) => {
            let length = name_length(text);
            (Word::Name(text[..length].to_owned()), length)
        }
        _ => return Err(wrong(format!("unexpected {first:?} in an action"))),
    })
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn name_length(text: &str) -> usize {
    text.find(|c: char| !is_name(c)).unwrap_or(text.len())
}

/// Go's numbers: `12`, `0x1f`, `0o17`, `017`, `0b1`, `1_000`, `1.5`, `1e3`.
fn number(text: &str) -> Result<(Word, usize)> {
    let mut length = 0;
    for (at, c) in text.char_indices() {
        let is_exponents = text[..at].ends_with(['e', 'E']) && !text.contains("0x");
        if is_name(c) || c == '.' || (matches!(c, '+' | '-') && (at == 0 || is_exponents)) {
            length = at + c.len_utf8();
        } else {
            break;
        }
    }
    let bad = || wrong(format!("bad number {:?}", &text[..length]));
    let plain = text[..length].replace('_', "").to_lowercase();
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let based = |prefix: &str, base| digits.strip_prefix(prefix).map(|digits| i64::from_str_radix(digits, base));
    let whole = based("0x", 16).or_else(|| based("0o", 8)).or_else(|| based("0b", 2));
    let whole = whole.or_else(|| based("0", 8).filter(Result::is_ok)).unwrap_or_else(|| digits.parse());
    let value = match whole {
        Ok(whole) => Value::from(whole.checked_mul(sign).ok_or_else(bad)?),
        Err(_) if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            Value::from(plain.parse::<f64>().ok().filter(|float| float.is_finite()).ok_or_else(bad)?)
        }
        Err(_) => return Err(bad()),
    };
    Ok((Word::Literal(value), length))
}

/// `"text"`, or `'c'`, which is the character's number. `after` is what follows the first quote.
fn quoted(quote: char, after: &str) -> Result<(Word, usize)> {
    let mut text = String::new();
    let mut chars = after.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\n' => break,
            '\\' => text.push(escaped(&mut chars).ok_or_else(|| wrong("a bad \\ in a string"))?),
            _ if c == quote && quote == '"' => return Ok((Word::Literal(text.into()), at + 2)),
            _ if c == quote => {
                let mut all = text.chars();
                let (Some(one), None) = (all.next(), all.next()) else { break };
                return Ok((Word::Literal(u32::from(one).into()), at + 2));
            }
            _ => text.push(c),
        }
    }
    Err(wrong(format!("a {quote} has no second one")))
}

/// What follows a backslash.
fn escaped(chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    let digits = |chars: &mut std::str::CharIndices<'_>, first: Option<char>, count: usize, base: u32| {
        let mut taken = first.into_iter().chain(chars.by_ref().map(|(_, c)| c)).take(count);
        taken.try_fold(0_u32, |sum, c| sum.checked_mul(base)?.checked_add(c.to_digit(base)?)).and_then(char::from_u32)
    };
    Some(match chars.next()?.1 {
        'x' => return digits(chars, None, 2, 16),
        'u' => return digits(chars, None, 4, 16),
        'U' => return digits(chars, None, 8, 16),
        first @ '0'..='7' => return digits(chars, Some(first), 3, 8),
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        c @ ('\\' | '\'' | '"') => c,
        _ => return None,
    })
}
