//! Labs of L3 subnets on L2 segments: which of them reach each other, and by whom.

use super::scenario::Expect::{Answer, NoRoute, Silence};
use super::scenario::Step::{Minirun, Refused, Say};
use super::scenario::{HOST, Lab, overheard, ping, unheard};

pub(super) const LABS: &[Lab] = &[
    Lab {
        name: "one-subnet",
        shows: "one subnet on one segment: a switch, and who hears what",
        steps: &[
            Say("Three containers on one bridge. It has no gateway: the host is not in this network."),
            Minirun("network create --ipv6=false --subnet 192.168.0.0/24 --no-gateway lan"),
            Minirun("run -d --name a --network lan:ip=192.168.0.1 hello /hello --wait"),
            Minirun("run -d --name b --network lan:ip=192.168.0.2 hello /hello --wait"),
            Minirun("run -d --name c --network lan:ip=192.168.0.3 hello /hello --wait"),
            Say("Who has 192.168.0.2? That is a broadcast, and all hear it. What follows is between the two."),
            overheard("a", "192.168.0.2", Answer(64, Some("b")), "c"),
            Say("There is no way out, and that is known at once."),
            ping("a", "192.0.2.1", NoRoute),
            ping(HOST, "192.168.0.1", NoRoute),
        ],
    },
    Lab {
        name: "two-subnets",
        shows: "two subnets on one segment: no route between them, and one broadcast domain",
        steps: &[
            Minirun("network create --ipv6=false --subnet 192.168.0.0/24 --subnet 192.168.1.0/24 --no-gateway lan"),
            Minirun("run -d --name a --network lan:ip=192.168.0.10 hello /hello --wait"),
            Minirun("run -d --name b --network lan:ip=192.168.0.11 hello /hello --wait"),
            Minirun("run -d --name x --network lan:ip=192.168.1.20 hello /hello --wait"),
            Minirun("run -d --name y --network lan:ip=192.168.1.21 hello /hello --wait"),
            Say("Within a subnet they reach each other. x, of the other subnet, hears the question nevertheless."),
            overheard("a", "192.168.0.11", Answer(64, Some("b")), "x"),
            ping("x", "192.168.1.21", Answer(64, Some("y"))),
            Say("Across there is no filter: a just has no route, and does not even ask."),
            unheard("a", "192.168.1.20", NoRoute, "x"),
        ],
    },
    Lab {
        name: "on-link",
        shows: "two subnets on one segment, made one by a route without a gateway: subnets are no isolation",
        steps: &[
            Say("The route says: 192.168.1.0/24 is on this wire, too. No router is needed, so TTL stays 64."),
            Minirun(
                "network create --ipv6=false --subnet 192.168.0.0/24 --subnet 192.168.1.0/24 --no-gateway --route 192.168.0.0/24 --route 192.168.1.0/24 lan",
            ),
            Minirun("run -d --name a --network lan:ip=192.168.0.10 hello /hello --wait"),
            Minirun("run -d --name x --network lan:ip=192.168.1.20 hello /hello --wait"),
            ping("a", "192.168.1.20", Answer(64, Some("x"))),
            ping("x", "192.168.0.10", Answer(64, Some("a"))),
        ],
    },
    Lab {
        name: "router-on-a-stick",
        shows: "two subnets on one segment with a gateway each: the host routes, over one wire",
        steps: &[
            Say("Both gateways are addresses of the bridge. What goes across goes to the host and comes back: TTL 63."),
            Minirun("network create --ipv6=false --subnet 192.168.0.0/24 --subnet 192.168.1.0/24 lan"),
            Minirun("run -d --name a --network lan:ip=192.168.0.10 hello /hello --wait"),
            Minirun("run -d --name b --network lan:ip=192.168.0.11 hello /hello --wait"),
            Minirun("run -d --name x --network lan:ip=192.168.1.20 hello /hello --wait"),
            ping("a", "192.168.0.11", Answer(64, Some("b"))),
            ping("a", "192.168.0.1", Answer(64, Some(HOST))),
            ping("a", "192.168.1.20", Answer(63, None)),
        ],
    },
    Lab {
        name: "proxy-arp",
        shows: "one subnet on two segments: the host answers ARP for the other half, and routes",
        steps: &[
            Say("One subnet on two bridges is refused, for nobody would know where an address is."),
            Minirun("network create --subnet 192.168.0.0/24 left"),
            Refused("network create --subnet 192.168.0.0/24 right", "overlaps 192.168.0.0/24 (network left)"),
            Minirun("network rm left"),
            Say("With proxy ARP the host knows, by a route to each address, and answers in its name."),
            Minirun("network create --proxy-arp --subnet 192.168.0.0/24 left"),
            Minirun("network create --proxy-arp --subnet 192.168.0.0/24 right"),
            Minirun("run -d --name a --network left:ip=192.168.0.10 hello /hello --wait"),
            Minirun("run -d --name b --network left:ip=192.168.0.11 hello /hello --wait"),
            Minirun("run -d --name x --network right:ip=192.168.0.20 hello /hello --wait"),
            Say("On the same bridge b answers for itself. For x the host does, and takes one from the TTL."),
            ping("a", "192.168.0.11", Answer(64, Some("b"))),
            overheard("a", "192.168.0.20", Answer(63, Some(HOST)), "b"),
        ],
    },
    Lab {
        name: "isolated",
        shows: "one subnet on one segment, and nobody reaches a neighbour: ports that are isolated",
        steps: &[
            Minirun("network create --ipv6=false --isolate --subnet 192.168.0.0/24 lan"),
            Minirun("run -d --name a --network lan:ip=192.168.0.10 hello /hello --wait"),
            Minirun("run -d --name b --network lan:ip=192.168.0.11 hello /hello --wait"),
            Say("The bridge passes nothing from an isolated port to another one, not even the question."),
            unheard("a", "192.168.0.11", Silence, "b"),
            ping("a", "192.168.0.1", Answer(64, Some(HOST))),
        ],
    },
    Lab {
        name: "vlans",
        shows: "two VLANs on one bridge: two segments on one wire (needs a kernel with VLAN filtering)",
        steps: &[
            Minirun("network create --ipv6=false --vlan 10 --subnet 10.10.0.0/24 ten"),
            Minirun("network create --ipv6=false --bridge ten --vlan 20 --subnet 10.20.0.0/24 twenty"),
            Minirun("run -d --name a --network ten:ip=10.10.0.10 hello /hello --wait"),
            Minirun("run -d --name b --network ten:ip=10.10.0.11 hello /hello --wait"),
            Minirun("run -d --name x --network twenty:ip=10.20.0.20 hello /hello --wait"),
            Say("A frame of VLAN 10 goes to no port of VLAN 20, a broadcast as little as an answer."),
            unheard("a", "10.10.0.11", Answer(64, Some("b")), "x"),
            ping("a", "10.20.0.20", Silence),
            Say("Each VLAN has its gateway."),
            ping("a", "10.10.0.1", Answer(64, Some(HOST))),
            ping("x", "10.20.0.1", Answer(64, Some(HOST))),
        ],
    },
];
