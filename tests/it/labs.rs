//! Labs: what they expect is seen, and nothing of them stays.

use crate::detached::does;
use crate::support::command::seconds;
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;
use crate::support::snapshot::Snapshot;

/// That a lab was as expected, and how often.
fn plays(sandbox: &Sandbox, lab: &str, questions: usize) {
    let said = does(sandbox, &["lab", "run", lab]).stdout;
    assert!(said.ends_with(&format!("\n{questions} of {questions} as expected\n\n")), "{said}");
    assert!(!said.contains("not as expected"), "{said}");
}

#[test]
fn what_labs_expect_is_seen_and_nothing_stays() {
    requires![root, link("vxlan")];
    let sandbox = Sandbox::new();
    does(&sandbox, &["lab", "run", "on-link"]); // what the first command makes is there from here on
    let before = Snapshot::of(&sandbox);
    let labs = [
        ("one-subnet", 3),
        ("two-subnets", 3),
        ("on-link", 2),
        ("router-on-a-stick", 3),
        ("proxy-arp", 4),
        ("isolated", 2),
        ("route-clash", 6),
        ("two-bridges", 2),
        ("vxlan", 3),
    ];
    let listed = does(&sandbox, &["lab", "ls"]).stdout;
    let names: Vec<&str> = listed.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    let known: Vec<&str> = labs.iter().map(|(lab, _)| *lab).collect();
    assert_eq!(names.into_iter().filter(|name| *name != "vlans").collect::<Vec<_>>(), known);
    labs.iter().for_each(|(lab, questions)| plays(&sandbox, lab, *questions));
    before.assert_only(&sandbox, |_| false);
    let refused = sandbox.minirun(&["lab", "run", "no-such"]).expect_code(2);
    assert!(refused.stderr.contains("no-such"), "{}", refused.stderr);
}

#[test]
fn vlans_are_two_segments_on_one_wire() {
    requires![root, vlan];
    plays(&Sandbox::new(), "vlans", 6);
}

#[test]
fn a_lab_that_is_ended_or_killed_leaves_nothing() {
    requires![root];
    let sandbox = Sandbox::new();
    sandbox.in_network("echo 1 >/proc/sys/net/ipv4/ip_forward").expect_code(0); // a lab's own host begins with 0
    does(&sandbox, &["lab", "run", "on-link"]);
    let before = Snapshot::of(&sandbox);
    let begun = || {
        sandbox
            .start(&["lab", "run", "route-clash", "on-link"])
            .until("it asks", seconds(60), |text| text.contains("netns1# ping"))
    };
    let ended = begun();
    // to the lab alone, which is the older one, and not to its child
    sandbox.sh("kill -TERM $(pgrep -o -x minirun)").expect_code(0);
    let ended = ended.output();
    assert_eq!(ended.code(), 128 + 15);
    assert!(!ended.stdout.contains("on-link"), "no other one is played: {}", ended.stdout);
    before.assert_only(&sandbox, |_| false);
    // who is killed takes nothing back: the next one does
    let kill = |lab| {
        sandbox.sh("kill -9 $(pgrep -x minirun)").expect_code(0);
        drop(lab);
        assert!(!Snapshot::of(&sandbox).changes(&before).is_empty(), "the control: its containers run");
    };
    kill(begun());
    plays(&sandbox, "on-link", 2);
    before.assert_only(&sandbox, |_| false);

    // so does a repair, and one that is played it leaves alone
    let lab = begun();
    let containers = || sandbox.sh("pgrep -c -x minirun-monitor").stdout;
    let played = containers();
    assert!(does(&sandbox, &["repair"]).stderr.contains("nothing to repair"));
    assert_eq!(containers(), played);
    kill(lab);
    assert_eq!(does(&sandbox, &["repair"]).stdout, "a lab that was killed\n");
    before.assert_only(&sandbox, |_| false);

    // and a reset of all, which waits for its end
    let lab = begun();
    let refused = sandbox.minirun(&["system", "reset", "--yes"]).expect_code(1);
    assert!(refused.stderr.contains("a lab is being played") && containers() == played, "{refused}");
    kill(lab);
    assert!(does(&sandbox, &["system", "reset", "--yes"]).stdout.contains("removed a lab that was killed\n"));
    assert_eq!(containers(), "0\n");
    let left = ["root", "state"].map(|dir| sandbox.path(dir).exists());
    assert_eq!((left, sandbox.in_network("cat /proc/sys/net/ipv4/ip_forward").text()), ([false; 2], "1".to_owned()));
}
