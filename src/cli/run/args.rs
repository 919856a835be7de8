//! The flags of `minirun run`, in groups. `-h` shows the common ones, on one screen; `--help` all.

/// One for each group.
const EXAMPLES: &str = "\
Examples:
  minirun run --rm -it busybox sh
  minirun run -e LANG=C -u nobody -w /tmp busybox env
  minirun run -v ./site:/www:ro --tmpfs /tmp busybox ls /www
  minirun run --rm -p 8080:80 busybox httpd -f -p 80 -h /etc
  minirun run -m 64m --cpus 0.5 --pids-limit 20 busybox sh
  minirun run --cap-drop ALL --read-only busybox id
  minirun run --explain -p 8080:80 busybox true

The words after IMAGE belong to the command. Without a command the image's own is run.";

/// Run a command in a new container
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "minirun run [OPTIONS] IMAGE [COMMAND] [ARG...]\n       \
                      minirun run [OPTIONS] --rootfs DIR COMMAND [ARG...]",
    after_help = "The words after IMAGE belong to the command. minirun run --help has all flags.",
    after_long_help = EXAMPLES
)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    pub(super) container: Container,
    #[command(flatten)]
    pub(super) process: Process,
    #[command(flatten)]
    pub(super) health: Health,
    #[command(flatten)]
    pub(super) files: Files,
    #[command(flatten)]
    pub(super) network: Network,
    #[command(flatten)]
    pub(super) limits: Limits,
    #[command(flatten)]
    pub(super) process_limits: ProcessLimits,
    #[command(flatten)]
    pub(super) security: Security,
    #[command(flatten)]
    pub(super) look: Look,
    /// The image, and the command with its arguments
    #[arg(value_name = "IMAGE", hide = true)]
    pub(super) words: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Container")]
pub(super) struct Container {
    /// Name it [a random adjective_surname]
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Remove it when it ends
    #[arg(long)]
    pub(super) rm: bool,
    /// Go on in the background, print the id
    #[arg(short, long)]
    pub(super) detach: bool,
    /// Keep the standard input open
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Start it again when it ends: on-failure[:N], always or unless-stopped
    #[arg(long, value_name = "POLICY", hide_short_help = true)]
    pub(super) restart: Option<String>,
    /// Run from a directory instead of an image
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    pub(super) rootfs: Option<String>,
    /// Get the image: always, missing or never
    #[arg(long, value_name = "WHEN", hide_short_help = true)]
    pub(super) pull: Option<String>,
    /// Take the image for another platform: linux/arm64
    #[arg(long, value_name = "OS/ARCH", hide_short_help = true)]
    pub(super) platform: Option<String>,
    /// No progress
    #[arg(short, long, hide_short_help = true)]
    pub(super) quiet: bool,
    /// Write the id to FILE, which must not exist
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(super) cidfile: Option<String>,
    /// Keys that leave its terminal [ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS", hide_short_help = true)]
    pub(super) detach_keys: Option<String>,
    /// Pass signals on to it; false keeps them
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_short_help = true
    )]
    pub(super) sig_proxy: Option<bool>,
    /// Keep what it says: json-file or none [json-file]
    #[arg(long, value_name = "DRIVER", hide_short_help = true)]
    pub(super) log_driver: Option<String>,
    /// How much of it: max-size=10m, max-file=3
    #[arg(long, value_name = "KEY=VALUE", hide_short_help = true)]
    pub(super) log_opt: Vec<String>,
    /// Note KEY=VALUE with the container
    #[arg(short, long, value_name = "KEY=VALUE", hide_short_help = true)]
    pub(super) label: Vec<String>,
    /// Note what stands in FILE, KEY=VALUE a line
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(super) label_file: Vec<String>,
    /// Note KEY=VALUE in the OCI specification
    #[arg(long, value_name = "KEY=VALUE", hide_short_help = true)]
    pub(super) annotation: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Process")]
pub(super) struct Process {
    /// Set a variable; KEY alone takes yours
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(super) env: Vec<String>,
    /// Set the variables in FILE, one a line
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(super) env_file: Vec<String>,
    /// Start in DIR, which is made where it is missing
    #[arg(short, long, value_name = "DIR")]
    pub(super) workdir: Option<String>,
    /// Run as a user of the image, or by number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(super) user: Option<String>,
    /// Be in this group, too, by the image's name or by number
    #[arg(long, value_name = "GROUP", hide_short_help = true)]
    pub(super) group_add: Vec<String>,
    /// Run this instead of the image's entry point; "" for none
    #[arg(long, value_name = "COMMAND")]
    pub(super) entrypoint: Option<String>,
    /// Host name inside, also -h NAME [the short id]
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub(super) hostname: Option<String>,
    /// NIS domain name inside
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub(super) domainname: Option<String>,
    /// Run a small init that reaps and forwards signals
    #[arg(long, hide_short_help = true)]
    pub(super) init: bool,
    /// Signal that stops it [the image's, else TERM]
    #[arg(long, value_name = "SIGNAL", hide_short_help = true)]
    pub(super) stop_signal: Option<String>,
    /// Seconds until a stop kills it, -1 waits for ever [10]
    #[arg(long, value_name = "SECONDS", hide_short_help = true)]
    pub(super) stop_timeout: Option<i64>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Health")]
pub(super) struct Health {
    /// Say by this shell command whether it is well
    #[arg(long = "health-cmd", value_name = "COMMAND", hide_short_help = true)]
    pub(super) cmd: Option<String>,
    /// From one check to the next [30s]
    #[arg(long = "health-interval", value_name = "TIME", hide_short_help = true)]
    pub(super) interval: Option<String>,
    /// A check that takes longer has failed [30s]
    #[arg(long = "health-timeout", value_name = "TIME", hide_short_help = true)]
    pub(super) timeout: Option<String>,
    /// Failures in a row that make it unhealthy [3]
    #[arg(long = "health-retries", value_name = "N", hide_short_help = true)]
    pub(super) retries: Option<u32>,
    /// Failures in its first time do not count [0s]
    #[arg(long = "health-start-period", value_name = "TIME", hide_short_help = true)]
    pub(super) start_period: Option<String>,
    /// From one check to the next in that time [5s]
    #[arg(long = "health-start-interval", value_name = "TIME", hide_short_help = true)]
    pub(super) start_interval: Option<String>,
    /// Make no checks, whatever the image says
    #[arg(long, hide_short_help = true)]
    pub(super) no_healthcheck: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Files")]
pub(super) struct Files {
    /// Mount a directory of the host, or a volume
    #[arg(short, long, value_name = "FROM:TO[:ro]")]
    pub(super) volume: Vec<String>,
    /// Mount what another container has mounted, volumes and directories
    #[arg(long, value_name = "CONTAINER[:ro]", hide_short_help = true)]
    pub(super) volumes_from: Vec<String>,
    /// Mount by key and value: type=bind|volume|tmpfs|image,source=…,target=…
    #[arg(long, value_name = "KEY=VALUE,…", hide_short_help = true)]
    pub(super) mount: Vec<String>,
    /// Mount an empty file system in memory
    #[arg(long, value_name = "DIR[:size=64m]", hide_short_help = true)]
    pub(super) tmpfs: Vec<String>,
    /// Make the root file system read-only
    #[arg(long)]
    pub(super) read_only: bool,
    /// Give it a device of the host
    #[arg(long, value_name = "FROM[:TO[:rwm]]", hide_short_help = true)]
    pub(super) device: Vec<String>,
    /// Let it use devices by number: 'c 189:* rwm'
    #[arg(long, value_name = "RULE", hide_short_help = true)]
    pub(super) device_cgroup_rule: Vec<String>,
    /// Size of /dev/shm [64m]
    #[arg(long, value_name = "SIZE", hide_short_help = true)]
    pub(super) shm_size: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Network")]
pub(super) struct Network {
    /// Publish a port
    #[arg(short, long, value_name = "[IP:]HOST:INSIDE[/udp]")]
    pub(super) publish: Vec<String>,
    /// Publish all exposed ports on free ports of the host
    #[arg(short = 'P', long, hide_short_help = true)]
    pub(super) publish_all: bool,
    /// Expose a port for -P
    #[arg(long, value_name = "PORT[/udp]", hide_short_help = true)]
    pub(super) expose: Vec<String>,
    /// A network, also NAME:ip=ADDRESS; or none, host, container:NAME [bridge]
    #[arg(long, alias = "net", value_name = "NETWORK")]
    pub(super) network: Vec<String>,
    /// Another name of it in the network
    #[arg(long, alias = "net-alias", value_name = "NAME", hide_short_help = true)]
    pub(super) network_alias: Vec<String>,
    /// Its address on the network
    #[arg(long, value_name = "ADDRESS", hide_short_help = true)]
    pub(super) ip: Option<String>,
    /// Its IPv6 address
    #[arg(long, value_name = "ADDRESS", hide_short_help = true)]
    pub(super) ip6: Option<String>,
    /// Its MAC address
    #[arg(long, value_name = "ADDRESS", hide_short_help = true)]
    pub(super) mac_address: Option<String>,
    /// Name server [the host's]
    #[arg(long, value_name = "ADDRESS", hide_short_help = true)]
    pub(super) dns: Vec<String>,
    /// Search domain
    #[arg(long, value_name = "DOMAIN", hide_short_help = true)]
    pub(super) dns_search: Vec<String>,
    /// Option of resolv.conf
    #[arg(long, alias = "dns-opt", value_name = "OPTION", hide_short_help = true)]
    pub(super) dns_option: Vec<String>,
    /// A line in /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS", hide_short_help = true)]
    pub(super) add_host: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(in crate::cli) struct Limits {
    /// Memory, such as 64m
    #[arg(short, long, value_name = "SIZE")]
    pub(super) memory: Option<String>,
    /// Memory and swap together, -1 for no limit [twice the memory]
    #[arg(long, value_name = "SIZE", hide_short_help = true)]
    pub(super) memory_swap: Option<String>,
    /// Memory to shrink to when the host runs short
    #[arg(long, value_name = "SIZE", hide_short_help = true)]
    pub(super) memory_reservation: Option<String>,
    /// CPUs, such as 0.5
    #[arg(long, value_name = "NUMBER")]
    pub(super) cpus: Option<String>,
    /// Weight against others, 1024 is usual
    #[arg(short, long, value_name = "N", hide_short_help = true)]
    pub(super) cpu_shares: Option<u64>,
    /// Length of a period in microseconds
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub(super) cpu_period: Option<u64>,
    /// Microseconds of CPU in each period
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub(super) cpu_quota: Option<i64>,
    /// CPUs it may use: 0-3 or 0,2
    #[arg(long, value_name = "LIST", hide_short_help = true)]
    pub(super) cpuset_cpus: Option<String>,
    /// Memory nodes it may use
    #[arg(long, value_name = "LIST", hide_short_help = true)]
    pub(super) cpuset_mems: Option<String>,
    /// Processes and threads, -1 for no limit [2048]
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub(super) pids_limit: Option<i64>,
    /// Weight of its disk accesses, 10 to 1000
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub(super) blkio_weight: Option<u16>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct ProcessLimits {
    /// Resource limit of a process: nofile=1024:4096
    #[arg(long, value_name = "NAME=SOFT[:HARD]", hide_short_help = true)]
    pub(super) ulimit: Vec<String>,
    /// Bytes a second from a block device
    #[arg(long, value_name = "DEVICE:SIZE", hide_short_help = true)]
    pub(super) device_read_bps: Vec<String>,
    /// Bytes a second to a block device
    #[arg(long, value_name = "DEVICE:SIZE", hide_short_help = true)]
    pub(super) device_write_bps: Vec<String>,
    /// Reads a second from a block device
    #[arg(long, value_name = "DEVICE:N", hide_short_help = true)]
    pub(super) device_read_iops: Vec<String>,
    /// Writes a second to a block device
    #[arg(long, value_name = "DEVICE:N", hide_short_help = true)]
    pub(super) device_write_iops: Vec<String>,
    /// Weight of its accesses to a block device, 10 to 1000
    #[arg(long, value_name = "DEVICE:N", hide_short_help = true)]
    pub(super) blkio_weight_device: Vec<String>,
    /// How willingly its memory is swapped, 0 to 100; cgroup v1 alone has it
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub(super) memory_swappiness: Option<i64>,
    /// Be below this cgroup of the host, or without a slash before it, of minirun's
    #[arg(long, value_name = "PATH", hide_short_help = true)]
    pub(super) cgroup_parent: Option<String>,
    /// How early it is killed when memory runs out, -1000 to 1000
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub(super) oom_score_adj: Option<i32>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Security")]
pub(super) struct Security {
    /// Add a capability, or ALL
    #[arg(long, value_name = "CAP", hide_short_help = true)]
    pub(super) cap_add: Vec<String>,
    /// Take a capability away, or ALL
    #[arg(long, value_name = "CAP", hide_short_help = true)]
    pub(super) cap_drop: Vec<String>,
    /// Lift all bars: capabilities, devices, masks, seccomp
    #[arg(long, hide_short_help = true)]
    pub(super) privileged: bool,
    /// no-new-privileges, seccomp=FILE|unconfined, apparmor=PROFILE, label=…, systempaths=unconfined
    #[arg(long, value_name = "OPTION", hide_short_help = true)]
    pub(super) security_opt: Vec<String>,
    /// Set a kernel parameter of its own namespaces
    #[arg(long, value_name = "KEY=VALUE", hide_short_help = true)]
    pub(super) sysctl: Vec<String>,
    /// Processes to see: private, host or container:NAME
    #[arg(long, value_name = "MODE", hide_short_help = true)]
    pub(super) pid: Option<String>,
    /// System V IPC and /dev/shm: private, host or container:NAME
    #[arg(long, value_name = "MODE", hide_short_help = true)]
    pub(super) ipc: Option<String>,
    /// Host name: private or host
    #[arg(long, value_name = "MODE", hide_short_help = true)]
    pub(super) uts: Option<String>,
    /// Who root inside is outside: host (root), or auto (nobody else)
    #[arg(long, value_name = "MODE", hide_short_help = true)]
    pub(super) userns: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Look inside")]
pub(super) struct Look {
    /// Print each step as the shell line that does the same; do nothing
    #[arg(
        long,
        value_name = "text|json",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "text"
    )]
    pub(super) explain: Option<String>,
    /// Print each step as it happens; `step` waits for Enter before each
    #[arg(
        long,
        value_name = "step",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "lines"
    )]
    pub(super) trace: Option<String>,
}
