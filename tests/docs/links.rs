//! Checks that each link in the documents leads to an existing file and heading.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_link_leads_to_an_existing_file_and_heading() {
    let mut broken = Vec::new();
    let mut count = 0;
    for page in pages() {
        let text = read(&page);
        for link in links(&text).filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            count += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                _ => page.parent().unwrap_or(Path::new("")).join(file),
            };
            if !target.exists() {
                broken.push(format!("{}: {link}: there is no {}", page.display(), target.display()));
            } else if !heading.is_empty() && !anchors(&read(&target)).contains(heading) {
                broken.push(format!("{}: {link}: {} has no such heading", page.display(), target.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(count > 100, "only {count} links found");
}

#[test]
fn links_and_headings_are_parsed_as_rendered() {
    let text = "[a](b.md#c), `[no](link)`\n```\n[no](link)\n```\n[two\nlines](d.md)\n## What `x` is, and why\n## Again\n## Again\n";
    assert_eq!(links(text).collect::<Vec<_>>(), ["b.md#c", "d.md"]);
    assert_eq!(anchors(text), ["what-x-is-and-why", "again", "again-1"].map(str::to_owned).into());
}

fn pages() -> Vec<PathBuf> {
    let folders = [".", "docs", "tests/fixtures/debezium"];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("the folder is in the tree"));
    let paths = entries.map(|entry| entry.expect("the folder can be listed").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines outside code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The targets of `[…](…)`, outside code.
fn links(text: &str) -> impl Iterator<Item = &str> {
    prose(text).flat_map(|line| {
        let outside = line.split('`').step_by(2);
        outside.flat_map(|part| part.match_indices("](").filter_map(|(at, _)| part[at + 2..].split(')').next()))
    })
}

/// The anchors of a page's headings, as GitHub generates them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in prose(text).filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept =
            heading.chars().filter(|character| character.is_alphanumeric() || matches!(character, ' ' | '-' | '_'));
        let anchor: String = kept.map(|character| if character == ' ' { '-' } else { character }).collect();
        let mut name = anchor.clone();
        for again in 1.. {
            if found.insert(name) {
                break;
            }
            name = format!("{anchor}-{again}");
        }
    }
    found
}
