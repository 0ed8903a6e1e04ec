//! In each folder the imports have no circle, so that the tree shows what stands on what.
//!
//! Whether one file needs another is seen from its paths: what it imports, and what it writes out in full. A file and the
//! folder that belongs to it are one thing here, and tests may look at whatever they like.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, File, ItemFn, ItemImpl, ItemMod, ItemUse, UseTree, Visibility, visit::Visit};

use super::{all, is_rust, read, root};

/// The packages whose insides are shown by their trees.
const PACKAGES: [&str; 4] = ["msync", "msync-macros", "msync-compat-sidecar", "msync-cli"];

/// A module's place in its crate, or a path as it is written.
type Names = Vec<String>;

/// The files of one crate, by their places.
#[derive(Default)]
struct Tree(BTreeMap<Names, Paths>);

/// What one file names.
#[derive(Default)]
struct Paths {
    named: Vec<Names>,
    /// What others reach through it: a name, and what it stands for.
    shown: BTreeMap<String, Names>,
}

/// In one folder, which file needs which.
type Needs = BTreeMap<String, BTreeSet<String>>;

#[test]
fn the_imports_of_a_folder_make_no_circle() {
    for package in PACKAGES {
        let sources = root().join(package).join("src");
        let tree = Tree::read(&sources);
        assert!(tree.0.len() >= 7, "{package} is read");
        let circles = tree.circles();
        assert!(circles.is_empty(), "{package}: move below both what two need:\n{}", circles.join("\n"));
    }
}

#[test]
fn a_circle_is_found_and_a_way_down_is_none() {
    let folder = "use crate::{Shown, low::{self, Deep}};";
    let way = Tree::of([("lib", "pub use low::Shown;"), ("high", folder), ("low", "use std::fmt;"), ("low/in", "")]);
    assert!(way.circles().is_empty(), "{:?}", way.circles());
    for (high, low) in [
        ("use crate::low::Deep;", "fn f() { crate::high::f() }"),
        ("use crate::Shown;", "fn f() { select! { a = crate::high::f() => {} } }"),
        ("use super::low;", "#[cfg(test)] mod tests {} use super::high::X as Y;"),
    ] {
        let circle = Tree::of([("lib", "pub use low::Shown;"), ("high", high), ("low", low)]);
        assert_eq!(circle.circles(), ["src: high -> low -> high"], "{high} {low}");
    }
    let tested = Tree::of([("high", "use crate::low;"), ("low", "#[cfg(test)] mod tests { use crate::high; }")]);
    assert!(tested.circles().is_empty());
    let inside = Tree::of([("a/x", "use super::y::Y;"), ("a/y", "use crate::a::x::X;"), ("a", "mod x; mod y;")]);
    assert_eq!(inside.circles(), ["a: x -> y -> x"]);
}

// === impl Tree ===

impl Tree {
    fn read(sources: &Path) -> Self {
        let files = all(is_rust).into_iter().filter(|file| file.starts_with(sources)).map(|file| {
            let place = file.strip_prefix(sources).expect("it stands below").with_extension("");
            (place.to_string_lossy().into_owned(), read(&file))
        });
        let shipped = |place: &str| !place.split('/').any(|name| matches!(name, "tests" | "bin"));
        Self::of(files.filter(|(place, _)| shipped(place)).collect::<Vec<_>>())
    }

    fn of<P: AsRef<str>, T: AsRef<str>>(files: impl IntoIterator<Item = (P, T)>) -> Self {
        let read = |(place, text): (P, T)| {
            let place: Names =
                place.as_ref().split('/').filter(|name| !matches!(*name, "lib" | "main")).map(Into::into).collect();
            let file: File = syn::parse_file(text.as_ref()).expect("it compiles");
            let mut paths = Paths::default();
            paths.visit_file(&file);
            (place, paths)
        };
        Self(files.into_iter().map(read).collect())
    }

    /// The circles, each once, with the folder that they are in.
    fn circles(&self) -> Vec<String> {
        let mut found = BTreeSet::new();
        for (folder, needs) in self.needs() {
            let circles = needs.keys().filter_map(|from| circle(&needs, &mut vec![from.clone()]));
            let folder = if folder.is_empty() { "src".to_owned() } else { folder.join("/") };
            found.extend(circles.map(|circle| format!("{folder}: {}", turned(circle).join(" -> "))));
        }
        found.into_iter().collect()
    }

    /// For each folder, which of its members needs which.
    fn needs(&self) -> BTreeMap<Names, Needs> {
        let mut needs: BTreeMap<Names, Needs> = BTreeMap::new();
        for (place, paths) in &self.0 {
            for path in &paths.named {
                let target = self.resolve(place, path, 0);
                let common = place.iter().zip(&target).take_while(|(a, b)| a == b).count();
                if let (Some(from), Some(to)) = (place.get(common), target.get(common)) {
                    let folder = needs.entry(place[..common].to_vec()).or_default();
                    folder.entry(from.clone()).or_default().insert(to.clone());
                }
            }
        }
        needs
    }

    /// Finds the file that a path leads to, as seen from a place; through what others show of it.
    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Names {
        let mut at = from.to_vec();
        for (index, name) in path.iter().enumerate() {
            let deeper = [&at[..], std::slice::from_ref(name)].concat();
            match name.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => drop(at.pop()),
                _ if self.0.contains_key(&deeper) => at = deeper,
                _ => {
                    let shown = self.0.get(&at).and_then(|paths| paths.shown.get(name));
                    let Some(shown) = shown.filter(|shown| depth < 8 && **shown != [name.clone()]) else { return at };
                    return self.resolve(&at, &[&shown[..], &path[index + 1..]].concat(), depth + 1);
                }
            }
        }
        at
    }
}

/// Follows the needs until one comes again.
fn circle(needs: &Needs, way: &mut Names) -> Option<Names> {
    let here = way.last().expect("a way begins somewhere").clone();
    for next in needs.get(&here).into_iter().flatten() {
        if *next == way[0] {
            return Some(way.clone());
        }
        if !way.contains(next) {
            way.push(next.clone());
            if let Some(found) = circle(needs, way) {
                return Some(found);
            }
            way.pop();
        }
    }
    None
}

/// The same circle from its first name in the alphabet on, and back to it.
fn turned(mut circle: Names) -> Names {
    let first = (0..circle.len()).min_by_key(|at| circle[*at].clone()).unwrap_or_default();
    circle.rotate_left(first);
    circle.push(circle[0].clone());
    circle
}

// === impl Paths ===

impl Paths {
    fn import(&mut self, tree: &UseTree, before: &mut Names, is_shown: bool) {
        let mut named = |name: String, last: String, before: &Names| {
            let path = [&before[..], &[last]].concat();
            if is_shown {
                self.shown.insert(name, path.clone());
            }
            self.named.push(path);
        };
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.import(&path.tree, before, is_shown);
                before.pop();
            }
            UseTree::Name(name) => named(name.ident.to_string(), name.ident.to_string(), before),
            UseTree::Rename(renamed) => named(renamed.rename.to_string(), renamed.ident.to_string(), before),
            UseTree::Glob(_) => self.named.push(before.clone()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, before, is_shown)),
        }
    }

    /// The paths within a macro's tokens, which nobody parses.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Names = Vec::new();
        for tree in tokens {
            match tree {
                TokenTree::Ident(name) => path.push(name.to_string()),
                TokenTree::Punct(punct) if punct.as_char() == ':' => {}
                other => {
                    self.absolute(&std::mem::take(&mut path));
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.absolute(&path);
    }

    /// Keeps a path that says where it begins; others lead to what was imported, or out of the crate.
    fn absolute(&mut self, path: &[String]) {
        if let Some(begin) = path.iter().position(|name| matches!(name.as_str(), "crate" | "super" | "self")) {
            self.named.push(path[begin..].to_vec());
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !is_of_tests(&item.attrs) {
            self.import(&item.tree, &mut Vec::new(), !matches!(item.vis, Visibility::Inherited));
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_of_tests(&item.attrs) {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        if !is_of_tests(&item.attrs) {
            syn::visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        if !is_of_tests(&item.attrs) {
            syn::visit::visit_item_impl(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.absolute(&names);
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
    }
}

fn is_of_tests(attrs: &[Attribute]) -> bool {
    attrs
        .iter()
        .any(|attr| attr.path().is_ident("cfg") && attr.parse_args::<syn::Ident>().is_ok_and(|word| word == "test"))
}
