//! A debug build's figures mislead: it builds the release and lets that one measure.

use anyhow::{Context, bail};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Builds `xtask` and `penstock` in release and becomes that `xtask` with the same arguments. Returns only on failure.
///
/// # Errors
/// When this process was not started by cargo, or the build fails.
pub fn hand_over() -> anyhow::Result<()> {
    let Some(cargo) = std::env::var_os("CARGO") else {
        bail!(
            "this is a debug build, whose figures mislead: run `cargo run --release --package xtask -- bench …`, \
             or give --debug-ok to measure it all the same"
        );
    };
    crate::say("a debug build measures nothing true: building the release and measuring with that");
    let packages = ["build", "--release", "--quiet", "--package", "xtask", "--package", "penstock"];
    let built = Command::new(&cargo).args(packages).status().context("running cargo")?;
    if !built.success() {
        bail!("the release build failed: {built}");
    }
    let failed = Command::new(&cargo)
        .args(["run", "--release", "--quiet", "--package", "xtask", "--"])
        .args(std::env::args_os().skip(1))
        .exec();
    Err(failed).context("running the release build")
}
