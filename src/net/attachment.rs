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
            .hint("--network NAME[:ip=ADDRESS,ip6=ADDRESS,mac=ADDRESS,subnet=NET]")
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
            "alias" => {
                return Err(bad("names of containers are not resolved yet".to_owned())
                    .hint("--add-host NAME:ADDRESS, with an address that --ip gives"));
            }
            _ => return Err(bad(format!("there is no {key:?}"))),
        }
    }
    Ok(wanted)
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
        assert_eq!((podman.addresses.len(), podman.mac.is_some(), podman.subnet.is_some()), (2, true, true));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (word, part) in [
            ("web:ip=fd00::9", "invalid address"),
            ("web:ip", "is no KEY=VALUE"),
            ("web:colour=red", "there is no \"colour\""),
            ("web:alias=db", "not resolved yet"),
            ("web:subnet=10", "is no subnet"),
            ("-x", "invalid name"),
        ] {
            let error = parse(word).unwrap_err();
            assert!(error.message.contains(part) && error.hint.is_some(), "{word}: {error}");
        }
    }
}
