//! docker's flags of `run` that minirun does not have: what to do instead, in one line each.

use crate::error::Error;

/// Why a flag is not there.
#[derive(Debug, Clone, Copy)]
enum Why {
    /// It comes.
    Later,
    /// It will not come: it means nothing here.
    Never,
}

const TABLE: &[(&str, Why, &str)] = &[
    ("-a", Why::Later, "without -d output and errors are attached, with -i the input is, too"),
    ("--attach", Why::Later, "without -d output and errors are attached, with -i the input is, too"),
    ("--cgroupns", Why::Later, "leave it out: a container always has a cgroup namespace of its own"),
    ("--cpu-count", Why::Never, "it is for Windows: use --cpus"),
    ("--cpu-percent", Why::Never, "it is for Windows: use --cpus"),
    ("--cpu-rt-period", Why::Later, "use --cpu-shares or --cpus"),
    ("--cpu-rt-runtime", Why::Later, "use --cpu-shares or --cpus"),
    ("--disable-content-trust", Why::Never, "leave it out: images are checked by digest, there is no notary"),
    ("--gpus", Why::Later, "name the devices with --device"),
    ("--io-maxbandwidth", Why::Never, "it is for Windows: use --blkio-weight"),
    ("--io-maxiops", Why::Never, "it is for Windows: use --blkio-weight"),
    ("--isolation", Why::Never, "it is for Windows: leave it out"),
    ("--kernel-memory", Why::Never, "the kernel has no such limit any more: --memory counts kernel memory, too"),
    ("--link", Why::Never, "put both into one network, where they know each other by name: --network NAME"),
    ("--link-local-ip", Why::Later, "leave it out"),
    ("--oom-kill-disable", Why::Never, "a process that waits for memory for ever helps nobody: use --oom-score-adj"),
    ("--runtime", Why::Never, "minirun is the runtime: leave it out"),
    ("--storage-opt", Why::Later, "leave it out; --tmpfs DIR:size=… has a limit"),
    ("--use-api-socket", Why::Never, "there is no daemon and no socket"),
    ("--volume-driver", Why::Never, "volumes are local directories: mount it on the host and use -v"),
    // podman's, typed by habit
    ("--arch", Why::Never, "use --platform linux/ARCH"),
    ("--authfile", Why::Later, "set REGISTRY_AUTH_FILE"),
    ("--env-host", Why::Never, "name each variable with -e KEY"),
    ("--http-proxy", Why::Never, "name the variables with -e http_proxy -e https_proxy"),
    ("--pod", Why::Never, "use --network container:NAME"),
    ("--replace", Why::Later, "minirun rm -f NAME first"),
    ("--systemd", Why::Later, "leave it out"),
    ("--tls-verify", Why::Never, "name the registry as insecure in the configuration"),
    ("--umask", Why::Later, "set it in the command: sh -c 'umask 077; …'"),
    ("--unsetenv", Why::Later, "-e KEY, where you have no KEY yourself, removes it"),
];

/// The answer to a flag that others know; `None` where nobody does.
pub(in crate::cli) fn unsupported(flag: &str) -> Option<Error> {
    let (flag, why, instead) = TABLE.iter().find(|(known, _, _)| *known == flag)?;
    let message = match why {
        Why::Later => format!("{flag} is not supported yet"),
        Why::Never => format!("{flag} is not supported"),
    };
    Some(Error::user(message).hint(*instead))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command;

    /// `docker run --help` of version 28, without -h, which is help here.
    const DOCKER: &str = "add-host annotation attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent \
        cgroupns cidfile cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus \
        cpuset-cpus cpuset-mems detach detach-keys device device-cgroup-rule device-read-bps device-read-iops \
        device-write-bps device-write-iops disable-content-trust dns dns-option dns-search domainname entrypoint env \
        env-file expose gpus group-add health-cmd health-interval health-retries health-start-interval \
        health-start-period health-timeout help hostname init interactive io-maxbandwidth io-maxiops ip ip6 ipc \
        isolation kernel-memory label label-file link link-local-ip log-driver log-opt mac-address memory \
        memory-reservation memory-swap memory-swappiness mount name network network-alias no-healthcheck \
        oom-kill-disable oom-score-adj pid pids-limit platform privileged publish publish-all pull quiet read-only \
        restart rm runtime security-opt shm-size sig-proxy stop-signal stop-timeout storage-opt sysctl tmpfs tty \
        ulimit use-api-socket user userns uts volume volume-driver volumes-from workdir";

    #[test]
    fn every_flag_of_docker_run_is_known_or_answered() {
        let mut command = command();
        command.build();
        let run = command.find_subcommand("run").unwrap();
        let known = |name: &str| run.get_arguments().any(|arg| arg.get_long() == Some(name));
        for name in DOCKER.split_whitespace() {
            let answered = unsupported(&format!("--{name}")).is_some();
            assert!(known(name) != answered, "{name}: known {}, answered {answered}", known(name));
        }
    }

    #[test]
    fn an_answer_says_what_to_do_and_costs_125() {
        let error = unsupported("--link-local-ip").unwrap();
        assert_eq!((error.message.as_str(), error.exit_code()), ("--link-local-ip is not supported yet", 125));
        assert!(TABLE.iter().all(|(_, _, hint)| !hint.is_empty() && !hint.ends_with('.')));
        assert!(unsupported("--bogus").is_none());
    }
}
