//! Finds circles: files of one room that use each other in a loop. Such files can only be understood together.

use std::collections::{BTreeMap, BTreeSet};

use crate::source_file::SourceFile;

/// A module's path from its room, `["deliver", "lane"]`.
type Module = Vec<String>;

/// Returns each circle of files inside a room, with the modules in it. The use of a parent module's items is not part
/// of a circle: a room's root file exports its parts and defines the items that they share.
pub fn circles(files: &[(Module, &SourceFile)]) -> Vec<String> {
    let modules: BTreeSet<&Module> = files.iter().map(|(module, _)| module).collect();
    let exports: BTreeMap<(&Module, &str), &[String]> = files
        .iter()
        .flat_map(|(module, source)| {
            let own = source.exports.iter().filter(|(_, path)| path[0] == "crate");
            own.map(move |(name, path)| ((module, name.as_str()), &path[1..]))
        })
        .collect();
    let mut uses: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
    for (module, source) in files {
        for (_, path) in source.paths.iter().filter(|(_, path)| path[0] == "crate") {
            let Some(used) = defined_in(&path[1..], &modules, &exports) else { continue };
            let is_relative = used.starts_with(module) || module.starts_with(used);
            if !is_relative && used.first() == module.first() {
                uses.entry(module).or_default().insert(used);
            }
        }
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for module in uses.keys() {
        if let Some(circle) = cycle_of(module, &uses)
            && seen.insert(circle.iter().copied().collect::<BTreeSet<_>>())
        {
            let names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
            found.push(format!("{} use each other: move the shared items", names.join(" → ")));
        }
    }
    found
}

/// The module of the file that defines the target of a path, behind re-exports.
fn defined_in<'m>(
    path: &[String],
    modules: &BTreeSet<&'m Module>,
    exports: &BTreeMap<(&Module, &str), &[String]>,
) -> Option<&'m Module> {
    let mut path = path.to_vec();
    // A re-export may lead to another one. More than 8 would be a loop.
    for _ in 0..8 {
        let module = (0..=path.len()).rev().find_map(|length| modules.get(&path[..length].to_vec()).copied())?;
        let Some(name) = path.get(module.len()) else { return Some(module) };
        match exports.get(&(module, name.as_str())) {
            Some(target) => path = [*target, &path[module.len() + 1..]].concat(),
            None => return Some(module),
        }
    }
    None
}

/// The shortest path of uses from a module back to itself.
fn cycle_of<'m>(start: &'m Module, uses: &BTreeMap<&'m Module, BTreeSet<&'m Module>>) -> Option<Vec<&'m Module>> {
    let mut ways = vec![vec![start]];
    let mut reached = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let last = way.last().expect("a way has a start");
            for next in uses.get(last).into_iter().flatten() {
                if *next == start {
                    return Some(way);
                }
                if reached.insert(*next) {
                    longer.push([way.as_slice(), &[*next]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

#[test]
fn circles_are_found_through_reexports_but_not_through_parents() {
    let file = |module: &str, text: &str| {
        let module: Module = module.split("::").map(str::to_owned).collect();
        let source = SourceFile::read(&module, text).expect("the text is valid Rust");
        (module, source)
    };
    let found = |files: &[(Module, SourceFile)]| {
        circles(&files.iter().map(|(module, source)| (module.clone(), source)).collect::<Vec<_>>())
    };
    let root = ("a", "mod b; mod c; pub use self::b::B; pub struct Shared;");
    let files = [file(root.0, root.1), file("a::b", "use super::c::C;"), file("a::c", "use crate::a::B;")];
    assert_eq!(found(&files), ["a::b → a::c use each other: move the shared items"]);
    let files = [file(root.0, root.1), file("a::b", "use super::c::C;"), file("a::c", "use crate::a::Shared;")];
    assert_eq!(found(&files), [""; 0]);
}
