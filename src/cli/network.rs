//! `minirun network`.

use super::format::{self, Listing, Row, row};
use super::{each, graph, ui};
use crate::error::{Error, Result};
use crate::ops::matrix::{self, Checked};
use crate::ops::networks::{self, CreateRequest, NetworkRow};
use crate::ops::plug::{self, ConnectRequest};
use crate::ops::reload;
use crate::spec::mount::label_pair;
use crate::state::Roots;
use clap::Subcommand;
use serde_json::json;

/// Make, list and remove networks
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: minirun network create net; minirun run --rm --network net busybox ip address")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Verb,
}

impl Args {
    /// Whether it shows networks. `graph` and `check` do not count: what is wrong is what they are asked for.
    pub(super) fn looks(&self) -> bool {
        matches!(self.command, Verb::Ls { .. } | Verb::Inspect { .. })
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a network: what its containers are plugged into, a bridge of its own most of the time
    #[command(after_help = "Examples:
  minirun network create net
  minirun network create --subnet 10.1.0.0/24 --ip-range 10.1.0.128/25 net
  minirun network create --internal --ipv6=false quiet
  minirun network create --vlan 10 --subnet 10.10.0.0/24 ten
  minirun network create --bridge ten --vlan 20 --subnet 10.20.0.0/24 twenty
  minirun network create -d macvlan -o parent=eth0 --subnet 192.168.1.0/24 --gateway 192.168.1.1 lan")]
    Create(Box<Create>),
    /// List networks
    #[command(visible_alias = "list")]
    Ls {
        /// Ids alone
        #[arg(short, long)]
        quiet: bool,
        /// Whole ids
        #[arg(long)]
        no_trunc: bool,
        /// Only some: name=, id=, driver=, label=, label!=, type=custom or dangling=true
        #[arg(short, long, value_name = "KEY=VALUE")]
        filter: Vec<String>,
        /// json, or a Go template: '{{.Name}}', 'table {{.ID}}\t{{.Name}}'
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
    },
    /// Show all that is known of networks, as JSON
    Inspect {
        /// json, or a Go template: '{{range .IPAM.Config}}{{.Subnet}} {{end}}'
        #[arg(short, long, value_name = "FORMAT")]
        format: Option<String>,
        /// There is no more to say
        #[arg(short, long, hide = true)]
        verbose: bool,
        #[arg(required = true, value_name = "NETWORK")]
        names: Vec<String>,
    },
    /// Plug a container into one more network; while it runs, at once
    Connect(Connect),
    /// Unplug a container from a network
    Disconnect {
        /// One that is not in it is no error
        #[arg(short, long)]
        force: bool,
        #[arg(value_name = "NETWORK")]
        network: String,
        #[arg(value_name = "CONTAINER")]
        container: String,
    },
    /// Draw networks as they are: bridges, containers, the cables between them, NAT and published ports
    #[command(after_help = "Examples:
  minirun network graph
  minirun network graph --format svg net > net.svg
  minirun network graph --format dot | dot -Tpdf > networks.pdf")]
    Graph {
        /// What it is drawn for: a terminal, a web page, graphviz, a picture, a program
        #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
        format: graph::Form,
        /// Only these [all]
        #[arg(value_name = "NETWORK")]
        names: Vec<String>,
    },
    /// Ask the packets whether networks keep what their flags promise: who answers whom, over which way
    #[command(after_help = "Ends with 1 where one does not. Example: minirun network check net")]
    Check {
        /// json, or a Go template: '{{.From}} {{.To}} {{.Result}}'
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
        /// Only these [all that have containers]
        #[arg(value_name = "NETWORK")]
        names: Vec<String>,
    },
    /// Remove networks that no container is in
    #[command(visible_alias = "remove")]
    Rm {
        /// One that is not there is no error
        #[arg(short, long)]
        force: bool,
        #[arg(required = true, value_name = "NETWORK")]
        names: Vec<String>,
    },
    /// Remove all networks that no container has, running or not
    Prune {
        /// Do not ask
        #[arg(short, long)]
        force: bool,
        /// Only some: until=24h (made before that), label= or label!=
        #[arg(long, value_name = "KEY=VALUE")]
        filter: Vec<String>,
    },
    /// Make bridges and firewall rules as they should be, where somebody has changed them; containers go on
    #[command(after_help = "Example: nft flush ruleset; minirun network reload")]
    Reload {
        /// Only of these [all]
        #[arg(value_name = "NETWORK")]
        names: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Connect {
    /// Its address there
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// Its IPv6 address there
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<String>,
    /// Its MAC address there
    #[arg(long, value_name = "ADDRESS")]
    mac_address: Option<String>,
    /// Another name of it there
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    #[arg(value_name = "NETWORK")]
    network: String,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

#[derive(Debug, clap::Args)]
struct Create {
    /// A subnet of its own [a free one of each family]
    #[arg(long, value_name = "NET")]
    subnet: Vec<String>,
    /// The gateway's address in a subnet, most of the time the host's own [the first]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "no_gateway")]
    gateway: Vec<String>,
    /// Containers get addresses of this part of a subnet
    #[arg(long, value_name = "NET")]
    ip_range: Vec<String>,
    /// An address that no container gets
    #[arg(long, value_name = "ADDRESS")]
    aux_address: Vec<String>,
    /// With IPv6 [where the host has it]; false for none
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    ipv6: Option<bool>,
    /// With IPv4 [true]; false for IPv6 alone
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv4: Option<bool>,
    /// Addresses are chosen here, and networks are this host's: there is nothing else
    #[arg(long, hide = true, value_parser = ["default"])]
    ipam_driver: Option<String>,
    #[arg(long, hide = true, value_parser = ["local"])]
    scope: Option<String>,
    /// Nothing goes out, nothing comes in but from the host
    #[arg(long)]
    internal: bool,
    /// The host is not in its subnets, and nothing leads out
    #[arg(long)]
    no_gateway: bool,
    /// Containers reach the outside under their own addresses
    #[arg(long)]
    no_masquerade: bool,
    /// Its containers reach the host and the outside, and not each other
    #[arg(long)]
    isolate: bool,
    /// false: the same; after docker's option enable_icc
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    icc: Option<bool>,
    /// On the bridge of this network, or on a bridge that the host has
    #[arg(long, value_name = "NETWORK")]
    bridge: Option<String>,
    /// Its containers are in this VLAN of the bridge, without tags
    #[arg(long, value_name = "NUMBER")]
    vlan: Option<String>,
    /// Its containers are in these VLANs, with tags
    #[arg(long, value_name = "NUMBER,...")]
    vlan_trunk: Vec<String>,
    /// Other networks made with it may have the same --subnet: the host answers for who is there
    #[arg(long)]
    proxy_arp: bool,
    /// A route that its containers get; without a gateway what is there is on the wire
    #[arg(long, value_name = "NET[,GATEWAY]")]
    route: Vec<String>,
    /// Bytes in one packet
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u32>,
    /// Note KEY=VALUE with it
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Of the driver: parent=eth0, mode=l3, docker's com.docker.network.…
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// bridge, macvlan or ipvlan [bridge]
    #[arg(short, long, value_name = "DRIVER")]
    driver: Option<String>,
    /// Every container may be in it
    #[arg(long, hide = true)]
    attachable: bool,
    /// What it is called
    #[arg(value_name = "NAME")]
    name: String,
}

pub(super) fn main(args: &Args, roots: &Roots) -> Result<u8> {
    match &args.command {
        Verb::Create(asked) => create(roots, asked),
        Verb::Ls { quiet, no_trunc, filter, format } => list(roots, *quiet, *no_trunc, filter, format.as_deref()),
        Verb::Inspect { format, names, verbose: _ } => inspect(roots, names, format.as_deref()),
        Verb::Connect(asked) => connect(roots, asked),
        Verb::Disconnect { force, network, container } => {
            match plug::disconnect(roots, network, container, &ui::Bars::new(ui::Show::Nothing)) {
                Err(error) if *force && error.kind == crate::error::Kind::NotFound => Ok(0),
                done => done.map(|()| 0),
            }
        }
        Verb::Check { format, names } => check(roots, names, format.as_deref()),
        Verb::Graph { format, names } => graph::main(roots, *format, names),
        Verb::Rm { force, names } => Ok(each(names, |name| match networks::remove(roots, name) {
            Err(error) if *force && error.kind == crate::error::Kind::NotFound => Ok(()),
            removed => ui::line(&removed?),
        })),
        Verb::Prune { force, filter } => prune(roots, *force, filter),
        Verb::Reload { names } => reload::reload(roots, names)?.iter().try_for_each(|line| ui::line(line)).map(|()| 0),
    }
}

fn create(roots: &Roots, asked: &Create) -> Result<u8> {
    let id = networks::create(
        roots,
        &CreateRequest {
            name: asked.name.clone(),
            driver: asked.driver.clone(),
            subnets: asked.subnet.clone(),
            gateways: asked.gateway.clone(),
            ranges: asked.ip_range.clone(),
            reserved: asked.aux_address.clone(),
            no_gateway: asked.no_gateway,
            no_masquerade: asked.no_masquerade,
            internal: asked.internal,
            isolate: asked.isolate || asked.icc == Some(false),
            proxy_arp: asked.proxy_arp,
            routes: asked.route.clone(),
            bridge: asked.bridge.clone(),
            vlan: asked.vlan.clone(),
            trunk: asked.vlan_trunk.clone(),
            ipv6: asked.ipv6,
            ipv6_alone: asked.ipv4 == Some(false),
            mtu: asked.mtu,
            labels: asked.label.iter().map(|label| label_pair(label)).collect(),
            options: asked.opt.clone(),
        },
    )?;
    ui::line(&id).map(|()| 0)
}

fn connect(roots: &Roots, asked: &Connect) -> Result<u8> {
    let Connect { ip, ip6, mac_address: mac, alias: aliases, network, container } = asked;
    let wanted = ConnectRequest { ip: ip.clone(), ip6: ip6.clone(), mac: mac.clone(), aliases: aliases.clone() };
    plug::connect(roots, network, container, &wanted, &ui::Bars::new(ui::Show::Nothing)).map(|()| 0)
}

const CHECKED: Listing = Listing {
    fields: &[
        ("Network", "NETWORK"),
        ("From", "FROM"),
        ("To", "TO"),
        ("Address", "ADDRESS"),
        ("Promised", "PROMISED"),
        ("Seen", "SEEN"),
        ("Result", "RESULT"),
    ],
    table: r"{{.Network}}\t{{.From}}\t{{.To}}\t{{.Address}}\t{{.Promised}}\t{{.Seen}}\t{{.Result}}",
    quiet: "{{.Result}}",
};

fn check(roots: &Roots, names: &[String], format: Option<&str>) -> Result<u8> {
    let checked = matrix::check(roots, names)?;
    let fields = |of: &Checked| {
        row([
            ("Network", of.network.as_str().into()),
            ("From", of.from.as_str().into()),
            ("To", of.to.as_str().into()),
            ("Address", of.address.to_string().into()),
            ("Promised", of.promised.as_str().into()),
            ("Seen", of.seen.as_str().into()),
            ("Result", if of.kept { "ok" } else { "broken" }.into()),
        ])
    };
    if checked.is_empty() {
        ui::warning("there is nothing to ask: no container runs in these networks");
        return Ok(0);
    }
    let rows: Vec<Row> = checked.iter().map(fields).collect();
    format::print_rows_as(format, false, &CHECKED, &rows, ui::Width::of(true))?;
    Ok(u8::from(checked.iter().any(|one| !one.kept)))
}

const LISTING: Listing = Listing {
    fields: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("Label", ""),
        ("CreatedAt", "CREATED AT"),
    ],
    table: r"{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
    quiet: "{{.ID}}",
};

fn list(roots: &Roots, quiet: bool, whole: bool, filter: &[String], format: Option<&str>) -> Result<u8> {
    let all = networks::list(roots, filter)?;
    for (name, why) in all.iter().filter_map(|of| Some((&of.name, of.broken.as_ref()?))) {
        ui::warning(&format!("network {name}: {why}"));
    }
    let rows: Vec<Row> = all.iter().map(|of| fields(of, whole)).collect();
    format::print_rows_as(format, quiet, &LISTING, &rows, ui::Width::of(whole)).map(|()| 0)
}

/// A network under docker's names.
fn fields(of: &NetworkRow, whole: bool) -> Row {
    let id = if whole { of.id.as_str() } else { of.id.get(..12).unwrap_or(&of.id) };
    row([
        ("ID", id.into()),
        ("Name", of.name.as_str().into()),
        ("Driver", of.driver.into()),
        ("Scope", "local".into()),
        ("IPv6", of.ipv6.to_string().into()),
        ("Internal", of.internal.to_string().into()),
        ("Labels", format::pairs(&of.labels).into()),
        ("Label", json!(of.labels)),
        ("CreatedAt", of.created.as_deref().map(format::date).unwrap_or_default().into()),
    ])
}

/// One array for all that were found, even where one was not; with a template a text for each.
fn inspect(roots: &Roots, names: &[String], format: Option<&str>) -> Result<u8> {
    format::print_each(names, format, |name| networks::inspect(roots, name))
}

fn prune(roots: &Roots, force: bool, filter: &[String]) -> Result<u8> {
    if !force {
        if !ui::stdin_is_terminal() {
            return Err(Error::user("nobody is there to ask whether networks shall be removed")
                .hint("minirun network prune --force does not ask"));
        }
        ui::warning("this will remove all networks of one's own that no container has");
        if !ui::confirm("Are you sure you want to continue?")? {
            return Ok(0);
        }
    }
    let removed = networks::prune(roots, filter)?;
    match removed.is_empty() {
        true => Ok(0),
        false => ui::print(&format!("Deleted Networks:\n{}\n\n", removed.join("\n"))).map(|()| 0),
    }
}
