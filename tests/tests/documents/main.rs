//! What documents and comments name exists: files, links, headings, and the tests that answer the bugs of others.

mod floors;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Folders that hold what others have made, or what a build leaves.
const NOT_OURS: [&str; 4] = ["target", ".git", "node_modules", "golden"];

#[test]
fn every_link_of_a_document_leads_somewhere() {
    let broken = all(is_markdown).into_iter().flat_map(|page| {
        let text = read(&page);
        let links = links_of(&text).into_iter().filter(|link| !leads_somewhere(&page, link)).map(str::to_owned);
        links.map(|link| format!("{}: {link}", shown(&page))).collect::<Vec<_>>()
    });
    let broken: Vec<_> = broken.collect();
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

#[test]
fn every_file_that_a_document_or_a_comment_names_exists() {
    let mut missing = Vec::new();
    for file in all(|path| is_markdown(path) || is_rust(path) || is_manifest(path)) {
        let text = read(&file);
        let words = if is_markdown(&file) { quoted(&text) } else { commented(&text) };
        let gone = words.into_iter().filter(|word| is_a_path_of_ours(word) && !exists(&file, word));
        missing.extend(gone.map(|word| format!("{}: {word}", shown(&file))));
    }
    assert!(missing.is_empty(), "files that are named and do not exist:\n{}", missing.join("\n"));
}

#[test]
fn every_known_bug_of_others_has_a_test_by_its_number() {
    let numbers = numbers_of_bugs(&read(&root().join("docs/known-bugs.md")));
    assert!(numbers.len() >= 47, "the table is read: {numbers:?}");
    let tested: BTreeSet<u32> = all(is_rust).iter().flat_map(|file| bugs_tested_in(&read(file))).collect();
    let untested: Vec<_> = numbers.difference(&tested).collect();
    assert!(untested.is_empty(), "no test bears the number of these: {untested:?}");
}

#[test]
fn comments_cite_sections_of_the_design_that_exist() {
    let design = read(&root().join("docs/design.md"));
    let sections: BTreeSet<String> = headings(&design).filter_map(number_at).collect();
    let mut unknown = Vec::new();
    for file in all(is_rust) {
        let text = read(&file);
        let cited = text.match_indices("(design ").filter_map(|(at, _)| number_at(&text[at + 8..]));
        unknown.extend(cited.filter(|section| !sections.contains(section)).map(|s| format!("{}: {s}", shown(&file))));
    }
    assert!(unknown.is_empty(), "sections that docs/design.md does not have:\n{}", unknown.join("\n"));
}

// The tests of the tests: each reader finds what it is to find.

#[test]
fn links_headings_paths_and_numbers_are_found() {
    let text = "see [a](b.md#c-d) and ![x](y.png)\n```\n[not](one)\n```\n`tests/README.md`, `cargo test`";
    assert_eq!(links_of(text), ["b.md#c-d", "y.png"]);
    assert_eq!(anchor("4.1 What's `here`, now?"), "41-whats-here-now");
    assert!(is_a_path_of_ours("tests/README.md") && !is_a_path_of_ours("kube-apiserver/app"));
    assert_eq!(quoted(text), ["tests/README.md", "cargo", "test"]);
    assert_eq!(bugs_tested_in("fn bug_14_and_33_x() {}\nfn l2_bug_7_y() {}"), [14, 33, 7]);
    assert_eq!(number_at("4.2), which").as_deref(), Some("4.2"));
    assert!(!leads_somewhere(&root().join("README.md"), "no/such/file.md"));
    assert!(!leads_somewhere(&root().join("README.md"), "#no-such-heading"));
}

// === links ===

fn links_of(text: &str) -> Vec<&str> {
    prose(text).flat_map(|line| line.match_indices("](").filter_map(|(at, _)| until(&line[at + 2..], ')'))).collect()
}

fn leads_somewhere(page: &Path, link: &str) -> bool {
    if link.contains("://") || link.starts_with("mailto:") || link.starts_with("crate::") {
        return true;
    }
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() { page.to_owned() } else { page.parent().unwrap_or(page).join(file) };
    if heading.is_empty() || !is_markdown(&target) {
        return target.exists();
    }
    target.exists() && headings(&read(&target)).any(|line| anchor(line) == heading)
}

/// The lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

fn headings(text: &str) -> impl Iterator<Item = &str> {
    prose(text).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim())
}

/// How the place of a heading is called in a link.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn until(text: &str, end: char) -> Option<&str> {
    text.find(end).map(|at| &text[..at])
}

// === files that are named ===

/// The words between backticks of a page, outside of code blocks.
fn quoted(text: &str) -> Vec<&str> {
    let code = prose(text).flat_map(|line| line.split('`').skip(1).step_by(2));
    code.flat_map(str::split_whitespace).map(trimmed).collect()
}

/// The words of comments.
fn commented(text: &str) -> Vec<&str> {
    let comment = |line: &'_ str| ["//", "#"].iter().any(|mark| line.trim_start().starts_with(mark));
    let lines = text.lines().filter(move |line| comment(line));
    lines.flat_map(|line| line.split(|c: char| c.is_whitespace() || c == '`')).map(trimmed).collect()
}

fn trimmed(word: &str) -> &str {
    word.trim_matches(|c: char| matches!(c, ',' | ';' | ':' | '(' | ')' | '"' | '\'')).trim_end_matches('.')
}

/// Says whether a word looks like a file of this repository: it starts with one of its folders and names a kind of file.
fn is_a_path_of_ours(word: &str) -> bool {
    let folders =
        ["msync/", "msync-macros/", "msync-compat-sidecar/", "msync-cli/", "examples/", "tests/", "docs/", "charts/"];
    let kinds = ["rs", "md", "yaml", "toml", "json", "go", "py", "sh", "svg"];
    let plain = !word.contains(['*', '{', '<', '$', '…']);
    let kind = Path::new(word).extension().and_then(|kind| kind.to_str()).unwrap_or_default();
    plain && kinds.contains(&kind) && folders.iter().any(|folder| word.starts_with(folder))
}

/// A path is meant from the root, from the file's own package, or from its folder.
fn exists(file: &Path, word: &str) -> bool {
    file.ancestors().skip(1).take_while(|dir| dir.starts_with(root())).any(|dir| dir.join(word).exists())
}

// === numbers ===

fn numbers_of_bugs(table: &str) -> BTreeSet<u32> {
    table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next()?.trim().parse().ok()).collect()
}

/// The numbers of `fn bug_14_and_33_…`.
fn bugs_tested_in(text: &str) -> Vec<u32> {
    let names = text.lines().filter_map(|line| line.trim_start().trim_start_matches("async ").strip_prefix("fn "));
    names.filter_map(|name| name.split_once("bug_").map(|(_, rest)| rest)).flat_map(numbers_in).collect()
}

/// The numbers that a name goes on with, after more `bug_` or `and`.
fn numbers_in(rest: &str) -> Vec<u32> {
    let words = rest.split(['_', '(']).filter(|word| !matches!(*word, "bug" | "and"));
    words.map_while(|word| word.parse().ok()).collect()
}

fn number_at(text: &str) -> Option<String> {
    let number: String = text.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let number = number.trim_end_matches('.');
    (!number.is_empty()).then(|| number.to_owned())
}

// === the tree ===

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests stand in the repository").to_owned()
}

fn all(wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository is readable") {
            let path = entry.expect("an entry is readable").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !NOT_OURS.contains(&name) {
                folders.push(path);
            } else if path.is_file() && wanted(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn has_kind(path: &Path, kind: &str) -> bool {
    path.extension().is_some_and(|found| found == kind)
}

fn is_markdown(path: &Path) -> bool {
    has_kind(path, "md")
}

fn is_rust(path: &Path) -> bool {
    has_kind(path, "rs")
}

fn is_manifest(path: &Path) -> bool {
    has_kind(path, "toml") || has_kind(path, "yaml")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
