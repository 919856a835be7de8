//! The order of a container's birth, and why each part stands where it stands. Pure; decides nothing else.

use super::step::{Step, Wait};
use super::{Parts, Plan};
use crate::mount::step::Step as MountStep;

/// Four lists. `prepare`, before init exists; `host`, while init sets itself up; `inside`, by init; `start`, by init
/// after the barrier. An arrow between `host` and `inside` is a wait: at the head for id maps, where there are any, and at the barrier.
pub(super) fn birth(parts: Parts) -> Plan {
    let prepare = [
        parts.directories,    // places of its own: everything below writes into them
        parts.copy,           // takes longest, so before anything that others wait for
        parts.volumes,        // after the container's record, which keeps them from being removed meanwhile
        parts.shared_network, // bridge and rules that others may have made already: an address needs them
        parts.cgroup,         // limits hold from the first instruction on, so they come before the clone
        vec![parts.clone],    // all namespaces at once; the cgroup namespace later, or its root would be ours
    ];
    let host = [
        parts.to_init,         // what only root of the host may do to it: its limits, and on v1 its cgroups
        parts.id_maps,         // who init is, before it makes anything that has an owner
        parts.lent,            // its root and volumes, in these ids
        parts.release_id_maps, // its first wait ends
        parts.network,         // names init's network namespace, so after the clone; overlaps with the mounts inside
    ];
    let inside = [
        parts.wait_id_maps,                  // before anything is made: it would belong to nobody
        parts.become_root,                   // before that, it may not even make a directory
        parts.join,                          // other containers' namespaces, before anything that shows them is mounted
        parts.join_cgroup, // v1: by writing "0" oneself; then the cgroup namespace, whose root is where we stand
        parts.session,     // before a terminal can become the controlling one
        parts.early,       // oom score and labels through the host's /proc, which is gone after the pivot
        parts.mounts,      // private propagation, root, volumes (sources are host paths), proc, sys, dev, masks
        parts.names,       // hostname, sysctls: the namespaces exist, /proc of the host is still there
        parts.console,     // in the container's devpts, by descriptor
        parts.limits,      // when all is opened that has to be; prlimit(1) is the host's
        vec![Step::Mount(MountStep::Pivot)], // after it no host tool exists: nothing below needs one
        parts.workdir,     // as root, for a directory may be closed to the user; checked against the root
        parts.identity,    // no_new_privs set: identity, then seccomp; unset: seccomp first, it needs SYS_ADMIN
    ];
    let start = [
        vec![Step::Wait(Wait::Start)], // `create` ends here
        vec![parts.exec],
    ];
    Plan { prepare: prepare.concat(), host: host.concat(), inside: inside.concat(), start: start.concat() }
}
