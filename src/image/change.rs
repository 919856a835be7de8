//! `import --change`: a line of a Dockerfile that changes an image's configuration. Pure: text in, JSON out.

use crate::error::{Error, Result};
use serde_json::{Map, Value, json};

/// What can be changed.
const KNOWN: &str = "CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR";

/// The `config` of an image that is like these lines say.
pub(super) fn config(changes: &[String]) -> Result<Value> {
    let mut config = Map::new();
    changes.iter().try_for_each(|line| change(&mut config, line))?;
    Ok(Value::Object(config))
}

fn change(config: &mut Map<String, Value>, line: &str) -> Result<()> {
    let bad = |why: &str| Error::user(format!("invalid change {line:?}: {why}")).hint("--change 'VOLUME /data'");
    let (word, rest) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
    let rest = rest.trim();
    if rest.is_empty() {
        return Err(bad("it says nothing"));
    }
    let words = || words(rest).ok_or_else(|| bad("a quote is not closed"));
    let pairs = || pairs(rest, &words()?).ok_or_else(|| bad("it is KEY=VALUE"));
    let one = || json!(rest);
    let list = || exec_form(rest).map_or_else(words, Ok);
    match word.to_ascii_uppercase().as_str() {
        "CMD" => _ = config.insert("Cmd".to_owned(), command(rest)),
        "ENTRYPOINT" => _ = config.insert("Entrypoint".to_owned(), command(rest)),
        "USER" => _ = config.insert("User".to_owned(), one()),
        "WORKDIR" => _ = config.insert("WorkingDir".to_owned(), one()),
        "STOPSIGNAL" => _ = config.insert("StopSignal".to_owned(), one()),
        "ENV" => {
            let env = pairs()?.into_iter().map(|(key, value)| json!(format!("{key}={value}")));
            let all = config.entry("Env").or_insert_with(|| json!([]));
            all.as_array_mut().into_iter().for_each(|all| all.extend(env.clone()));
        }
        "LABEL" => insert(config, "Labels", pairs()?.into_iter().map(|(key, value)| (key, json!(value)))),
        "VOLUME" => insert(config, "Volumes", list()?.into_iter().map(|path| (path, json!({})))),
        "EXPOSE" => {
            let port = |port: String| if port.contains('/') { port } else { format!("{port}/tcp") };
            insert(config, "ExposedPorts", words()?.into_iter().map(|word| (port(word), json!({}))));
        }
        _ => return Err(bad("it cannot be changed").hint(format!("{KNOWN} can be changed"))),
    }
    Ok(())
}

fn insert(config: &mut Map<String, Value>, key: &str, members: impl Iterator<Item = (String, Value)>) {
    let all = config.entry(key).or_insert_with(|| json!({}));
    if let Some(all) = all.as_object_mut() {
        all.extend(members);
    }
}

/// `["a", "b"]` is that command; anything else is a line for the image's shell.
fn command(rest: &str) -> Value {
    json!(exec_form(rest).unwrap_or_else(|| ["/bin/sh", "-c", rest].map(str::to_owned).to_vec()))
}

fn exec_form(rest: &str) -> Option<Vec<String>> {
    serde_json::from_str(rest).ok()
}

/// `A=1 B=2`, or the old `A 1 and all behind`; `None` where a word has no value.
fn pairs(rest: &str, words: &[String]) -> Option<Vec<(String, String)>> {
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    if words.first().is_some_and(|word| !word.contains('=')) {
        return Some(vec![owned(rest.split_once(char::is_whitespace)?)]);
    }
    words.iter().map(|word| word.split_once('=').map(owned)).collect()
}

/// Words as a shell has them, without anything but quotes and `\`; `None` where a quote is not closed.
fn words(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote, mut chars) = (Vec::new(), None::<String>, None, text.chars());
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().push(chars.next()?),
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_dockerfile_become_a_configuration() {
        for (lines, want) in [
            (&["CMD [\"a\", \"b c\"]"][..], json!({ "Cmd": ["a", "b c"] })),
            (&["cmd a | b"], json!({ "Cmd": ["/bin/sh", "-c", "a | b"] })),
            (&["ENTRYPOINT [\"/init\"]", "USER web:web"], json!({ "Entrypoint": ["/init"], "User": "web:web" })),
            (&["ENV A=1 B='2 3'", "ENV C 4 5"], json!({ "Env": ["A=1", "B=2 3", "C=4 5"] })),
            (&["EXPOSE 80 53/udp"], json!({ "ExposedPorts": { "80/tcp": {}, "53/udp": {} } })),
            (&["VOLUME /a /b", "VOLUME [\"/c d\"]"], json!({ "Volumes": { "/a": {}, "/b": {}, "/c d": {} } })),
            (&["LABEL a=\"b c\" d=e"], json!({ "Labels": { "a": "b c", "d": "e" } })),
            (&["WORKDIR /srv", "STOPSIGNAL SIGINT"], json!({ "WorkingDir": "/srv", "StopSignal": "SIGINT" })),
            (&[], json!({})),
        ] {
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            assert_eq!(config(&lines).unwrap(), want, "{lines:?}");
        }
    }

    #[test]
    fn mistakes_are_refused() {
        for line in ["", "VOLUME", "RUN true", "ENV A", "LABEL 'a=b", "ENV A=1 B"] {
            let error = config(&[line.to_owned()]).unwrap_err();
            assert!(error.message.contains(&format!("{line:?}")) && error.hint.is_some(), "{error}");
        }
    }
}
