//! Shared by tests, campaigns and benchmarks: the paths of the programs under test.

use std::path::PathBuf;

/// A program of the workspace, built with the same profile and for the same target as the test that asks.
///
/// # Panics
/// If it was not built: `cargo test` builds the programs of its own package only.
pub fn program(name: &str) -> String {
    let own = std::env::current_exe().expect("the path of this test");
    // <profile>/deps/<test>
    let path = own
        .ancestors()
        .nth(2)
        .expect("a profile's directory")
        .join(name);
    assert!(
        path.exists(),
        "{} is not built, and cargo test does not build it: run `make test`, or first \
         `cargo build -p ur-agent -p ur` with the --release and --target that the test has",
        path.display()
    );
    path.into_os_string()
        .into_string()
        .expect("a path that is text")
}

/// The top of the checkout.
pub fn checkout() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
