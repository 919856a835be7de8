//! `import --change`, `commit --change`: a line of a Dockerfile that changes an image's configuration. Pure.

use crate::error::{Error, Result};
use crate::id::clean;
use oci_spec::image::Config;
use std::collections::HashMap;

/// Changes the configuration as `INSTRUCTION words` says.
pub fn apply(config: &mut Config, line: &str) -> Result<()> {
    changed(config, line).map_err(|e| e.during(format!("--change {line:?}")).hint(TAKES))
}

const TAKES: &str =
    "it takes CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR, as a Dockerfile does";

fn changed(config: &mut Config, line: &str) -> Result<()> {
    let (instruction, rest) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
    let rest = rest.trim();
    if rest.is_empty() {
        return Err(Error::user("an instruction and its words are needed"));
    }
    match instruction.to_ascii_uppercase().as_str() {
        "CMD" => drop(config.set_cmd(Some(command(rest)))),
        "ENTRYPOINT" => {
            config.set_entrypoint(Some(command(rest)));
        }
        "ENV" => {
            let mut env = config.env().clone().unwrap_or_default();
            for (key, value) in pairs(rest)? {
                set_variable(&mut env, &format!("{key}={value}"));
            }
            config.set_env(Some(env));
        }
        "LABEL" => {
            let mut labels: HashMap<String, String> = config.labels().clone().unwrap_or_default();
            labels.extend(pairs(rest)?);
            config.set_labels(Some(labels));
        }
        "EXPOSE" => {
            let mut ports = config.exposed_ports().clone().unwrap_or_default();
            for word in words(rest)? {
                let port = if word.contains('/') { word } else { format!("{word}/tcp") };
                let number = port.split_once('/').and_then(|(number, _)| number.parse::<u16>().ok());
                number.filter(|number| *number > 0).ok_or_else(|| Error::user(format!("{port} is no port")))?;
                if !ports.contains(&port) {
                    ports.push(port);
                }
            }
            config.set_exposed_ports(Some(ports));
        }
        "VOLUME" => {
            let mut volumes = config.volumes().clone().unwrap_or_default();
            for dir in list(rest).map_or_else(|| words(rest), Ok)? {
                if !volumes.contains(&dir) {
                    volumes.push(dir);
                }
            }
            config.set_volumes(Some(volumes));
        }
        "USER" => drop(config.set_user(Some(rest.to_owned()))),
        "STOPSIGNAL" => {
            let known = crate::sys::process::parse_signal(rest).is_some();
            known.then_some(()).ok_or_else(|| Error::user(format!("{rest} is no signal")))?;
            config.set_stop_signal(Some(rest.to_owned()));
        }
        "WORKDIR" => {
            let before = config.working_dir().clone().unwrap_or_default();
            let dir = if rest.starts_with('/') { rest.to_owned() } else { format!("{before}/{rest}") };
            config.set_working_dir(Some(clean(&dir)));
        }
        other => return Err(Error::user(format!("{other} cannot be changed"))),
    }
    Ok(())
}

/// Sets a variable in place of one of the same name; `KEY` alone removes it.
pub fn set_variable(env: &mut Vec<String>, word: &str) {
    let key = word.split_once('=').map_or(word, |(key, _)| key);
    let same = |other: &String| other.split_once('=').map_or(other.as_str(), |(key, _)| key) == key;
    match (env.iter().position(same), word.contains('=')) {
        (Some(at), true) => word.clone_into(&mut env[at]),
        (Some(at), false) => drop(env.remove(at)),
        (None, true) => env.push(word.to_owned()),
        (None, false) => {}
    }
}

/// A JSON list, or else a line for the shell.
fn command(text: &str) -> Vec<String> {
    list(text).unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
}

fn list(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

/// `KEY=VALUE …`, or the old form `KEY VALUE`.
fn pairs(text: &str) -> Result<Vec<(String, String)>> {
    let words = words(text)?;
    if !words.first().is_some_and(|first| first.contains('=')) {
        let (key, value) =
            text.split_once(char::is_whitespace).ok_or_else(|| Error::user(format!("{text} has no value")))?;
        return Ok(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: String| {
        let (key, value) = word.split_once('=').ok_or_else(|| Error::user(format!("{word} has no value")))?;
        match key.is_empty() {
            true => Err(Error::user("a name is missing")),
            false => Ok((key.to_owned(), value.to_owned())),
        }
    };
    words.into_iter().map(pair).collect()
}

/// Words as a shell takes them apart: quotes and backslashes.
fn words(text: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = text.chars();
    while let Some(c) = letters.next() {
        match (quote, c) {
            (Some(end), _) if c == end => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(letters.next()),
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    match quote {
        None => Ok(words),
        Some(end) => Err(Error::user(format!("the quote {end} does not end"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_instruction_changes_its_part() {
        let mut config = Config::default();
        for line in [
            r#"CMD ["httpd", "-f"]"#,
            "ENTRYPOINT exec top -b",
            "ENV A=1 B=\"two words\" A=3",
            "env C three words",
            "EXPOSE 80 53/udp 80",
            r#"LABEL "a b"=c d=e\ f"#,
            "USER 1000:1000",
            r#"VOLUME ["/data"]"#,
            "VOLUME /more /data",
            "WORKDIR /srv",
            "WORKDIR a/../b",
            "STOPSIGNAL SIGINT",
        ] {
            apply(&mut config, line).unwrap();
        }
        let text = serde_json::to_value(&config).unwrap();
        assert_eq!(text["Cmd"], serde_json::json!(["httpd", "-f"]));
        assert_eq!(text["Entrypoint"], serde_json::json!(["/bin/sh", "-c", "exec top -b"]));
        assert_eq!(text["Env"], serde_json::json!(["A=3", "B=two words", "C=three words"]));
        assert_eq!(text["ExposedPorts"], serde_json::json!({ "80/tcp": {}, "53/udp": {} }));
        assert_eq!(text["Labels"], serde_json::json!({ "a b": "c", "d": "e f" }));
        assert_eq!(text["Volumes"], serde_json::json!({ "/data": {}, "/more": {} }));
        assert_eq!((&text["User"], &text["WorkingDir"]), (&"1000:1000".into(), &"/srv/b".into()));
        assert_eq!(text["StopSignal"], "SIGINT");
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (line, word) in [
            ("RUN rm x", "RUN cannot be changed"),
            ("CMD", "words are needed"),
            ("ENV A", "has no value"),
            ("ENV A=\"x", "does not end"),
            ("EXPOSE http", "is no port"),
            ("STOPSIGNAL never", "is no signal"),
        ] {
            let error = apply(&mut Config::default(), line).unwrap_err();
            assert!(error.message.contains(word) && error.hint.is_some(), "{line}: {error}");
        }
    }
}
