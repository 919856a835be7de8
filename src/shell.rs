//! A deed as the shell line that does the same: what `--explain` prints. Pure text.

use std::fmt;

/// The shell face of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shell {
    /// A line for bash that does the same with the usual tools.
    Line(String),
    /// No tool can do it; the text says what is done instead of saying how.
    NoTool(String),
}

impl Shell {
    pub fn line(text: impl Into<String>) -> Shell {
        Shell::Line(text.into())
    }
    pub fn no_tool(text: impl Into<String>) -> Shell {
        Shell::NoTool(text.into())
    }

    /// What was being done, in front of the error that came of it.
    pub fn doing(&self) -> String {
        match self {
            Shell::Line(line) => line.clone(),
            Shell::NoTool(what) => format!("the step \"{what}\" failed"),
        }
    }
}

impl fmt::Display for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shell::Line(line) => f.write_str(line),
            Shell::NoTool(what) => write!(f, "# no shell tool: {what}"),
        }
    }
}

/// Quotes a word for bash where it needs it; plain words stay as they are.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,=@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Several words, each quoted, with blanks between.
pub fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_without_a_tool_is_told_in_words() {
        assert_eq!(Shell::line("ip link set x up").doing(), "ip link set x up");
        let step = Shell::no_tool("the filter is loaded (seccomp(2))");
        assert_eq!(step.doing(), "the step \"the filter is loaded (seccomp(2))\" failed");
    }

    #[test]
    fn only_what_needs_it_is_quoted() {
        for (word, want) in [("a-b/c", "a-b/c"), ("", "''"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("$x", "'$x'")] {
            assert_eq!(quote(word), want);
        }
    }
}
