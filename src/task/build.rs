//! A new file under `scripts/` causes a build: the tasks are compiled in.

fn main() {
    println!("cargo::rerun-if-changed=../../scripts");
}
