//! `cargo xtask layering`: the rooms and who may import whom (ARCHITECTURE.md has the reasons; a new edge needs an ADR).

use anyhow::{Context, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::process::Command;

/// Room → what its product code may import.
const ROOMS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("contract", &["model"]),
    ("log-store", &["model", "contract"]),
    ("state-store", &["model", "contract"]),
    ("governor", &["model", "contract"]),
    ("pipeline", &["model", "contract", "governor"]),
    ("connector-postgres", &["model", "contract"]),
    ("connector-salesforce", &["model", "contract"]),
    ("org-sim", &["model"]),
    ("private-postgres", &[]),
    (
        "penstock",
        &[
            "model",
            "contract",
            "log-store",
            "state-store",
            "governor",
            "pipeline",
            "connector-postgres",
            "connector-salesforce",
            "org-sim",
            "private-postgres",
        ],
    ),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

/// Fails when a crate imports another room than the table allows.
pub fn run() -> anyhow::Result<()> {
    let output = Command::new("cargo").args(["metadata", "--no-deps", "--format-version", "1"]).output()?;
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let rules: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let mut broken = Vec::new();
    for package in metadata.packages.iter().filter(|package| package.name != "xtask") {
        broken.extend(violations(package, &rules));
    }
    if !broken.is_empty() {
        bail!("{}\na new edge needs an ADR in docs/adr/ and a line in crates/xtask/src/layering.rs", broken.join("\n"));
    }
    Ok(())
}

fn violations(package: &Package, rules: &BTreeMap<&str, &[&str]>) -> Vec<String> {
    let Some(allowed) = rules.get(package.name.as_str()) else {
        return vec![format!("{} is no room of the table", package.name)];
    };
    let inside = package.dependencies.iter().filter(|dependency| dependency.path.is_some());
    inside
        .filter(|dependency| dependency.kind.as_deref() != Some("dev"))
        .filter(|dependency| !allowed.contains(&dependency.name.as_str()))
        .map(|dependency| format!("{} may not import {}", package.name, dependency.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, imports: &[(&str, Option<&str>)]) -> Package {
        let dependency = |(name, kind): &(&str, Option<&str>)| Dependency {
            name: (*name).to_owned(),
            kind: kind.map(str::to_owned),
            path: Some("x".into()),
        };
        Package { name: name.into(), dependencies: imports.iter().map(dependency).collect() }
    }

    #[test]
    fn an_edge_outside_the_table_is_found_and_a_test_edge_is_not() {
        let rules: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
        let planted = package("connector-postgres", &[("pipeline", None), ("log-store", Some("dev")), ("model", None)]);
        assert_eq!(violations(&planted, &rules), vec!["connector-postgres may not import pipeline"]);
        assert_eq!(violations(&package("pipeline", &[("org-sim", None), ("org-sim", Some("dev"))]), &rules).len(), 1);
        assert_eq!(violations(&package("attic", &[]), &rules).len(), 1);
    }
}
