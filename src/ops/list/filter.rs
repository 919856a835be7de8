//! `--filter KEY=VALUE` as docker has it: of one key any value will do, of labels all must; all keys must. Of several
//! `label!=` each keeps what has it (with docker, what has them all). Pure.

use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;

/// One `--filter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ops) struct Filter {
    pub key: String,
    pub value: String,
}

/// Every filter in its two parts; `known` are the keys that there are.
pub(in crate::ops) fn parse(words: &[String], known: &[&str]) -> Result<Vec<Filter>> {
    let parse = |word: &String| {
        let wrong = |what: &str| {
            Error::new(Kind::Usage, format!("{what} {word:?}")).hint(format!("there are {}", known.join(", ")))
        };
        let (key, value) = word.split_once('=').ok_or_else(|| wrong("a filter is KEY=VALUE, not"))?;
        let (key, value) = (key.trim().to_lowercase(), value.trim().to_owned());
        if !known.contains(&key.as_str()) {
            return Err(wrong("unknown filter"));
        }
        if TRUTHS.contains(&key.as_str()) && !["true", "1", "false", "0"].contains(&value.as_str()) {
            return Err(Error::new(Kind::Usage, format!("invalid {key} {value:?}")).hint("it is true or false"));
        }
        Ok(Filter { key, value })
    };
    words.iter().map(parse).collect()
}

/// What is true or false.
const TRUTHS: [&str; 2] = ["dangling", "all"];

impl Filter {
    pub(in crate::ops) fn is_true(&self) -> bool {
        matches!(self.value.as_str(), "true" | "1")
    }
}

/// Whether a thing passes all filters, each of which `matches` or not.
pub(in crate::ops) fn passes(filters: &[Filter], matches: impl Fn(&Filter) -> bool) -> bool {
    let all_of = |key: &str| filters.iter().filter(move |filter| filter.key == key).collect::<Vec<_>>();
    filters.iter().all(|filter| match filter.key.as_str() {
        "label" | "label!" => matches(filter),
        key => all_of(key).into_iter().any(&matches),
    })
}

/// `label=KEY` and `label=KEY=VALUE`.
pub(in crate::ops) fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => labels.contains_key(wanted),
    }
}

/// docker's names are regular expressions; of these there are `^` and `$`, which tools send, and no others.
pub(in crate::ops) fn name_matches(name: &str, wanted: &str) -> bool {
    let (start, wanted) = wanted.strip_prefix('^').map_or((false, wanted), |rest| (true, rest));
    let (end, wanted) = wanted.strip_suffix('$').map_or((false, wanted), |rest| (true, rest));
    let wanted = wanted.strip_prefix('/').unwrap_or(wanted);
    match (start, end) {
        (true, true) => name == wanted,
        (true, false) => name.starts_with(wanted),
        (false, true) => name.ends_with(wanted),
        (false, false) => name.contains(wanted),
    }
}

/// A pattern of Go's path.Match without character classes: `*` and `?` are anything but a slash.
pub(in crate::ops) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // where the last `*` was, and how much of the text it has taken
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == text[t] || (*c == '?' && text[t] != '/') => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) if text[taken] != '/' => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                _ => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filters(words: &[&str]) -> Vec<Filter> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        parse(&words, &["name", "label", "label!"]).unwrap()
    }

    #[test]
    fn one_value_of_a_key_will_do_but_every_label_must_match() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]);
        let matches = |filter: &Filter| match filter.key.as_str() {
            "name" => name_matches("web-1", &filter.value),
            "label!" => !has_label(&labels, &filter.value),
            _ => has_label(&labels, &filter.value),
        };
        for (words, want) in [
            (&[][..], true),
            (&["name=web"], true),
            (&["name=db", "name=web"], true),
            (&["name=db"], false),
            (&["name=web", "label=c"], false),
            (&["label=a", "label=b"], true),
            (&["label=a=1", "label=b="], true),
            (&["label=a", "label=c"], false),
            (&["label=a=2"], false),
            (&["label!=c", "label!=a=2"], true),
            (&["label!=c", "label!=a"], false),
        ] {
            assert_eq!(passes(&filters(words), matches), want, "{words:?}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for word in ["name", "colour=red", ""] {
            let error = parse(&[word.to_owned()], &["name", "label"]).unwrap_err();
            assert_eq!(error.hint.as_deref(), Some("there are name, label"));
        }
    }

    #[test]
    fn names_match_anywhere_unless_they_are_anchored() {
        for (wanted, want) in [
            ("eb", true),
            ("^web", true),
            ("^eb", false),
            ("b$", true),
            ("^web$", true),
            ("^/web$", true),
            ("^we$", false),
        ] {
            assert_eq!(name_matches("web", wanted), want, "{wanted}");
        }
    }

    #[test]
    fn patterns_stop_at_slashes() {
        for (pattern, text, want) in [
            ("busy*", "busybox", true),
            ("busy*:lat*", "busybox:latest", true),
            ("b?sybox", "busybox", true),
            ("*", "team/app", false),
            ("*/*", "team/app", true),
            ("team/*", "team/app:1", true),
            ("*box", "busybox:1", false),
            ("", "", true),
            ("a", "ab", false),
        ] {
            assert_eq!(glob(pattern, text), want, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_star_more_still_matches(text in "[a-c]{0,12}", at in 0_usize..12) {
            prop_assert!(glob(&text, &text));
            let at = at.min(text.len());
            let with_star = format!("{}*{}", &text[..at], &text[at..]);
            prop_assert!(glob(&with_star, &text));
        }
    }
}
