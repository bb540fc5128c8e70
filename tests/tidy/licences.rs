//! Checks the licences and the sources of all linked crates. `cargo metadata` reads both without a network, once the
//! crates have been downloaded.

use std::collections::BTreeSet;
use std::process::Command;

use serde::Deserialize;

/// Licences that allow everyone to use, change and distribute a program under Apache-2.0.
const ACCEPTED: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// `None` for the packages of this repository.
    source: Option<String>,
}

#[test]
fn every_crate_has_an_accepted_licence_and_comes_from_the_registry() {
    let target = "x86_64-unknown-linux-gnu";
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", target])
        .output()
        .expect("cargo runs this test, so it exists");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    assert!(metadata.packages.len() > 50, "only {} packages are listed", metadata.packages.len());
    let mut found = BTreeSet::new();
    for package in &metadata.packages {
        let Package { name, version, license, source } = package;
        if source.as_deref().is_some_and(|source| source != REGISTRY) {
            found.insert(format!("{name} {version} comes from {source:?}, not from crates.io"));
        }
        let license = license.as_deref().unwrap_or("no licence");
        if !accepted(license) {
            found.insert(format!("{name} {version} is under {license:?}, which is not in ACCEPTED"));
        }
    }
    assert!(found.is_empty(), "{}", found.into_iter().collect::<Vec<_>>().join("\n"));
}

/// Whether an SPDX expression can be satisfied with accepted licences only. AND binds more tightly than OR. Old
/// crates write `/` for OR.
fn accepted(expression: &str) -> bool {
    let expression = expression.trim();
    let either = split(expression, &[" OR ", "/"]);
    if either.len() > 1 {
        return either.into_iter().any(accepted);
    }
    let both = split(expression, &[" AND "]);
    if both.len() > 1 {
        return both.into_iter().all(accepted);
    }
    match expression.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => accepted(inner),
        None => ACCEPTED.contains(&expression),
    }
}

/// Splits at separators outside parentheses.
fn split<'a>(expression: &'a str, separators: &[&str]) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, character) in expression.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0
            && at >= start
            && let Some(separator) = separators.iter().find(|separator| expression[at..].starts_with(**separator))
        {
            parts.push(&expression[start..at]);
            start = at + separator.len();
        }
    }
    parts.push(&expression[start..]);
    parts
}

#[test]
fn licence_expressions_are_read_as_spdx_says() {
    for yes in ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "(MIT OR GPL-3.0) AND ISC", "Apache-2.0 WITH LLVM-exception"]
    {
        assert!(accepted(yes), "{yes}");
    }
    for no in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "no licence", "GPL-2.0 OR MIT AND AGPL-3.0"] {
        assert!(!accepted(no), "{no}");
    }
}
