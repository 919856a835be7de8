# What the parts of hack/bench-network share: a host for each contender, and numbers. Sourced by them, never run.
# shellcheck shell=bash
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
OUT=192.0.2.2 HOST=192.0.2.1 # the host outside and this one (RFC 5737), in every contender's own network

within() { nsenter --net="/run/netns/$1" "${@:2}"; } # NAME COMMAND...: `ip netns exec` would cover /sys and its cgroups

# host NAME: a network of its own that forwards, and another host outside, NAME-out, that routes through it
host() {
  ip netns add "$1"
  ip netns add "$1-out"
  ip -n "$1" link set lo up
  ip -n "$1" link add out0 type veth peer name eth0 netns "$1-out"
  ip -n "$1" address add "$HOST/24" dev out0
  ip -n "$1" link set out0 up
  ip -n "$1-out" address add "$OUT/24" dev eth0
  ip -n "$1-out" link set eth0 up
  ip -n "$1-out" route add default via "$HOST"
  within "$1" sysctl -q net.ipv4.ip_forward=1
}

# bridge HOST NAME...: a bridge, 10.9.0.1, and a namespace on it for each name, from 10.9.0.2 on; no rules at all
bridge() {
  local n=1 host=$1
  ip -n "$host" link add br0 type bridge
  ip -n "$host" address add 10.9.0.1/24 dev br0
  ip -n "$host" link set br0 up
  for name in "${@:2}"; do
    n=$((n + 1))
    ip netns add "$name"
    ip -n "$host" link add "port$n" master br0 type veth peer name eth0 netns "$name"
    ip -n "$host" link set "port$n" up
    ip -n "$name" address add "10.9.0.$n/24" dev eth0
    ip -n "$name" link set eth0 up
    ip -n "$name" route add default via 10.9.0.1
  done
}

# quantile N: the N-th percent of the numbers read, a line each
quantile() { sort -g | awk -v n="$1" '{ v[NR] = $1 } END { i = int((NR - 1) * n / 100 + 0.5) + 1; print v[i] }'; }

about() { # what the figures depend on
  echo "kernel $(uname -r), $(nproc) processors, load $(cut -d' ' -f1-3 /proc/loadavg), $*"
}
