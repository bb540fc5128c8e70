//! Apache Kafka's jars, fetched with Maven once per checkout.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version in tests/kafka/pom.xml. Change both together, or the old jars stay in use.
const VERSION: &str = "4.1.1";

/// Returns the directory of the jars. Maven fills it if it does not exist.
///
/// # Errors
/// Java or Maven is missing, or the jars can't be fetched. The text says what to do.
pub(crate) fn kafka_jars() -> Result<PathBuf, String> {
    for (tool, version) in [("java", "-version"), ("mvn", "--version")] {
        let found = Command::new(tool).arg(version).output().is_ok_and(|output| output.status.success());
        if !found {
            return Err(format!("`{tool}` is not on the PATH (Debian: apt-get install default-jre-headless maven)"));
        }
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = repository.join("target");
    let jars = target.join(format!("kafka-{VERSION}"));
    fs::create_dir_all(&target).map_err(|error| format!("can't create {}: {error}", target.display()))?;
    // Test binaries may run in parallel: one fetches, the others wait for it.
    let lock = target.join("kafka.lock");
    let lock = File::create(&lock).map_err(|error| format!("can't create {}: {error}", lock.display()))?;
    lock.lock().map_err(|error| format!("can't lock Kafka's jars: {error}"))?;
    if !jars.exists() {
        fetch(&repository.join("tests/kafka/pom.xml"), &jars)?;
    }
    Ok(jars)
}

/// Fetches into a temporary directory next to the final one, and renames it when complete.
fn fetch(pom: &Path, jars: &Path) -> Result<(), String> {
    let partial = jars.with_extension("partial");
    let output = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", partial.display()))
        .output()
        .map_err(|error| format!("can't start mvn: {error}"))?;
    if !output.status.success() {
        return Err(format!("mvn can't fetch Kafka {VERSION}:\n{}", String::from_utf8_lossy(&output.stdout)));
    }
    fs::rename(&partial, jars).map_err(|error| format!("can't create {}: {error}", jars.display()))
}
