//! `--network NAME[:KEY=VALUE,…]`: what a container wants of one network. Pure text to data.

use super::names::Mac;
use super::network::Attachment;
use crate::error::{Error, Result};
use crate::id::Name;
use std::net::IpAddr;

/// `NAME`, podman's `NAME:ip=…,mac=…`, or docker's `name=NAME,ip=…,mac-address=…`.
pub fn parse(word: &str) -> Result<Attachment> {
    let bad = |why: String| {
        Error::user(format!("invalid --network {word:?}: {why}"))
            .hint("--network NAME[:ip=ADDRESS,ip6=ADDRESS,mac=ADDRESS,subnet=NET,alias=NAME]")
    };
    let (name, options) = match (word.strip_prefix("name="), word.split_once(':')) {
        (Some(rest), _) => rest.split_once(',').unwrap_or((rest, "")),
        (None, Some(parts)) => parts,
        (None, None) => (word, ""),
    };
    let mut wanted = Attachment::any(Name::parse(name)?);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').ok_or_else(|| bad(format!("{option:?} is no KEY=VALUE")))?;
        match key {
            "ip" => wanted.addresses.push(address(value, true)?),
            "ip6" => wanted.addresses.push(address(value, false)?),
            "mac" | "mac-address" => wanted.mac = Some(Mac::parse(value)?),
            "subnet" => {
                let net = value.parse().map_err(|_| bad(format!("{value:?} is no subnet like 10.1.0.0/24")))?;
                wanted.subnet = Some(net);
            }
            "alias" => wanted.names.push(alias(value)?),
            _ => return Err(bad(format!("there is no {key:?}"))),
        }
    }
    Ok(wanted)
}

/// The word that says the same; names come with it, but for the container's own.
pub fn word(wanted: &Attachment) -> String {
    let address = |ip: &IpAddr| format!("{}={ip}", if ip.is_ipv4() { "ip" } else { "ip6" });
    let mut options: Vec<String> = wanted.addresses.iter().map(address).collect();
    options.extend(wanted.subnet.map(|net| format!("subnet={net}")));
    options.extend(wanted.mac.map(|mac| format!("mac={mac}")));
    options.extend(wanted.names.iter().map(|name| format!("alias={name}")));
    match options.is_empty() {
        true => wanted.network.to_string(),
        false => format!("{}:{}", wanted.network, options.join(",")),
    }
}

/// What the others of a network may call a container: letters, digits, `-`, `_` and dots between them, as in the DNS.
pub fn alias(word: &str) -> Result<String> {
    let part = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        (1..=63).contains(&part.len()) && part.chars().all(plain)
    };
    match word.len() <= 200 && word.split('.').all(part) {
        true => Ok(word.to_owned()),
        false => Err(Error::user(format!("invalid alias {word:?}")).hint("letters, digits, `-` and `_`, as in db-1")),
    }
}

/// An address of one family.
pub fn address(text: &str, v4: bool) -> Result<IpAddr> {
    let example = if v4 { "172.18.0.9" } else { "fd00::9" };
    match text.parse::<IpAddr>() {
        Ok(address) if address.is_ipv4() == v4 => Ok(address),
        _ => Err(Error::user(format!("invalid address {text:?}")).hint(format!("it takes one like {example}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_and_podmans_words_say_the_same() {
        let plain = parse("web").unwrap();
        assert_eq!((plain.network.as_str(), &plain), ("web", &parse("name=web").unwrap()));
        let podman = parse("web:ip=10.0.0.9,ip6=fd00::9,mac=02:6d:00:00:00:01,subnet=10.0.0.0/24").unwrap();
        let docker =
            parse("name=web,ip=10.0.0.9,ip6=fd00::9,mac-address=02:6d:00:00:00:01,subnet=10.0.0.0/24").unwrap();
        assert_eq!(podman, docker);
        assert_eq!((parse(&word(&podman)).unwrap(), word(&plain)), (podman.clone(), "web".to_owned()));
        assert_eq!((podman.addresses.len(), podman.mac.is_some(), podman.subnet.is_some()), (2, true, true));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (word, part) in [
            ("web:ip=fd00::9", "invalid address"),
            ("web:ip", "is no KEY=VALUE"),
            ("web:colour=red", "there is no \"colour\""),
            ("web:alias=a b", "invalid alias"),
            ("web:alias=a..b", "invalid alias"),
            ("web:subnet=10", "is no subnet"),
            ("-x", "invalid name"),
        ] {
            let error = parse(word).unwrap_err();
            assert!(error.message.contains(part) && error.hint.is_some(), "{word}: {error}");
        }
    }
}
