//! Each block of code of a document says its language, and code of ours is compiled.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What a block may be: compiled by rustdoc, run by a test of its own, or neither code nor a command.
const LANGUAGES: [&str; 7] = ["rust", "console", "sql", "toml", "yaml", "json", "text"];

#[test]
fn every_block_says_its_language() {
    for page in documents() {
        for block in blocks(&read(&page)) {
            assert!(LANGUAGES.contains(&block.language), "{}: a block of {:?}", page.display(), block.language);
        }
    }
}

#[test]
fn every_document_with_code_is_compiled() {
    let compiled = include_str!("../src/lib.rs");
    for page in documents() {
        if blocks(&read(&page)).iter().any(|block| block.language == "rust") {
            let included = format!("include_str!(\"../../../{}\")", page.display());
            assert!(compiled.contains(&included), "tests/documents/src/lib.rs does not include {}", page.display());
        }
    }
}

/// `ignore` is compiled by nobody; `compile_fail` without the error is satisfied by a typing error.
#[test]
fn no_block_is_ignored() {
    for page in documents() {
        let blocks = read(&page);
        let ignored =
            blocks.lines().filter(|line| line.trim_start().starts_with("```rust")).find(|line| line.contains("ignore"));
        assert_eq!(ignored, None, "{}", page.display());
    }
}

/// What README's reader writes into Cargo.toml is what these tests are compiled with.
#[test]
fn the_dependencies_that_documents_ask_for_are_ours() {
    let ours = read(Path::new("Cargo.toml"));
    let (mut seen, version) = (0, env!("CARGO_PKG_VERSION"));
    for page in documents() {
        let text = read(&page);
        for line in blocks(&text).into_iter().filter(|block| block.language == "toml").flat_map(|block| block.lines) {
            let Some((name, value)) = line.split_once(" = ").filter(|(name, _)| !name.starts_with('#')) else {
                continue;
            };
            let asked =
                value.split('"').find(|part| part.starts_with(|c: char| c.is_ascii_digit())).unwrap_or_default();
            let known = if name.starts_with("msync") { version.starts_with(asked) } else { has(&ours, name, asked) };
            assert!(!asked.is_empty() && known, "{}: {line}", page.display());
            seen += 1;
        }
    }
    assert!(seen >= 3, "README's are found");
}

#[test]
fn blocks_are_found() {
    let found = blocks("a\n```rust,no_run\nlet x;\n```\n  ```\nuntagged\n  ```\n");
    assert_eq!(found.iter().map(|block| block.language).collect::<Vec<_>>(), ["rust", ""]);
    assert_eq!(found[0].lines, ["let x;"]);
    assert!(has("a = { version = \"1.4\", x }\n", "a", "1") && !has("a = \"12\"\n", "a", "1"));
}

struct Block<'a> {
    language: &'a str,
    lines: Vec<&'a str>,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let (mut found, mut open): (Vec<Block<'_>>, bool) = (Vec::new(), false);
    for line in text.lines() {
        if let Some(info) = line.trim_start().strip_prefix("```") {
            open = !open;
            if open {
                let language = info.split(',').next().unwrap_or_default().trim();
                found.push(Block { language, lines: Vec::new() });
            }
        } else if open {
            found.last_mut().expect("one is open").lines.push(line);
        }
    }
    found
}

/// Says whether a manifest asks for this version of a dependency, or for a later one that suits it as well.
fn has(manifest: &str, name: &str, version: &str) -> bool {
    let line = manifest.lines().find(|line| line.split_once(" = ").is_some_and(|(found, _)| found == name));
    let ours = line.and_then(|line| line.split('"').nth(1)).unwrap_or_default();
    ours == version || ours.strip_prefix(version).is_some_and(|rest| rest.starts_with('.'))
}

/// The documents of the repository, seen from its root.
fn documents() -> Vec<PathBuf> {
    let listed = Command::new("git").args(["ls-files", "*.md"]).current_dir(root()).output().expect("git lists files");
    let listed = String::from_utf8(listed.stdout).expect("names of files are text");
    let pages: Vec<PathBuf> = listed.lines().filter(|page| *page != "msync/docs/guide.md").map(PathBuf::from).collect();
    assert!(pages.len() >= 15, "the documents are found");
    pages
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(page: &Path) -> String {
    let page = root().join(page);
    fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}
