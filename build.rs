//! Compiles images/hello/hello.rs, the one file of the image `hello`, so that `src/image/builtin.rs` can embed it.
//! Reproducible: the same compiler gives the same bytes, whatever the directory, host linker or RUSTFLAGS.
#![allow(clippy::print_stdout, clippy::disallowed_methods)] // cargo is spoken to on stdout and answers in the environment

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=images/hello/hello.rs");
    println!("cargo:rerun-if-changed=images/hello/kernel.rs");

    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        smaller();
    }

    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let hello = Path::new(&out).join("hello");
    // rustc's own linker first: it needs no C compiler, links for every architecture, and is the same on every host
    let lld = compile(&hello, &["-Clinker=rust-lld"]);
    if lld.is_err() {
        let cc = compile(&hello, &["-Clink-arg=-nostdlib", "-Clink-arg=-nostartfiles", "-Clink-arg=-static"]);
        assert!(cc.is_ok(), "images/hello/hello.rs does not compile\nwith rust-lld:\n{lld:?}\nwith cc:\n{cc:?}");
    }
}

/// What is not linked: how to unwind, for nothing does (panic is abort).
const NO_UNWINDING: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame) } } INSERT AFTER .text;\n";

/// Has the program linked by rustc's own lld, which keeps one of functions that are the same, and without the tables of
/// how to unwind. A fifth of the file.
fn smaller() {
    let rustc = env::var_os("RUSTC").expect("cargo sets RUSTC");
    let host = env::var("HOST").expect("cargo sets HOST");
    let said = Command::new(rustc).args(["--print", "sysroot"]).output().expect("rustc says where it is");
    let sysroot = String::from_utf8_lossy(&said.stdout);
    let tools = Path::new(sysroot.trim()).join(format!("lib/rustlib/{host}/bin/gcc-ld"));
    if tools.exists() {
        println!("cargo:rustc-link-arg-bins=-B{}", tools.display());
        let script = Path::new(&env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("no-unwinding.ld");
        std::fs::write(&script, NO_UNWINDING).expect("OUT_DIR can be written");
        for argument in ["-fuse-ld=lld", "-Wl,--icf=all", &format!("-Wl,-T,{}", script.display())] {
            println!("cargo:rustc-link-arg-bins={argument}");
        }
    }
    println!("cargo:rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
}

/// Relative source path and no debug information: nothing of this directory gets into the binary.
fn compile(output: &Path, linker: &[&str]) -> Result<(), String> {
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let mut rustc = Command::new(env::var_os("RUSTC").expect("cargo sets RUSTC"));
    rustc.current_dir(&root).args(["--edition=2024", "--crate-name=hello", "--crate-type=bin", "--target", &target]);
    rustc.args(["-Copt-level=z", "-Cpanic=abort", "-Cstrip=symbols", "-Ccodegen-units=1", "-Cdebuginfo=0"]);
    // no C library and no dynamic loader: nobody is there to relocate it
    rustc.args(["-Crelocation-model=static", "-Ctarget-feature=+crt-static", "-Clink-self-contained=no"]);
    rustc.arg(format!("--remap-path-prefix={root}=.")).args(linker).arg("-o").arg(output).arg("images/hello/hello.rs");
    let done = rustc.output().map_err(|e| format!("{rustc:?}: {e}"))?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}
