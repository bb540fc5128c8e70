//! Checks the rules of this code: which room may use which, which code stays pure, how long functions and files may
//! be.

mod circles;
mod licences;
mod rooms;
mod source_file;
mod words;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::rooms::{
    CONSTRUCT, CONSTRUCTED, EFFECTS, EMPTY_NAMES, NAME_RDKAFKA, PURE_MODULES, READ_THE_ENVIRONMENT, ROOMS, Room,
    SHARED_STATE,
};
use crate::source_file::SourceFile;

/// Max lines of a function: one screen.
const FUNCTION_LINES: usize = 70;
/// Max lines of a file without tests. A longer file usually has two purposes.
const FILE_LINES: usize = 450;
/// Markers of unfinished work. Concatenated, so that this file does not contain them.
const LEFTOVERS: [&str; 6] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), "todo!(", "unimplemented!(", "dbg!("];

#[test]
fn source_code_follows_the_rules() {
    let found = check(&source());
    assert!(found.is_empty(), "{} rules broken:\n{}", found.len(), found.join("\n"));
}

#[test]
fn no_unfinished_markers_are_left() {
    let mut found = Vec::new();
    for folder in ["src", "crates", "tests", "benches", "fuzz/src", "fuzz/fuzz_targets"] {
        for (path, text) in files(Path::new(folder)) {
            if path.starts_with("tests/tidy") {
                continue;
            }
            for (number, line) in text.lines().enumerate() {
                if let Some(leftover) = LEFTOVERS.iter().find(|leftover| line.contains(**leftover)) {
                    let what = "finish it, or write in a sentence what is missing and why";
                    found.push(format!("{}:{}: {leftover} marks unfinished work: {what}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn rooms_use_only_rooms_above_them() {
    for (position, room) in ROOMS.iter().enumerate() {
        for used in room.may_use.iter().filter(|used| **used != "*") {
            let above = ROOMS[..position].iter().any(|other| other.name == *used);
            assert!(above, "{} may use {used}, which is not above it in ROOMS", room.name);
        }
        if room.pure {
            let effects = room.may_use.iter().find(|used| Room::named(used).is_some_and(|used| !used.pure));
            assert_eq!(effects, None, "{} is pure, so it may not use a room with effects", room.name);
        }
    }
}

#[test]
fn no_avoided_phrases_are_used() {
    let mut found = Vec::new();
    for (path, text) in source() {
        found
            .extend(words::in_rust(&text).into_iter().map(|(line, told)| format!("{}:{line}: {told}", path.display())));
    }
    for folder in [".", "docs"] {
        let entries = fs::read_dir(folder).expect("the folder is in the tree");
        for path in
            entries.map(|entry| entry.expect("the folder can be listed").path()).filter(|path| words::is_document(path))
        {
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            found.extend(
                words::in_markdown(&text).into_iter().map(|(line, told)| format!("{}:{line}: {told}", path.display())),
            );
        }
    }
    assert!(found.is_empty(), "{} phrases:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_constructed_part_exists() {
    for part in CONSTRUCTED {
        let is_there = files(Path::new("src")).iter().any(|(path, text)| {
            let module = module_of(path);
            module.first().is_some_and(|own| own == part.room)
                && SourceFile::read(&module, text)
                    .is_ok_and(|source| source.functions.iter().any(|(_, name, _)| name == part.function))
                && text
                    .lines()
                    .filter_map(|line| line.strip_prefix("pub struct "))
                    .any(|rest| rest.split(|c: char| !c.is_alphanumeric()).next() == Some(part.of))
        });
        assert!(is_there, "{} has no {}::{}: correct CONSTRUCTED", part.room, part.of, part.function);
    }
}

#[test]
fn every_permission_is_used() {
    let mut unused: BTreeSet<(&str, &str)> = ROOMS
        .iter()
        .flat_map(|room| room.may_use.iter().filter(|used| **used != "*").map(|used| (room.name, *used)))
        .collect();
    for (path, text) in source() {
        let module = module_of(&path);
        let Ok(source) = SourceFile::read(&module, &text) else { continue };
        unused.retain(|(room, permission)| {
            let is_use = |path: &[String]| path[0] == "crate" && path.get(1).is_some_and(|used| used == permission);
            module.first().is_none_or(|own| own != room) || !source.paths.iter().any(|(_, path)| is_use(path))
        });
    }
    assert!(unused.is_empty(), "no file uses these permissions of ROOMS, remove them: {unused:?}");
}

/// Checks that each rule finds a violation. A rule that finds nothing would enforce nothing.
#[test]
fn each_rule_detects_its_violation() {
    let long = format!("//! Doc.\nfn long() {{\n{}}}\n", "    work();\n".repeat(FUNCTION_LINES));
    let broken = [
        (
            "src/decode/x.rs",
            "//! Doc.\nuse crate::{id, deliver::Call};\n",
            "src/decode/x.rs:2: decode may not use deliver",
        ),
        ("src/decode/x.rs", "//! Doc.\nfn f() { super::super::store::f() }\n", ":2: decode may not use store"),
        ("src/decode/x.rs", "//! Doc.\nfn f() { println!(\"{}\", crate::app::f()) }\n", ":2: decode may not use app"),
        (
            "src/render.rs",
            "//! Doc.\nuse std::time::{Duration, Instant};\n",
            ":2: render is pure and may not name std::time::Instant",
        ),
        (
            "src/deliver/lane/row_queue.rs",
            "//! Doc.\nuse tokio::net;\n",
            ":2: deliver::lane::row_queue is pure and may not name tokio",
        ),
        (
            "src/source/ledger.rs",
            "//! Doc.\nuse std::sync::atomic::AtomicBool;\n",
            ":2: source::ledger is pure and may not name std::sync::atomic",
        ),
        ("src/deliver/timer.rs", "//! A deadline; pure.\n", ":1: deliver::timer says that it is pure"),
        ("src/api.rs", "//! Doc.\nfn f() { Settler::new() }\n", ":2: api may not construct a Settler"),
        ("src/store.rs", "//! Doc.\nfn f() { std::env::var(N) }\n", ":2: store may not read the environment"),
        ("src/store.rs", "//! Doc.\nuse rdkafka::{ClientConfig, Message};\n", ":2: store may not name rdkafka"),
        ("src/cellar.rs", "//! Doc.\n", "cellar is not a room"),
        ("src/store.rs", "//! Doc.\nuse outhook_dev::Feed;\n", ":2: store may not use outhook_dev"),
        ("crates/outhook-dev/src/feed.rs", "//! Doc.\nfn f() { g().unwrap() }\n", "feed.rs:2: unwrap()"),
        (
            "crates/outhook-dev/src/feed.rs",
            "//! Doc.\nfn f() { std::env::var(N) }\n",
            ":2: outhook_dev::feed may not read",
        ),
        ("src/id.rs", "fn f() {}\n", "src/id.rs:1: the module has no //! doc"),
        ("src/id.rs", "//! Doc.\nfn f() { g().unwrap() }\n", "src/id.rs:2: unwrap()"),
        ("src/id.rs", "//! Doc.\nfn f() { println!(\"{}\", g().unwrap()) }\n", "src/id.rs:2: unwrap()"),
        ("src/id.rs", "//! Doc.\nfn f() { g().expect(\"\") }\n", "src/id.rs:2: expect()"),
        ("src/decode/utils.rs", "//! Doc.\n", "utils is not a descriptive name"),
        ("src/id.rs", &long, "src/id.rs:2: long has 72 lines"),
    ];
    for (path, text, expected) in broken {
        let found = check(&[(PathBuf::from(path), text.to_owned())]);
        assert!(found.len() == 1 && found[0].contains(expected), "{text}\nexpected: {expected}\nfound: {found:#?}");
    }
    let long_file = "//! Doc.\n".repeat(FILE_LINES + 1);
    assert_eq!(check(&[("src/id.rs".into(), long_file)]).len(), 1);
}

#[test]
fn rules_do_not_apply_to_test_code() {
    let text = "//! Doc.\nuse crate::id;\n#[cfg(test)]\nmod tests {\n    use crate::deliver;\n    fn f() { g().unwrap() }\n}\n";
    assert_eq!(check(&[("src/decode.rs".into(), text.to_owned())]), [""; 0]);
    let tests = [
        ("src/decode.rs".into(), "//! Doc.\n#[cfg(test)]\nmod checks;\n".to_owned()),
        ("src/decode/checks.rs".into(), "fn f() { crate::deliver::g().unwrap() }\n".to_owned()),
    ];
    assert_eq!(check(&tests), [""; 0]);
}

/// The files of the program: `src`, and the crates that it consists of.
fn source() -> Vec<(PathBuf, String)> {
    [files(Path::new("src")), files(Path::new("crates"))].concat()
}

/// All Rust files below a folder, with their text.
fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("the folder can be listed").path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            found.push((path, text));
        }
    }
    found
}

/// All violations of the rules in the files, as `path:line: rule: fix`.
fn check(files: &[(PathBuf, String)]) -> Vec<String> {
    let mut found = Vec::new();
    let mut read = Vec::new();
    for (path, text) in files {
        let module = module_of(path);
        match SourceFile::read(&module, text) {
            Ok(source) => read.push((path, module, text, source)),
            Err(error) => found.push(format!("{}: not valid Rust: {error}", path.display())),
        }
    }
    let tests: BTreeSet<Vec<String>> = read
        .iter()
        .flat_map(|(_, module, _, source)| {
            source.test_modules.iter().map(|test| [module.as_slice(), std::slice::from_ref(test)].concat())
        })
        .collect();
    let modules: Vec<_> = read.iter().map(|(_, module, _, source)| (module.clone(), source)).collect();
    found.extend(circles::circles(&modules));
    for (path, module, text, source) in &read {
        if (1..=module.len()).any(|depth| tests.contains(&module[..depth])) {
            continue;
        }
        let findings = [
            rooms_kept(module, source),
            purity_kept(module, source),
            purity_listed(module, text),
            environment_kept(module, source),
            library_kept(module, source),
            construction_kept(module, source),
            form_kept(module, text, source),
            failures_kept(source),
        ];
        let place = |(line, text): (usize, String)| format!("{}:{line}: {text}", path.display());
        found.extend(findings.into_iter().flatten().map(place));
    }
    found
}

/// Converts `src/deliver/lane.rs` to `["deliver", "lane"]`, and `crates/outhook-dev/src/feed.rs` to
/// `["outhook_dev", "feed"]`. The path of the main crate's root is empty.
fn module_of(path: &Path) -> Vec<String> {
    let path = path.strip_prefix("crates").unwrap_or(path).with_extension("");
    let names = path.iter().map(|name| name.to_string_lossy().replace('-', "_"));
    names.filter(|name| !["src", "lib", "mod"].contains(&name.as_str())).collect()
}

fn rooms_kept(module: &[String], source: &SourceFile) -> Vec<(usize, String)> {
    let Some(own) = module.first() else { return Vec::new() };
    let Some(room) = Room::named(own) else {
        return vec![(1, format!("{own} is not a room: add it to tests/tidy/rooms.rs, or move the file to a room"))];
    };
    let used = source.paths.iter().filter_map(|(line, path)| match path.as_slice() {
        [root, used, ..] if root == "crate" => Some((*line, used)),
        _ => None,
    });
    // Several names from one room in one line are one violation.
    let forbidden: BTreeSet<_> =
        used.filter(|(_, used)| Room::named(used).is_some_and(|used| !room.may_use(used.name))).collect();
    let mend = "pass the value as an argument, or move the code to the right room";
    let told = |(line, used)| (line, format!("{own} may not use {used}, only {}: {mend}", room.may_use.join(", ")));
    forbidden.into_iter().map(told).collect()
}

fn purity_kept(module: &[String], source: &SourceFile) -> Vec<(usize, String)> {
    let name = module.join("::");
    let pure_room = module.first().and_then(|own| Room::named(own)).is_some_and(|room| room.pure);
    if !pure_room && !PURE_MODULES.contains(&name.as_str()) {
        return Vec::new();
    }
    let state: &[&str] = if SHARED_STATE.modules.contains(&name.as_str()) { &[] } else { SHARED_STATE.names };
    let effect_of = |path: &[String]| EFFECTS.iter().chain(state).find(|effect| starts_with(path, effect));
    let mend = "let the caller do it and pass the result";
    let named = source.paths.iter().filter_map(|(line, path)| Some((*line, effect_of(path)?)));
    named.map(|(line, effect)| (line, format!("{name} is pure and may not name {effect}: {mend}"))).collect()
}

/// A file that claims to be pure must be checked for it.
fn purity_listed(module: &[String], text: &str) -> Vec<(usize, String)> {
    let name = module.join("::");
    let is_listed = module.first().and_then(|own| Room::named(own)).is_some_and(|room| room.pure)
        || PURE_MODULES.contains(&name.as_str());
    let doc = text.lines().take_while(|line| line.starts_with("//!"));
    let says = |line: &str| {
        let mut words = line.split(|character: char| !character.is_alphanumeric());
        words.any(|word| word.eq_ignore_ascii_case("pure"))
    };
    if is_listed || !doc.clone().any(says) {
        return Vec::new();
    }
    vec![(1, format!("{name} says that it is pure: add it to PURE_MODULES, or describe what it does"))]
}

fn construction_kept(module: &[String], source: &SourceFile) -> Vec<(usize, String)> {
    let Some(own) = module.first().filter(|own| !CONSTRUCT.contains(&own.as_str())) else { return Vec::new() };
    let constructs = source.paths.iter().filter_map(|(line, path)| {
        let [.., of, function] = path.as_slice() else { return None };
        let part = CONSTRUCTED.iter().find(|part| part.of == of && part.function == function && part.room != own)?;
        Some((*line, format!("{own} may not construct a {}: app constructs it and passes it", part.of)))
    });
    constructs.collect()
}

fn environment_kept(module: &[String], source: &SourceFile) -> Vec<(usize, String)> {
    if module.first().is_none_or(|own| READ_THE_ENVIRONMENT.contains(&own.as_str())) {
        return Vec::new();
    }
    let reads = source.paths.iter().filter(|(_, path)| starts_with(path, "std::env"));
    let mend = "make it a key of the configuration, or read it in cli and pass the value";
    reads.map(|(line, _)| (*line, format!("{} may not read the environment: {mend}", module.join("::")))).collect()
}

/// The Kafka client library is behind one room.
fn library_kept(module: &[String], source: &SourceFile) -> Vec<(usize, String)> {
    let Some(own) = module.first().filter(|own| !NAME_RDKAFKA.contains(&own.as_str())) else { return Vec::new() };
    let lines: BTreeSet<usize> =
        source.paths.iter().filter(|(_, path)| starts_with(path, "rdkafka")).map(|(line, _)| *line).collect();
    let told = |line| (line, format!("{own} may not name rdkafka: use kafka, or add there what is missing"));
    lines.into_iter().map(told).collect()
}

/// Whether a path is `start` or inside it.
fn starts_with(path: &[String], start: &str) -> bool {
    path.iter().map(String::as_str).take(start.split("::").count()).eq(start.split("::"))
}

fn form_kept(module: &[String], text: &str, source: &SourceFile) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    if !source.has_doc {
        found.push((1, "the module has no //! doc: write in a sentence what it is for".to_owned()));
    }
    if let Some(name) = module.iter().find(|name| EMPTY_NAMES.contains(&name.as_str())) {
        found.push((1, format!("{name} is not a descriptive name: name the contents")));
    }
    let lines = text.lines().count() - source.test_lines;
    if lines > FILE_LINES {
        found.push((1, format!("the file has {lines} lines without tests, more than {FILE_LINES}: split it")));
    }
    for (line, name, lines) in source.functions.iter().filter(|(_, _, lines)| *lines > FUNCTION_LINES) {
        let mend = "move its steps to named functions";
        found.push((*line, format!("{name} has {lines} lines, more than {FUNCTION_LINES} (one screen): {mend}")));
    }
    found
}

fn failures_kept(source: &SourceFile) -> Vec<(usize, String)> {
    let unwraps = source.unwraps.iter().map(|line| {
        (*line, "unwrap() outside a test: return the error, or expect() with why it can't happen".to_owned())
    });
    let expects =
        source.mute_expects.iter().map(|line| (*line, "expect() without a text: write why it can't happen".to_owned()));
    unwraps.chain(expects).collect()
}
