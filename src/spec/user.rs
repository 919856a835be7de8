//! `--user` and the image's USER, by the image's own passwd and group. Pure: never the host's files.

use crate::error::{Error, Result};
use oci_spec::runtime::User as OciUser;

/// The kernel takes more, but (uid_t)-1 means "unchanged" and many tools read ids as signed (moby/sys/user, maxID).
const MAX_ID: u32 = i32::MAX as u32;

/// Whom the process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups; the primary one is first, always: setgroups(2) replaces the caller's list whole.
    pub additional_gids: Vec<u32>,
    /// From passwd, where the user is there.
    pub home: Option<String>,
    pub name: Option<String>,
}

/// In a user namespace only so many ids are anybody.
pub fn check_ids(user: &OciUser, count: u64) -> Result<()> {
    let mut all = [user.uid(), user.gid()].into_iter().chain(user.additional_gids().iter().flatten().copied());
    match all.find(|id| u64::from(*id) >= count) {
        None => Ok(()),
        Some(id) => Err(Error::user(format!("{id} is none of the {count} ids that the container has"))
            .hint("choose another user, or run it with a larger --userns auto:size=N")),
    }
}

/// docker's rules (moby/sys/user, GetExecUser): `user` is `name`, `uid`, `name:group` or `uid:gid`, empty is root;
/// digits are always an id; without a group it is passwd's, and group's members count; `extra_groups` are added.
pub fn resolve(user: &str, passwd: Option<&str>, group: Option<&str>, extra_groups: &[String]) -> Result<User> {
    let (user_part, group_part) = user.split_once(':').unwrap_or((user, ""));
    let entry = find_user(if user_part.is_empty() { "0" } else { user_part }, passwd)?;
    let groups = group.unwrap_or("");
    let gid = match group_part {
        "" => entry.gid,
        group_part => find_group(group_part, groups)?,
    };
    let mut additional_gids = vec![gid];
    if let (Some(name), "") = (&entry.name, group_part) {
        additional_gids.extend(memberships(name, groups));
    }
    for extra in extra_groups {
        additional_gids.push(find_group(extra, groups)?);
    }
    let mut seen = std::collections::BTreeSet::new();
    additional_gids.retain(|gid| seen.insert(*gid));
    Ok(User { uid: entry.uid, gid, additional_gids, home: entry.home, name: entry.name })
}

/// A line of passwd, or a bare number.
struct Entry {
    name: Option<String>,
    uid: u32,
    gid: u32,
    home: Option<String>,
}

/// The first entry of that name or id; a number needs no entry, and its group is then 0.
fn find_user(user: &str, passwd: Option<&str>) -> Result<Entry> {
    let wanted_id = numeric("user", user)?;
    let line = passwd.unwrap_or("").lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
        let matches = match wanted_id {
            Some(id) => parse_id(uid) == Some(id),
            None => name == user,
        };
        matches.then_some((name, uid, gid, home))
    });
    match (line, wanted_id) {
        (Some((name, uid, gid, home)), _) => {
            let id = |text: &str| {
                parse_id(text).ok_or_else(|| {
                    Error::image(format!("user {name} in the image's /etc/passwd has the invalid id {text:?}"))
                })
            };
            let home = home.trim_end();
            Ok(Entry {
                uid: id(uid)?,
                gid: id(gid)?,
                name: Some(name.to_owned()),
                home: home.starts_with('/').then(|| home.to_owned()),
            })
        }
        (None, Some(uid)) => Ok(Entry { name: None, uid, gid: 0, home: None }),
        (None, None) if passwd.is_none() => {
            Err(Error::user(format!("unknown user {user}: the image has no /etc/passwd"))
                .hint("use a numeric id: --user 65532:65532"))
        }
        (None, None) => Err(Error::user(format!("unknown user {user}: not in the image's /etc/passwd"))
            .hint("use a name from there, or a numeric id: --user 65532:65532")),
    }
}

/// The id of a group by name or number; a number needs no entry.
fn find_group(group: &str, groups: &str) -> Result<u32> {
    if let Some(id) = numeric("group", group)? {
        return Ok(id);
    }
    let id = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1).and_then(parse_id))
    });
    match id {
        Some(Some(id)) => Ok(id),
        Some(None) => Err(Error::image(format!("group {group} in the image's /etc/group has an invalid id"))),
        None => Err(Error::user(format!("unknown group {group}: not in the image's /etc/group"))
            .hint("use a name from there, or a numeric id")),
    }
}

/// The groups that list this user as a member.
fn memberships(name: &str, groups: &str) -> Vec<u32> {
    let member = |line: &str| {
        let fields: Vec<&str> = line.trim_end().split(':').collect();
        let [_, _, gid, members, ..] = fields[..] else { return None };
        if members.split(',').any(|member| member == name) { parse_id(gid) } else { None }
    };
    groups.lines().filter_map(member).collect()
}

/// Digits are an id; what looks like a number and is none (`-1`, `+5`, `0x10`, too large) is refused, for one tool
/// would take it as another id than the next (CVE-2016-3697, CVE-2024-40635).
fn numeric(what: &str, text: &str) -> Result<Option<u32>> {
    let all_digits = text.bytes().all(|b| b.is_ascii_digit());
    let misleading = ["-", "+", "0x", "0X"].iter().any(|prefix| text.starts_with(prefix));
    if text.is_empty() || text.contains(['\0', '\n', '/']) || misleading {
        return Err(invalid(what, text));
    }
    if !all_digits {
        return Ok(None);
    }
    parse_id(text).map(Some).ok_or_else(|| invalid(what, text))
}

fn invalid(what: &str, text: &str) -> Error {
    Error::user(format!("invalid {what} {text:?}")).hint(format!("a name, or a number from 0 to {MAX_ID}"))
}

fn parse_id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id <= MAX_ID)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\nweb:x:33:34:Web:/var/www:/bin/false\n\
        evil:x:-1:0::/:/bin/sh\nhuge:x:4294967296:0::/:/bin/sh\n1000:x:7:7::/seven:\nrel:x:8:8::relative:\nweb:x:99:99::/:\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nssl:x:50:web,other\nlogs:x:51:other,web\nbad:x:0x33:\n";

    fn short(user: &str, extra: &[&str]) -> Result<String> {
        let extra: Vec<String> = extra.iter().map(|s| (*s).to_owned()).collect();
        let user = resolve(user, Some(PASSWD), Some(GROUP), &extra)?;
        let groups: Vec<String> = user.additional_gids.iter().map(u32::to_string).collect();
        Ok(format!("{}:{} [{}] {}", user.uid, user.gid, groups.join(" "), user.home.as_deref().unwrap_or("-")))
    }

    #[test]
    fn users_are_resolved_as_docker_does() {
        for (user, extra, want) in [
            ("", &[][..], "0:0 [0] /root"),
            ("root", &[], "0:0 [0] /root"),
            ("web", &[], "33:34 [34 50 51] /var/www"),
            ("33", &[], "33:34 [34 50 51] /var/www"),
            ("web:ssl", &[], "33:50 [50] /var/www"),
            ("web:77", &[], "33:77 [77] /var/www"),
            (":ssl", &[], "0:50 [50] /root"),
            ("65532", &[], "65532:0 [0] -"),
            ("65532:65532", &[], "65532:65532 [65532] -"),
            ("1000", &[], "1000:0 [0] -"),
            ("rel", &[], "8:8 [8] -"),
            ("web", &["logs", "1234", "34"], "33:34 [34 50 51 1234] /var/www"),
            ("2147483647", &[], "2147483647:0 [0] -"),
        ] {
            assert_eq!(short(user, extra).unwrap(), want, "{user:?}");
        }
    }

    #[test]
    fn what_is_no_user_is_refused() {
        for user in [
            "nobody",
            "-1",
            "+5",
            "0x10",
            "2147483648",
            "4294967296",
            "99999999999999999999",
            "evil",
            "huge",
            "web:no",
            "web:-1",
            "0:4294967295",
            "web:bad",
            "a/b",
            "web:ssl:x",
            "we\0b",
        ] {
            assert!(short(user, &[]).is_err(), "{user:?}");
        }
        assert!(short("web", &["nogroup"]).is_err());
    }

    #[test]
    fn an_unknown_user_names_the_file_and_the_way_out() {
        let error = resolve("nonroot", None, None, &[]).unwrap_err();
        assert_eq!((error.kind, error.exit_code()), (Kind::User, 125));
        assert!(error.message.contains("nonroot") && error.message.contains("/etc/passwd"), "{error}");
        assert!(error.hint.unwrap().contains("numeric id"));
        assert_eq!(resolve("", None, None, &[]).unwrap().uid, 0);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(user in ".{0,20}", passwd in ".{0,80}", group in ".{0,80}") {
            let _ = resolve(&user, Some(&passwd), Some(&group), &[]);
        }
    }
}
