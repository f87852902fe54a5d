//! Links the image freestanding: no C runtime, no libraries, our own layout.

use std::env;
use std::path::PathBuf;

#[allow(
    clippy::print_stdout,
    reason = "cargo reads what a build script prints"
)]
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=image.ld");
    if env::var_os("CARGO_FEATURE_IMAGE").is_none() {
        return;
    }
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let script = PathBuf::from(root).join("image.ld");
    let args = [
        // rustc asks for a position-independent executable of a hosted target;
        // of two such options the linker driver obeys the later one.
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,-z,norelro",
        "-Wl,-z,noexecstack",
    ];
    for arg in args {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{}", script.display());
}
