//! Reads Rust text as far as the tests about our own source need it: comments, strings and unit tests blanked out, and
//! every path that is named. No parser: what it does not understand it skips.

use std::collections::BTreeMap;
use std::path::Path;

/// A file of src/: `module` is its path without `crate::`, such as `net::plan`, or `lib` and `main`.
#[derive(Debug)]
pub struct Source {
    pub path: String,
    pub module: String,
    /// The text with comments, strings and unit tests blanked out; lines are those of the file.
    pub code: String,
}

/// A path as it is named somewhere; what is ours begins with `crate::`, with `self`, `super` and `minirun` resolved.
#[derive(Debug, PartialEq, Eq)]
pub struct Name {
    pub path: String,
    pub line: usize,
    /// Whether it stands in a `pub use`, however narrow its `pub` is.
    pub exported: bool,
}

/// Every file of src/ that goes into the binary, sorted by path.
pub fn production_files() -> Vec<Source> {
    rust_files("src")
        .iter()
        .filter(|path| !path.ends_with("/tests.rs") && !path.contains("/tests/"))
        .map(|path| Source::new(path, &read(path)))
        .collect()
}

/// The .rs files below a directory of the repository, by their paths in it, sorted.
pub fn rust_files(dir: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(repository().join(&dir)).unwrap().map(Result::unwrap) {
            let path = format!("{dir}/{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                pending.push(path);
            } else if path.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A file of the repository.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
        let module = inside.trim_end_matches("/mod").replace('/', "::");
        Source { path: path.to_owned(), module, code: without_unit_tests(&blank(text)) }
    }

    /// Every path of two segments or more, and every imported name.
    pub fn names(&self) -> Vec<Name> {
        let tokens = tokens(&self.code);
        let (mut names, mut imported) = (Vec::new(), BTreeMap::new());
        let mut at = 0;
        while at < tokens.len() {
            let (token, line) = tokens[at];
            let captured = tokens.get(at + 1).is_some_and(|t| t.0 == "<"); // `impl Fn() + use<'a>`
            if token == "use" && !captured {
                let exported = at > 0 && matches!(tokens[at - 1].0, "pub" | ")");
                let mut paths = Vec::new();
                at = use_tree(&tokens, at + 1, "", &mut paths);
                for Import { path, alias, line } in paths {
                    let path = self.resolve(&path);
                    imported.insert(alias.unwrap_or_else(|| last(&path).to_owned()), path.clone());
                    names.push(Name { path, line, exported });
                }
            } else if is_word(token) {
                let (path, next) = inline_path(&tokens, at);
                if path.contains("::") {
                    names.push(Name { path: self.resolve(&path), line, exported: false });
                }
                at = next;
            } else {
                at += 1;
            }
        }
        // `mount::apply` after `use crate::mount` is crate::mount::apply; a file may import below its first use
        for name in names.iter_mut().filter(|name| !name.path.starts_with("crate::")) {
            if let Some((first, rest)) = name.path.split_once("::")
                && let Some(whole) = imported.get(first)
            {
                name.path = format!("{whole}::{rest}");
            }
        }
        names
    }

    fn resolve(&self, path: &str) -> String {
        let mut here: Vec<&str> = self.module.split("::").filter(|m| !matches!(*m, "lib" | "main")).collect();
        let mut rest: Vec<&str> = path.split("::").collect();
        match rest[0] {
            "minirun" => rest[0] = "crate",
            "self" | "super" => {
                while matches!(rest.first(), Some(&"self" | &"super")) {
                    if rest.remove(0) == "super" {
                        here.pop();
                    }
                }
                rest.splice(0..0, here);
                rest.insert(0, "crate");
            }
            _ => {}
        }
        rest.join("::")
    }
}

/// Reads the tree after `use`, up to `;`, `,` or `}`; gives the position after it.
fn use_tree(tokens: &[(&str, usize)], mut at: usize, prefix: &str, paths: &mut Vec<Import>) -> usize {
    let mut path = prefix.to_owned();
    let mut alias = None;
    let line = tokens.get(at).map_or(0, |t| t.1);
    while let Some((token, _)) = tokens.get(at) {
        match *token {
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|t| !matches!(t.0, "}" | ";")) {
                    at = use_tree(tokens, at, &path, paths);
                    at += usize::from(tokens.get(at).is_some_and(|t| t.0 == ","));
                }
                return at + 1;
            }
            ";" | "," | "}" => break,
            "as" => {
                at += 1;
                alias = tokens.get(at).map(|t| t.0.to_owned());
            }
            "::" if path.is_empty() => {}
            "self" if !path.is_empty() => {} // `a::{self}` is `a`
            word => path.push_str(word),
        }
        at += 1;
    }
    paths.push(Import { path: path.trim_end_matches("::").to_owned(), alias, line });
    at
}

/// One name that a `use` brings.
struct Import {
    path: String,
    alias: Option<String>,
    line: usize,
}

fn last(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

fn inline_path(tokens: &[(&str, usize)], mut at: usize) -> (String, usize) {
    let mut path = tokens[at].0.to_owned();
    while tokens.get(at + 1).is_some_and(|t| t.0 == "::") && tokens.get(at + 2).is_some_and(|t| is_word(t.0)) {
        path = format!("{path}::{}", tokens[at + 2].0);
        at += 2;
    }
    (path, at + 1)
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// Words, `::`, and single characters, each with its line (from 1).
fn tokens(code: &str) -> Vec<(&str, usize)> {
    let mut tokens = Vec::new();
    for (line, mut text) in code.lines().enumerate() {
        loop {
            text = text.trim_start();
            let Some(first) = text.chars().next() else { break };
            let word = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
            let length = match word {
                0 if text.starts_with("::") => 2,
                0 => first.len_utf8(),
                length => length,
            };
            tokens.push((&text[..length], line + 1));
            text = &text[length..];
        }
    }
    tokens
}

/// The text with the inside of comments, strings and character literals replaced by blanks.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after_word = out.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let hidden = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment_length(rest),
            '"' => string_length(rest),
            'r' | 'b' | 'c' if !after_word => raw_string_length(rest).unwrap_or(0),
            '\'' => char_length(rest).unwrap_or(0),
            _ => 0,
        };
        let taken = hidden.max(c.len_utf8());
        if hidden == 0 {
            out.push(c);
        } else {
            out.extend(rest[..taken].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        rest = &rest[taken..];
    }
    out
}

/// Length of a block comment; they nest.
fn comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return at + 1,
            _ => escaped = byte == b'\\' && !escaped,
        }
    }
    text.len()
}

/// `r"…"`, `br#"…"#` and their like; `None` where none begins here.
fn raw_string_length(text: &str) -> Option<usize> {
    let body = text.trim_start_matches(['b', 'c']).strip_prefix('r')?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    body[hashes..].strip_prefix('"')?;
    let start = text.len() - body.len() + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(text[start..].find(&end).map_or(text.len(), |at| start + at + end.len()))
}

/// `'x'` or `'\…'`; `None` for a lifetime.
fn char_length(text: &str) -> Option<usize> {
    let body = &text[1..];
    if body.starts_with('\\') {
        return body[2..].find('\'').map(|at| at + 4);
    }
    let c = body.chars().next()?;
    body[c.len_utf8()..].starts_with('\'').then_some(c.len_utf8() + 2)
}

/// Blanks out every item under `#[cfg(test)]`; wants blanked text.
fn without_unit_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        out.push_str(&rest[..at]);
        let item = &rest[at..];
        let end = item_length(item);
        out.extend(item[..end].chars().filter(|c| *c == '\n'));
        rest = &item[end..];
    }
    out + rest
}

/// Up to the item's closing brace, or its semicolon where it has none.
fn item_length(item: &str) -> usize {
    let mut depth = 0;
    for (at, c) in item.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

#[test]
fn names_are_found_where_they_stand() {
    let text = "use crate::{a::{self, b as c}, d};\n\n// crate::no\nfn f() { super::g::h() }";
    let name = |path: &str, line, exported| Name { path: path.to_owned(), line, exported };
    let expected = [("crate::a", 1), ("crate::a::b", 1), ("crate::d", 1), ("crate::x::g::h", 4)];
    let found = Source::new("src/x/y.rs", text).names();
    let found: Vec<_> = found.into_iter().filter(|n| n.path != "f").collect();
    assert_eq!(found, expected.map(|(path, line)| name(path, line, false)));
}

#[test]
fn production_code_ends_where_the_unit_tests_begin() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { \"}\"; }\n}\nfn c() {}\n";
    let code = Source::new("src/x.rs", text).code;
    assert!(code.contains("fn a") && code.contains("fn c") && !code.contains("fn b"), "{code}");
    assert_eq!(code.lines().count(), 6);
}
