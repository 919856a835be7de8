//! The images of images/, run: each does what it is for, and nothing is in it that has no business there.

use crate::support::requires::requires;
use crate::support::sandbox::Sandbox;

/// Compiles on this host. What it asks of the C library is no newer than Debian 12's, whatever the host is.
fn compiled(sandbox: &Sandbox, compiler: &str, source: &str) -> String {
    let program = sandbox.path("program");
    let script = format!("{compiler} -o {0} -x $LANGUAGE - <<'end'\n{source}\nend\n", program.display());
    let language = if compiler.starts_with("g++") { "c++" } else { "c" };
    sandbox
        .sh(&format!("set -e; LANGUAGE={language}; chmod 755 {}; {script}", sandbox.path(".").display()))
        .expect_code(0);
    format!("{}:/program:ro", program.display())
}

fn runs(sandbox: &Sandbox, args: &[&str]) -> String {
    sandbox.minirun(&[&["run", "--rm", "--network", "none", "--pull", "never"], args].concat()).text()
}

const C: &str = r#"
#include <netdb.h>
#include <pwd.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
int main(void) {
  struct passwd *us = getpwuid(geteuid());
  struct servent *https = getservbyname("https", "tcp");
  time_t then = 0;
  struct tm *there;
  tzset();
  there = localtime(&then);
  printf("%s %u %s %d %d\n", us->pw_name, (unsigned)geteuid(), us->pw_dir, https->s_port >> 8 & 255 | (https->s_port & 255) << 8, there->tm_hour);
}
"#;
const SAYS: &str = "nonroot 65532 /home/nonroot 443 5";

#[test]
fn base_runs_a_dynamic_program_and_static_a_static_one() {
    requires![root, tool("gcc")];
    let sandbox = Sandbox::with_images(&["static", "base"]);
    let zone = ["-e", "TZ=Asia/Karachi", "-v"];
    let dynamic = compiled(&sandbox, "gcc", C);
    assert_eq!(runs(&sandbox, &[&zone[..], &[&dynamic, "base", "/program"]].concat()), SAYS);
    // a dynamic program has no loader in static: it is the image's libraries that it ran with
    let lacking = sandbox.minirun(&["run", "--rm", "--network", "none", "-v", &dynamic, "static", "/program"]);
    assert!(lacking.expect_code(127).stderr.contains("/lib64/ld-linux-x86-64.so.2"));
    let tls = "#include <stdio.h>\nconst char *OpenSSL_version(int);\nint main(void) { puts(OpenSSL_version(0)); }";
    // linked to the image's own library: the host may have another, or none
    let library = "mkdir -p lib; $CP; gcc";
    let copy = format!(
        "{0} create --name lend base /x >/dev/null; {0} cp -L lend:/usr/lib/x86_64-linux-gnu/libcrypto.so.3 lib/",
        crate::support::sandbox::minirun_binary().display()
    );
    let compiler = format!("cd {}; {}", sandbox.path(".").display(), library.replace("$CP", &copy));
    let source = format!("{compiler} -x c - -x none lib/libcrypto.so.3 -o program <<'end'\n{tls}\nend");
    sandbox.sh(&format!("set -e; {source}")).expect_code(0);
    let said = runs(&sandbox, &["-v", &dynamic, "base", "/program"]);
    assert!(said.starts_with("OpenSSL 3."), "{said}");
    // getpwuid and getservbyname of a static program read the same files
    let alone = "#include <stdio.h>\n#include <unistd.h>\nint main(void) { printf(\"%u\\n\", (unsigned)geteuid()); }";
    let alone = compiled(&sandbox, "gcc -static", alone);
    assert_eq!(runs(&sandbox, &["-v", &alone, "static", "/program"]), "65532");
}

#[test]
fn cc_runs_a_program_in_cpp_with_exceptions_and_threads() {
    requires![root, tool("g++")];
    let sandbox = Sandbox::with_images(&["base", "cc"]);
    // no iostream: g++ 13 and later link it to what is newer than gcc 12's library
    let source = r#"
#include <cstdio>
#include <map>
#include <stdexcept>
int main() {
  std::map<int, int> squares;
  int threads = 0;
  #pragma omp parallel num_threads(3) reduction(+ : threads)
  threads += 1;
  for (int n = 0; n < 4; n++) squares[n] = n * n;
  try {
    throw std::runtime_error("caught");
  } catch (const std::exception &e) {
    std::printf("%s %d %d\n", e.what(), squares[3], threads);
  }
}"#;
    let program = compiled(&sandbox, "g++ -fopenmp", source);
    assert_eq!(runs(&sandbox, &["-v", &program, "cc", "/program"]), "caught 9 3");
    let lacking = sandbox.minirun(&["run", "--rm", "--network", "none", "-v", &program, "base", "/program"]);
    let lacking = lacking.expect_code(127).stderr;
    assert!(
        lacking.contains("libstdc++.so.6") || lacking.contains("libgomp.so.1"),
        "the loader's own words: {lacking}"
    );
}

#[test]
fn python_runs_with_its_library_and_without_a_shell() {
    requires![root];
    let sandbox = Sandbox::with_images(&["python"]);
    let modules = "bz2 ctypes curses dbm.ndbm decimal hashlib json lzma multiprocessing readline sqlite3 ssl uuid zlib \
        asyncio email http.server unittest urllib.request xml.etree.ElementTree zoneinfo";
    let script = format!(
        "import importlib, os, shutil, subprocess, sys\n\
        for name in '{modules}'.split(): importlib.import_module(name)\n\
        import ssl, json, sqlite3, zoneinfo, ctypes\n\
        print(json.dumps([sys.version_info[:2], ssl.OPENSSL_VERSION.split('.')[0], os.getuid(), os.getcwd()]))\n\
        print(len(ssl.create_default_context().get_ca_certs()) > 100, sqlite3.connect(':memory:').execute('select 6*7').fetchone()[0])\n\
        print(zoneinfo.ZoneInfo('Asia/Karachi').utcoffset(None) or 'zone', ctypes.CDLL('libc.so.6').getuid())\n\
        print(shutil.which('sh'), shutil.which('bash'), sys.stdout.encoding)\n\
        try: subprocess.run('true', shell=True)\n\
        except FileNotFoundError as e: print(e.filename)"
    );
    let said = runs(&sandbox, &["python", "-c", &script]);
    let want = "[[3, 11], \"OpenSSL 3\", 65532, \"/home/nonroot\"]\nTrue 42\nzone 65532\nNone None utf-8\n/bin/sh";
    assert_eq!(said, want);
    let home = runs(&sandbox, &["python", "-c", "open('mine', 'w').write('x'); print(open('mine').read())"]);
    assert_eq!(home, "x", "its home is its own");
    let denied = sandbox.minirun(&["run", "--rm", "--network", "none", "python", "-c", "open('/etc/x', 'w')"]);
    assert!(denied.expect_code(1).stderr.contains("PermissionError"));
    // a file of one's own, and compiled modules of its own
    std::fs::write(sandbox.path("main.py"), "import sys; print('argument', sys.argv[1])").unwrap();
    sandbox.sh(&format!("chmod 755 {0}; chmod 644 {0}/main.py", sandbox.path(".").display())).expect_code(0);
    let mine = format!("{}:/app/main.py:ro", sandbox.path("main.py").display());
    assert_eq!(runs(&sandbox, &["-v", &mine, "python", "/app/main.py", "one"]), "argument one");
}

#[test]
fn debian_busybox_and_hello_are_what_they_say() {
    requires![root];
    let sandbox = Sandbox::with_images(&["debian", "busybox", "hello"]);
    let release = runs(&sandbox, &["debian", "cat", "/etc/os-release"]);
    assert!(release.contains("VERSION_CODENAME=bookworm"), "{release}");
    // everything is installed as dpkg wants it, and apt knows it
    let state = "dpkg --audit && dpkg-query -W -f '${db:Status-Status}\\n' | sort -u && apt-get check -q=2 && id -un && perl -e 'print 6*7'";
    assert_eq!(runs(&sandbox, &["debian", "sh", "-c", state]), "installed\nroot\n42");
    let tools = "for tool in bash ps mount tar gzip find grep sed awk; do command -v $tool >/dev/null || echo no $tool; done; ls /proc/1/exe /etc/ssl/certs/ca-certificates.crt";
    assert_eq!(runs(&sandbox, &["debian", "bash", "-c", tools]), "/etc/ssl/certs/ca-certificates.crt\n/proc/1/exe");
    // nothing of the host that it was made on
    let left = "cat /etc/apt/sources.list /etc/machine-id 2>/dev/null; ls -A /var/log /tmp /var/cache/apt/archives";
    let left = runs(&sandbox, &["debian", "sh", "-c", left]);
    assert_eq!(left, "/tmp:\n\n/var/cache/apt/archives:\npartial\n\n/var/log:");
    assert_eq!(runs(&sandbox, &["busybox", "sh", "-c", "id -un; ls / | wc -l"]).lines().next(), Some("root"));
    assert!(runs(&sandbox, &["hello"]).starts_with("Hello from inside a container."));
}
