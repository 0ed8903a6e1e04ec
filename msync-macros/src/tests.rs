//! Golden expansions: what eight typical functions become, as readable Rust; and errors as a compiler would be told them.
//!
//! A golden file holds the function, a line `// becomes`, and its expansion. `UPDATE_GOLDEN=1 cargo test` writes them anew.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

use crate::attribute::Macro;
use crate::expand::attribute;

const BECOMES: &str = "// becomes\n";

/// Splits `#[locked(args)] item` and expands it.
fn expand(source: &str) -> TokenStream {
    let mut trees = source.parse::<TokenStream>().expect("the source has balanced tokens").into_iter().skip(1);
    let Some(TokenTree::Group(attr)) = trees.next() else { panic!("the source begins with an attribute") };
    let mut attr = attr.stream().into_iter();
    let which = match attr.next().expect("the attribute has a name").to_string().as_str() {
        "locked" => Macro::Locked,
        "leader_only" => Macro::LeaderOnly,
        other => panic!("{other} is not one of the macros"),
    };
    let args = match attr.next() {
        Some(TokenTree::Group(args)) => args.stream(),
        _ => TokenStream::new(),
    };
    attribute(which, args, &trees.collect())
}

fn pretty(tokens: TokenStream) -> String {
    prettyplease::unparse(&syn::parse2(tokens).expect("the expansion is Rust"))
}

fn errors(source: &str) -> Vec<String> {
    let tokens = expand(source).to_string();
    let messages = tokens.split(":: core :: compile_error !").skip(1);
    messages.map(|rest| rest.split('}').next().unwrap_or_default().trim().to_owned()).collect()
}

fn check_golden(path: &Path) {
    let golden = fs::read_to_string(path).expect("the golden file is readable").replace("\r\n", "\n");
    let source = golden.split(BECOMES).next().unwrap_or_default();
    let now = format!("{source}{BECOMES}{}", pretty(expand(source)));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, now).expect("the golden file is writable");
        return;
    }
    assert_eq!(now, golden, "{} changed; if it should, run with UPDATE_GOLDEN=1", path.display());
}

#[test]
fn expansions_are_as_recorded() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .expect("the golden files are there")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 8);
    for file in &files {
        check_golden(file);
    }
}

#[test]
fn a_half_typed_body_still_expands() {
    let expanded = expand("#[locked(\"a\")] async fn f(x: u8) -> Result<u8, E> { let y = x. ; foo( ) let }");
    assert!(expanded.to_string().contains("private :: run"), "{expanded}");
}

#[test]
fn the_body_is_never_changed() {
    let body = "let a = \"x\" ; a . b :: < C > (| d | d ? , & mut e) . await ; macro_rules ! m { ($ x : tt) => { } }";
    let expanded = expand(&format!("#[locked(\"a\")] async fn f() {{ {body} }}")).to_string();
    assert!(expanded.contains(body), "{expanded}");
}

#[test]
fn all_errors_are_reported_at_once() {
    let found = errors("#[locked(\"A-{x}\", tll = \"5s\", wait = \"5\", on_busy = wait)] async fn f(y: u8) {}");
    assert_eq!(found.len(), 5, "{found:#?}");
}

#[test]
fn an_error_leaves_the_function_usable() {
    let expanded = expand("#[locked(\"a\", ttl = 5, guard = lease)] async fn f(y: u8) -> u8 { y }").to_string();
    assert!(
        expanded.starts_with("# [allow (unreachable_code , unused_variables)] async fn f (y : u8) -> u8 {"),
        "{expanded}"
    );
    assert!(expanded.contains("let lease : :: msync :: Lease"), "{expanded}");
}

#[test]
fn what_is_no_function_is_emitted_as_it_was() {
    for item in ["struct S ;", "impl S { }", "mod m { }", "trait T { }", "enum E { A }", "const X : u8 = 1 ;"] {
        let expanded = expand(&format!("#[locked(\"a\")] {item}")).to_string();
        assert!(expanded.starts_with(item), "{expanded}");
        assert_eq!(errors(&format!("#[locked(\"a\")] {item}")).len(), 1, "{expanded}");
    }
}

#[test]
fn every_option_parses_in_any_order() {
    let source = "#[locked(crate = ::m, via = &*c, guard = g, max_hold = D, at_least = \"1s\", on_lost = abort, \
                  on_busy = skip, wait = none, ttl = \"5s\", name = N,)] async fn f() {}";
    assert_eq!(errors(source), Vec::<String>::new());
    let source = "#[leader_only(on_follower = error, on_lost = signal, guard = g, via = c, crate = m, \"x\")] \
                  async fn f() -> Result<(), E> {}";
    assert_eq!(errors(source), Vec::<String>::new());
}
