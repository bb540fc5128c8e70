//! Apache Kafka's jars, from Maven, once for a checkout.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of tests/kafka/pom.xml; a change there must come here too, or the old jars stay in use.
const VERSION: &str = "4.1.1";

/// The directory of the jars, filled by Maven when it is not there yet.
///
/// # Errors
/// Java or Maven is missing, or the jars can't be had: what to do is in the text.
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
    fs::create_dir_all(&target).map_err(|error| format!("{} can't be made: {error}", target.display()))?;
    // Test binaries may run at the same time: one fetches, the others wait for it.
    let lock = target.join("kafka.lock");
    let lock = File::create(&lock).map_err(|error| format!("{} can't be made: {error}", lock.display()))?;
    lock.lock().map_err(|error| format!("the lock on Kafka's jars can't be had: {error}"))?;
    if !jars.exists() {
        fetch(&repository.join("tests/kafka/pom.xml"), &jars)?;
    }
    Ok(jars)
}

/// Fetches into a directory beside, which gets its name when it is whole.
fn fetch(pom: &Path, jars: &Path) -> Result<(), String> {
    let partial = jars.with_extension("partial");
    let output = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", partial.display()))
        .output()
        .map_err(|error| format!("mvn can't be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("mvn can't fetch Kafka {VERSION}:\n{}", String::from_utf8_lossy(&output.stdout)));
    }
    fs::rename(&partial, jars).map_err(|error| format!("{} can't be made: {error}", jars.display()))
}
