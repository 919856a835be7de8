//! rpm's database: what it says is installed is what `rpm` says, in whatever form it has been written.

use crate::detached::does;
use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;
use serde_json::Value;
use std::collections::BTreeMap;

/// Makes packages by rpmbuild, and installs them into the databases of three roots: `old`, `new`, where one is newer, one
/// gone and one added, and `berkeley`, which has the packages of `old` as rpm wrote them before it took SQLite.
const ROOTS: &str = r#"
set -euo pipefail
spec() { # VERSION NUMBER...: a package of each number, every seventh with an epoch, most of them larger than a page
  local version=$1; shift
  printf '%s\n' 'Name: base' "Version: $version" 'Release: 3' 'Summary: x' 'License: x' 'BuildArch: noarch' '%description' x
  for i; do
    printf '%s\n' "%package -n part$i" 'Summary: x' "Version: $version.$i"
    [ $((i % 7)) != 0 ] || echo "Epoch: $i"
    printf '%s\n' "%description -n part$i" "$(printf '%*s' $((i * 60)) x | tr ' ' d)" "%files -n part$i"
  done
}
build() { # DIR: of the specification that comes in
  cat >"$1.spec"
  rpmbuild -bb --quiet --define "_topdir $PWD/$1" --define "_rpmdir $PWD/$1" "$1.spec"
}
spec 1 $(seq 120) | build first
spec 2 3 9 121 | build second
on() { # ROOT OPTION...: Debian's rpm warns each time that dpkg is there, too
  local root=$PWD/$1; shift
  rpm --root "$root" --dbpath /var/lib/rpm "$@" 2>>rpm.log || { cat rpm.log; return 1; }
}
mkdir -p old/var/lib/rpm berkeley/var/lib/rpm empty
on old --justdb --nodeps -i first/noarch/part*.rpm
on old --justdb --nodeps -i second/noarch/part9-*.rpm # beside the first one, as kernels are
cp -a old new
on new --justdb --nodeps -U second/noarch/part3-*.rpm second/noarch/part121-*.rpm
on new --justdb --nodeps -e part5
for root in old new; do
  on $root -qa --qf '%{NAME} %|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\n' | sort >$root.list
done
{ printf '%s\n' VERSION=3 format=bytevalue type=hash HEADER=END ' 00000000' ' ff000000'
  sqlite3 old/var/lib/rpm/rpmdb.sqlite "select printf(' %08x', hnum) || char(10) || ' ' || lower(hex(blob)) from Packages"
  echo DATA=END; } | db5.3_load berkeley/var/lib/rpm/Packages
"#;

#[test]
fn rpms_packages_are_those_that_rpm_lists() {
    requires![root, tool("rpmbuild"), tool("sqlite3"), tool("db5.3_load")];
    let sandbox = Sandbox::new();
    let dir = sandbox.path("rpm");
    std::fs::create_dir(&dir).unwrap();
    sandbox.sh(&format!("cd {}; {ROOTS}", dir.display())).expect_code(0);
    let listed = |root: &str| -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(dir.join(root).with_extension("list")).unwrap();
        let mut list = BTreeMap::new();
        for (name, version) in text.lines().map(|line| line.split_once(' ').unwrap()) {
            let name = if list.contains_key(name) { format!("{name}-{version}") } else { name.to_owned() };
            list.insert(name, version.to_owned());
        }
        list
    };
    let (old, new) = (listed("old"), listed("new"));
    assert_eq!((old.len(), new.len(), new["part3"].as_str(), new["part7"].as_str()), (121, 121, "2.3-3", "7:1.7-3"));
    let [was, is, berkeley] = ["old", "new", "berkeley"].map(|root| dir.join(root).display().to_string());

    let compared = does(&sandbox, &["compare", "--format", "json", &was, &is, &berkeley]).stdout;
    let document: Value = serde_json::from_str(&compared).unwrap();
    for (column, name) in
        document["images"].as_array().unwrap().iter().zip(["rpmdb.sqlite", "rpmdb.sqlite", "Packages"])
    {
        let want = serde_json::json!({ "format": "rpm", "path": format!("/var/lib/rpm/{name}"), "count": 121 });
        assert_eq!(column["packages"], want);
    }

    let changes = |a: &str, b: &str| -> BTreeMap<String, (Option<String>, Option<String>)> {
        let document: Value = serde_json::from_str(&sandbox.minirun(&["diff", "--json", a, b]).stdout).unwrap();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let rows = document["packages"].as_array().unwrap().iter();
        rows.map(|row| (text(&row["name"]).unwrap(), (text(&row["was"]), text(&row["is"])))).collect()
    };
    let names =
        old.keys().chain(new.keys()).map(|name| (name.clone(), (old.get(name).cloned(), new.get(name).cloned())));
    assert_eq!(changes(&was, &is), names.filter(|(_, (was, is))| was != is).collect());
    assert_eq!(changes(&was, &berkeley), BTreeMap::new());
    let all = old.into_iter().map(|(name, version)| (name, (None, Some(version)))).collect();
    assert_eq!(changes(dir.join("empty").to_str().unwrap(), &berkeley), all);

    // what is in SQLite's log is not in the database: that it cannot be said is said
    std::fs::write(dir.join("new/var/lib/rpm/rpmdb.sqlite-wal"), "x").unwrap();
    let said = does(&sandbox, &["compare", &is]).stdout;
    assert!(said.lines().any(|line| line.starts_with("PACKAGES") && line.ends_with("rpm database")), "{said}");
    let said = sandbox.minirun(&["diff", &was, &is]).expect_code(1).stdout;
    assert!(said.starts_with("packages are not compared") && !said.contains("package part"), "{said}");
}
