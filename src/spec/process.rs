//! The process that runs: its words, environment, directory, user and limits, by docker's rules. Pure.

use super::request::{INIT_PATH, NamespaceMode, NetworkNamespace, RunRequest};
use super::ulimit::{self, Ulimit};
use super::user::{self, User};
use super::{SpecFacts, built, defaults, env, security};
use crate::error::{Error, Kind, Result};
use oci_spec::image::{Config, ImageConfiguration};
use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, User as OciUser};
use std::borrow::Cow;

pub(super) fn build(request: &RunRequest, image: Option<&ImageConfiguration>, facts: &SpecFacts) -> Result<Process> {
    let config = image.and_then(|image| image.config().as_ref());
    let user = resolve_user(request, config, facts)?;
    let mut process = Process::default();
    process
        .set_terminal(Some(request.tty))
        .set_args(Some(with_init(request, facts, args(request, config)?)?))
        .set_env(Some(environment(request, config, facts, &user)?))
        .set_cwd(cwd(request, config)?.into())
        .set_capabilities(Some(security::capabilities(request, facts, user.uid)?))
        .set_rlimits(Some(rlimits(request, facts)?))
        .set_no_new_privileges(Some(security::no_new_privileges(request)))
        .set_apparmor_profile(security::apparmor(request, facts)?)
        .set_selinux_label(security::selinux(request, facts).map(|(process, _)| process))
        .set_oom_score_adj(Some(oom_score_adj(request, facts)?))
        .set_user(oci_user(&user));
    if let Some(ids) = facts.ids {
        user::check_ids(process.user(), ids.count.into())?;
    }
    Ok(process)
}

/// docker's rule: `--entrypoint` replaces ENTRYPOINT and forgets CMD; words after the image replace CMD alone. The
/// shell form is `["/bin/sh", "-c", …]` in the image already and needs no rule of its own.
pub fn args(request: &RunRequest, config: Option<&Config>) -> Result<Vec<String>> {
    let list = |get: fn(&Config) -> &Option<Vec<String>>| config.and_then(|c| get(c).clone()).unwrap_or_default();
    let command = |default: fn(&Config) -> &Option<Vec<String>>| {
        if request.command.is_empty() { list(default) } else { request.command.clone() }
    };
    let mut words = match &request.entrypoint {
        Some(entrypoint) => entrypoint.iter().chain(&request.command).cloned().collect(),
        None => list(Config::entrypoint),
    };
    if request.entrypoint.is_none() {
        words.extend(command(Config::cmd));
    }
    let Some(first) = words.first() else {
        return Err(Error::user(format!("no command: {} names none", request.source.as_str()))
            .hint(format!("say what to run: minirun run {} COMMAND", request.source.as_str())));
    };
    if first.is_empty() {
        return Err(Error::new(Kind::CommandNotFound, "the command is empty").hint("say what to run"));
    }
    no_nul("the command", &words)?;
    Ok(words)
}

/// The words of process 1.
fn with_init(request: &RunRequest, facts: &SpecFacts, words: Vec<String>) -> Result<Vec<String>> {
    match (request.init, &facts.init) {
        (false, _) => Ok(words),
        (true, None) => Err(Error::internal("--init, and no program that is one")),
        (true, Some(_)) => Ok([INIT_PATH.to_owned(), "--".to_owned()].into_iter().chain(words).collect()),
    }
}

/// An image's strings may hold anything; execve(2) ends each at a NUL.
fn no_nul(what: &str, words: &[String]) -> Result<()> {
    match words.iter().find(|word| word.contains('\0')) {
        Some(word) => Err(Error::image(format!("{what} holds a NUL byte: {word:?}"))),
        None => Ok(()),
    }
}

/// PATH, HOSTNAME and, with a terminal, TERM; over them the image's, over them `-e`; HOME from passwd where none of
/// them set it.
fn environment(request: &RunRequest, config: Option<&Config>, facts: &SpecFacts, user: &User) -> Result<Vec<String>> {
    let mut environment = vec![env::DEFAULT_PATH.to_owned(), format!("HOSTNAME={}", hostname(request, facts)?)];
    if request.tty {
        environment.push("TERM=xterm".to_owned());
    }
    let image: &[String] = config.and_then(|c| c.env().as_deref()).unwrap_or_default();
    let image_sets: Vec<String> = image.iter().filter(|variable| variable.contains('=')).cloned().collect();
    env::merge(&mut environment, &image_sets);
    env::merge(&mut environment, &request.env);
    if env::value(&environment, "HOME").is_none_or(str::is_empty) {
        env::merge(&mut environment, &[format!("HOME={}", user.home.as_deref().unwrap_or("/"))]);
    }
    no_nul("the environment", &environment)?;
    Ok(environment)
}

/// The container's host name: as asked, the host's where that namespace or the network is the host's, else the short id.
pub fn hostname<'a>(request: &'a RunRequest, facts: &'a SpecFacts) -> Result<Cow<'a, str>> {
    /// __NEW_UTS_LEN in include/uapi/linux/utsname.h.
    const LONGEST: usize = 64;
    let Some(asked) = &request.hostname else {
        let hosts =
            request.namespaces.uts == NamespaceMode::Host || request.network.namespace() == NetworkNamespace::Host;
        return Ok(Cow::Borrowed(if hosts { &facts.host_hostname } else { facts.id.short() }));
    };
    // it becomes a word of /etc/hosts
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if asked.is_empty() || asked.len() > LONGEST || !asked.bytes().all(allowed) {
        return Err(
            Error::user(format!("invalid host name {asked:?}")).hint("letters, digits, `-`, `.` and `_`, 64 at most")
        );
    }
    if request.namespaces.uts != NamespaceMode::Private {
        return Err(Error::user("--hostname would rename whom --uts is shared with").hint("leave out one of the two"));
    }
    Ok(Cow::Borrowed(asked))
}

fn cwd(request: &RunRequest, config: Option<&Config>) -> Result<String> {
    let image = config.and_then(|c| c.working_dir().as_deref()).filter(|dir| !dir.is_empty());
    let dir = request.workdir.as_deref().or(image).unwrap_or("/");
    if !dir.starts_with('/') || dir.contains('\0') {
        return Err(Error::user(format!("the working directory {dir:?} is not an absolute path")).hint("-w /DIR"));
    }
    Ok(dir.to_owned())
}

fn resolve_user(request: &RunRequest, config: Option<&Config>, facts: &SpecFacts) -> Result<User> {
    let image = config.and_then(|c| c.user().as_deref());
    let wanted = request.user.as_deref().or(image).unwrap_or("");
    user::resolve(wanted, facts.passwd.as_deref(), facts.group.as_deref(), &request.groups)
        .map_err(|e| e.during(request.source.as_str()))
}

fn oci_user(user: &User) -> OciUser {
    let mut oci = OciUser::default();
    oci.set_uid(user.uid)
        .set_gid(user.gid)
        .set_umask(Some(defaults::UMASK))
        .set_additional_gids(Some(user.additional_gids.clone()));
    oci
}

/// The limits asked for, and open files; each at most what we have ourselves, unless we may raise it.
fn rlimits(request: &RunRequest, facts: &SpecFacts) -> Result<Vec<PosixRlimit>> {
    let to_oci = |wanted: Ulimit| {
        let limit = capped(&wanted, facts);
        built(PosixRlimitBuilder::default().typ(limit.kind).soft(limit.soft).hard(limit.hard).build())
    };
    wanted_limits(request).into_iter().map(to_oci).collect()
}

/// The last word on each limit, in the order of first mention, and open files where nobody mentioned them.
fn wanted_limits(request: &RunRequest) -> Vec<Ulimit> {
    let mut limits: Vec<Ulimit> = Vec::new();
    for wanted in &request.ulimits {
        match limits.iter_mut().find(|earlier| earlier.kind == wanted.kind) {
            Some(earlier) => earlier.clone_from(wanted),
            None => limits.push(wanted.clone()),
        }
    }
    let (soft, hard) = defaults::NOFILE;
    let nofile = Ulimit { kind: PosixRlimitType::RlimitNofile, soft, hard };
    if !limits.iter().any(|limit| limit.kind == nofile.kind) {
        limits.push(nofile);
    }
    limits
}

/// setrlimit(2): only CAP_SYS_RESOURCE raises a hard limit.
fn capped(wanted: &Ulimit, facts: &SpecFacts) -> Ulimit {
    let own = facts.hard_limits.get(ulimit::name(wanted.kind)).copied().unwrap_or(u64::MAX);
    let most = if facts.sys_resource { u64::MAX } else { own };
    Ulimit { kind: wanted.kind, soft: wanted.soft.min(most), hard: wanted.hard.min(most) }
}

/// Limits that come out lower than asked for: a warning each, for a container with less room is still a container.
/// The defaults are lowered in silence: on a machine without CAP_SYS_RESOURCE every run would say the same.
pub(super) fn limit_warnings(request: &RunRequest, facts: &SpecFacts) -> Vec<String> {
    let lowered = |wanted: &Ulimit| {
        let got = capped(wanted, facts);
        (got != *wanted).then(|| {
            format!(
                "limit {} is {}:{} and not {}:{}: the host's hard limit cannot be raised without CAP_SYS_RESOURCE",
                ulimit::name(wanted.kind),
                got.soft,
                got.hard,
                wanted.soft,
                wanted.hard
            )
        })
    };
    let mut warnings: Vec<String> = request.ulimits.iter().filter_map(lowered).collect();
    if let Some(wanted) =
        request.resources.oom_score_adj.filter(|adj| *adj < facts.oom_score_adj && !facts.sys_resource)
    {
        warnings.push(format!(
            "oom_score_adj is {} and not {wanted}: lowering it needs CAP_SYS_RESOURCE",
            facts.oom_score_adj
        ));
    }
    warnings
}

/// As asked; else 0, or our own where that is higher: a container is never more precious than who started it.
/// Without CAP_SYS_RESOURCE it cannot go below our own (fs/proc/base.c, __set_oom_adj).
fn oom_score_adj(request: &RunRequest, facts: &SpecFacts) -> Result<i32> {
    let wanted = request.resources.oom_score_adj.unwrap_or(facts.oom_score_adj.max(0));
    if !(-1000..=1000).contains(&wanted) {
        return Err(Error::user(format!("invalid --oom-score-adj {wanted}")).hint("it is between -1000 and 1000"));
    }
    Ok(if facts.sys_resource { wanted } else { wanted.max(facts.oom_score_adj) })
}
