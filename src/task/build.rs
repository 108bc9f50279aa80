//! cargo's build script: a new file under `scripts/` causes a build, since the tasks are compiled in.

fn main() {
    println!("cargo::rerun-if-changed=../../scripts");
}
