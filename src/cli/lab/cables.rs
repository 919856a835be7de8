//! Labs of what a network is made of: links, bridges and routes laid by hand.

use super::scenario::Expect::{Answer, Silence};
use super::scenario::Step::{Ip, Minirun, Say};
use super::scenario::{HOST, Lab, ping};

pub(super) const LABS: &[Lab] = &[
    Lab {
        name: "route-clash",
        shows: "two cables with an address of the same subnet each: the first route wins",
        steps: &[
            Say("Two network namespaces, each with a cable to the host, and no bridge."),
            Minirun("run -d --name netns0 --network none hello /hello --wait"),
            Minirun("run -d --name netns1 --network none hello /hello --wait"),
            Ip {
                at: HOST,
                lines: &[
                    "ip link add veth0 type veth peer name ceth0 netns $netns0",
                    "ip link set veth0 up",
                    "ip address add 172.18.0.11/16 dev veth0",
                    "ip link add veth1 type veth peer name ceth1 netns $netns1",
                    "ip link set veth1 up",
                    "ip address add 172.18.0.21/16 dev veth1",
                ],
            },
            Ip { at: "netns0", lines: &["ip link set ceth0 up", "ip address add 172.18.0.10/16 dev ceth0"] },
            Ip { at: "netns1", lines: &["ip link set ceth1 up", "ip address add 172.18.0.20/16 dev ceth1"] },
            Say("The host has two routes to 172.18.0.0/16, and takes the first: all goes to veth0."),
            ping("netns1", "172.18.0.21", Silence),
            ping(HOST, "172.18.0.20", Silence),
            ping("netns0", "172.18.0.11", Answer(64, None)),
            ping("netns0", "172.18.0.20", Silence),
            Say("Without the first route the two have changed places."),
            Ip { at: HOST, lines: &["ip route delete 172.18.0.0/16 dev veth0"] },
            ping("netns1", "172.18.0.21", Answer(64, None)),
            ping("netns0", "172.18.0.11", Silence),
            Say("That is why a bridge is needed, and why minirun refuses subnets that overlap."),
        ],
    },
    Lab {
        name: "two-bridges",
        shows: "two bridges joined by a cable: the broadcast domain grows",
        steps: &[
            Minirun("network create --ipv6=false --no-gateway --subnet 10.63.0.0/24 left"),
            Minirun("run -d --name a --network left:ip=10.63.0.10 hello /hello --wait"),
            Say("A bridge of the host's, with a namespace plugged into it by hand."),
            Minirun("run -d --name far --network none hello /hello --wait"),
            Ip {
                at: HOST,
                lines: &[
                    "ip link add right type bridge",
                    "ip link set right up",
                    "ip link add far0 type veth peer name eth0 netns $far",
                    "ip link set far0 master right",
                    "ip link set far0 up",
                ],
            },
            Ip { at: "far", lines: &["ip link set eth0 up", "ip address add 10.63.0.200/24 dev eth0"] },
            ping("a", "10.63.0.200", Silence),
            Say("One more cable, from bridge to bridge."),
            Ip {
                at: HOST,
                lines: &[
                    "ip link add join0 type veth peer name join1",
                    "ip link set join0 master br:left",
                    "ip link set join0 up",
                    "ip link set join1 master right",
                    "ip link set join1 up",
                ],
            },
            ping("a", "10.63.0.200", Answer(64, None)),
        ],
    },
    Lab {
        name: "vxlan",
        shows: "one segment on two hosts: frames in UDP (needs a kernel with VXLAN)",
        steps: &[
            Say("far stands for another host: a cable leads there, and no bridge."),
            Minirun("network create --ipv6=false --no-gateway --subnet 10.64.0.0/24 here"),
            Minirun("run -d --name a --network here:ip=10.64.0.10 hello /hello --wait"),
            Minirun("run -d --name far --network none hello /hello --wait"),
            Ip {
                at: HOST,
                lines: &[
                    "ip link add wan0 type veth peer name eth0 netns $far",
                    "ip link set wan0 up",
                    "ip address add 192.0.2.1/24 dev wan0",
                ],
            },
            Ip { at: "far", lines: &["ip link set eth0 up", "ip address add 192.0.2.2/24 dev eth0"] },
            ping(HOST, "192.0.2.2", Answer(64, None)),
            ping("a", "10.64.0.200", Silence),
            Say("A tunnel, one end of it plugged into the bridge here, the other with an address there."),
            Ip {
                at: HOST,
                lines: &[
                    "ip link add vx0 type vxlan id 42 remote 192.0.2.2 dstport 4789",
                    "ip link set vx0 master br:here",
                    "ip link set vx0 up",
                ],
            },
            Ip {
                at: "far",
                lines: &[
                    "ip link add vx0 type vxlan id 42 remote 192.0.2.1 dstport 4789",
                    "ip link set vx0 up",
                    "ip address add 10.64.0.200/24 dev vx0",
                ],
            },
            ping("a", "10.64.0.200", Answer(64, None)),
        ],
    },
];
