//! `-e` and `--env-file`, and how their values and the image's become one environment. Pure: the caller's
//! environment comes as a function.

use crate::error::{Error, Result};

/// What docker gives a container whose image sets no PATH (moby, oci/defaults.go).
pub const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `-e KEY=VALUE`, or `-e KEY` for the caller's value; `KEY` alone comes back where the caller has none, and
/// removes what the image sets.
pub fn parse(text: &str, caller: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    let key = text.split_once('=').map_or(text, |(key, _)| key);
    if key.is_empty() || text.contains('\0') {
        return Err(Error::user(format!("invalid environment variable {text:?}")).hint("-e takes KEY=VALUE or KEY"));
    }
    if text.contains('=') {
        return Ok(text.to_owned());
    }
    Ok(caller(key).map_or_else(|| text.to_owned(), |value| format!("{key}={value}")))
}

/// `--env-file`: a variable a line; blank lines and lines that begin with `#` do not count; no quotes, no
/// expansion; the key has no blanks; `KEY` alone is the caller's value, and nothing where the caller has none
/// (docker/cli, opts/file.go).
pub fn parse_file(content: &str, caller: &dyn Fn(&str) -> Option<String>) -> Result<Vec<String>> {
    let content = content.strip_prefix('\u{feff}').unwrap_or(content);
    let mut variables = Vec::new();
    for (index, line) in content.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = line.split_once('=').map_or(line, |(key, _)| key);
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(Error::user(format!("line {} of the environment file: invalid key {key:?}", index + 1))
                .hint("a line is KEY=VALUE, without blanks around ="));
        }
        let variable = parse(line, caller)?;
        if variable.contains('=') {
            variables.push(variable);
        }
    }
    Ok(variables)
}

/// Sets each `KEY=VALUE` in place where the key is there already, else at the end; `KEY` alone removes it.
/// A text without a key is left out: an image can hold anything.
pub(super) fn merge(base: &mut Vec<String>, changes: &[String]) {
    for change in changes {
        let (key, sets) = change.split_once('=').map_or((change.as_str(), false), |(key, _)| (key, true));
        let same = |variable: &String| variable.split_once('=').is_some_and(|(other, _)| other == key);
        match base.iter().position(same) {
            Some(at) if sets => base[at].clone_from(change),
            Some(at) => drop(base.remove(at)),
            None if sets && !key.is_empty() => base.push(change.clone()),
            None => {}
        }
    }
}

/// The value of `key`, if it is set.
pub fn value<'a>(environment: &'a [String], key: &str) -> Option<&'a str> {
    environment.iter().find_map(|variable| variable.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(key: &str) -> Option<String> {
        (key == "HERE").then(|| "yes".to_owned())
    }

    #[test]
    fn a_key_alone_is_the_callers_value() {
        for (text, want) in [
            ("A=1", Some("A=1")),
            ("A=", Some("A=")),
            ("A=b=c", Some("A=b=c")),
            ("HERE", Some("HERE=yes")),
            ("NOWHERE", Some("NOWHERE")),
            ("=x", None),
            ("", None),
            ("A\0=1", None),
        ] {
            assert_eq!(parse(text, &caller).ok().as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn an_environment_file_is_read_as_docker_does() {
        let file = "\u{feff}# comment\n\n  A=1 \nB=\"quoted\"\r\nHERE\nNOWHERE\nC=# no comment\n";
        assert_eq!(parse_file(file, &caller).unwrap(), ["A=1 ", "B=\"quoted\"", "HERE=yes", "C=# no comment"]);
        for bad in ["A B=1", "=1", "A =1"] {
            assert!(parse_file(bad, &caller).unwrap_err().message.contains("line 1"), "{bad:?}");
        }
    }

    #[test]
    fn later_values_replace_earlier_ones_in_place() {
        let mut environment = vec!["PATH=/bin".to_owned(), "A=1".to_owned()];
        let changes = ["A=2", "B=3", "PATH", "C", "=x", ""].map(str::to_owned);
        merge(&mut environment, &changes);
        assert_eq!(environment, ["A=2", "B=3"]);
        assert_eq!((value(&environment, "B"), value(&environment, "PATH")), (Some("3"), None));
    }
}
