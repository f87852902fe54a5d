//! Builds the guest image, so that one command builds everything.
//!
//! The image is freestanding and must not share features with the workspace's std crates, so a
//! separate cargo process builds it in a separate target folder.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[allow(
    clippy::print_stdout,
    reason = "cargo reads what a build script prints"
)]
fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // Read at run time, not with env!: clones of the repository may share a target folder.
    let package = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let root = Path::new(&package).join("../..");
    let target = out.join("guest");
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"));
    cargo
        .current_dir(&root)
        .args(["build", "--package", "guest-kernel", "--features", "image"])
        .args(["--profile", "guest", "--target-dir"])
        .arg(&target);
    // These variables describe the build of the harness, not of the image.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let inherited = text.starts_with("CARGO_CFG_")
            || text.starts_with("CARGO_FEATURE_")
            || [
                "CARGO_ENCODED_RUSTFLAGS",
                "RUSTC_WORKSPACE_WRAPPER",
                "RUSTC_WRAPPER",
                "CARGO_TARGET_DIR",
                "CARGO_BUILD_TARGET_DIR",
            ]
            .contains(&text.as_ref());
        if inherited {
            cargo.env_remove(&name);
        }
    }
    let status = cargo.status().expect("cargo runs");
    assert!(
        status.success(),
        "the build of the guest image failed; see its output above"
    );

    let image = target.join("guest").join("vssd-guest");
    println!("cargo::rustc-env=VSSD_GUEST_IMAGE={}", image.display());
    // The dep-info lists all source files of the image on one line.
    let info = fs::read_to_string(image.with_extension("d")).expect("cargo writes dep-info");
    let (_, sources) = info.split_once(": ").expect("dep-info is a make rule");
    for source in sources.split_whitespace() {
        println!("cargo::rerun-if-changed={source}");
    }
    for manifest in ["Cargo.lock", "Cargo.toml", "guest-os/kernel/Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", root.join(manifest).display());
    }
}
