//! The tasks under `scripts` are compiled in: a file that is new there asks for another build.

fn main() {
    println!("cargo::rerun-if-changed=../../scripts");
}
