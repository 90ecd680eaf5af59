//! The walls between modules, the size of files, and migrations that go together, read from the sources.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const LINES_MAX: usize = 500;
const TEST_MARK: &str = "#[cfg(test)]";

/// Where a rule holds (a path from the repository's root), and what may not be named there.
const WALLS: &[(&str, &[&str])] = &[
    ("protocol/src", &["tokio", "axum", "sqlx", "yrs", "reqwest", "tracing", "crate::domain"]),
    ("server/src/domain", &["tokio", "axum", "hyper", "sqlx", "redis", "reqwest", "std::fs", "std::net"]),
    ("server/src/domain", &["crate::store", "crate::bus", "crate::model", "crate::live", "crate::edge"]),
    (
        "server/src/store",
        &["axum", "reqwest", "yrs", "crate::bus", "crate::model", "crate::live", "crate::edge"],
    ),
    (
        "server/src/bus",
        &["axum", "sqlx", "yrs", "crate::store", "crate::model", "crate::live", "crate::edge"],
    ),
    (
        "server/src/model",
        &["axum", "sqlx", "yrs", "crate::store", "crate::bus", "crate::live", "crate::edge"],
    ),
    ("server/src/live", &["axum", "sqlx", "redis", "reqwest", "yrs", "crate::edge"]),
    ("server/src/edge", &["sqlx", "redis", "reqwest", "yrs"]),
    ("loadtest/src", &["promptroom::", "sqlx", "axum"]),
];

#[test]
fn no_module_names_what_is_behind_its_walls() {
    let mut broken = Vec::new();
    for (place, forbidden) in WALLS {
        let files = rust_files(&place_files(place));
        let tests_only = files_of_tests(&files);
        for file in files.iter().filter(|file| !tests_only.contains(&stem(file))) {
            // yrs has one home; the tests beside it may look through the same window.
            let own_engine = *place == "server/src/domain" && path_text(file).contains("domain/document");
            for (number, line) in code_lines(file) {
                for name in forbidden.iter().filter(|name| names(&line, name)) {
                    broken.push(format!("{}:{number} names {name}", path_text(file)));
                }
                if *place == "server/src/domain" && names(&line, "yrs") && !own_engine {
                    broken.push(format!("{}:{number} names yrs", path_text(file)));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn no_file_holds_more_than_one_can_read() {
    let places = ["protocol", "server/src", "loadtest/src", "tests/src", "tests/it", "web/src"];
    let mut long = Vec::new();
    for file in places.iter().flat_map(|place| files_below(&root().join(place))) {
        let is_source =
            matches!(file.extension().and_then(|end| end.to_str()), Some("rs" | "ts" | "tsx" | "css"));
        let is_generated = path_text(&file).contains("generated");
        if !is_source || is_generated {
            continue;
        }
        let lines = read(&file).lines().count();
        if lines > LINES_MAX {
            long.push(format!("{}: {lines} lines", path_text(&file)));
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    let empty_names = ["mod", "utils", "util", "common", "helpers", "helper", "manager", "service", "misc"];
    let places = ["protocol", "server", "loadtest", "tests", "web/src"];
    for file in places.iter().flat_map(|place| files_below(&root().join(place))) {
        assert!(!empty_names.contains(&stem(&file).as_str()), "{}", path_text(&file));
    }
}

#[test]
fn every_rust_file_says_first_what_it_is() {
    for place in ["protocol", "server", "loadtest", "tests"] {
        for file in rust_files(&files_below(&root().join(place))) {
            assert!(read(&file).starts_with("//! "), "{} does not begin with //!", path_text(&file));
        }
    }
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |database: &str| -> BTreeSet<String> {
        let files = files_below(&root().join("migrations").join(database));
        files.iter().filter_map(|file| Some(file.file_name()?.to_str()?.to_owned())).collect()
    };
    let (sqlite, postgres) = (names("sqlite"), names("postgres"));
    assert!(!sqlite.is_empty());
    for name in &sqlite {
        let text = read(&root().join("migrations/sqlite").join(name));
        assert!(text.starts_with("-- "), "{name} does not say first why it is there");
    }
    assert_eq!(sqlite, postgres);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_owned()
}

/// The module's folder, and the file beside it that opens it.
fn place_files(place: &str) -> Vec<PathBuf> {
    let mut files = files_below(&root().join(place));
    let opening = root().join(format!("{place}.rs"));
    if opening.is_file() {
        files.push(opening);
    }
    files
}

fn rust_files(files: &[PathBuf]) -> Vec<PathBuf> {
    files.iter().filter(|file| file.extension().is_some_and(|end| end == "rs")).cloned().collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return files };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "node_modules" && name != "target" && name != "dist" {
                files.extend(files_below(&path));
            }
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The lines of a file up to its tests, without comments.
fn code_lines(file: &Path) -> Vec<(usize, String)> {
    let text = read(file);
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(|pair| pair[0] == TEST_MARK && pair[1].ends_with('{'));
    let code = lines.iter().take(tests.unwrap_or(lines.len())).enumerate();
    let code = code.filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.map(|(index, line)| (index + 1, (*line).to_owned())).collect()
}

/// Names of modules in files of their own that exist only in test builds.
fn files_of_tests(files: &[PathBuf]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files {
        let text = read(file);
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[0] == TEST_MARK) {
            if let Some(name) = pair[1].strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

fn stem(file: &Path) -> String {
    file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned()
}

/// Whether `line` uses the crate or module `name` as a path.
fn names(line: &str, name: &str) -> bool {
    let path = if name.ends_with("::") { name.to_owned() } else { format!("{name}::") };
    line.match_indices(&path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    }) || line.trim() == format!("use {name};")
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

fn path_text(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}
