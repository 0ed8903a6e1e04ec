//! Names that the macros make: fixed ones were checked by the compiler, the others are made valid here.
//!
//! A name made at run time may hold anything, such as a customer's mail address. What Kubernetes would refuse is escaped:
//! the nearest valid name, and a hash of the original so that two originals do not share a lock. Never changes a valid name.

use std::borrow::Cow;
use std::fmt;

use crate::name::{fault, sanitize};

/// How much of an escaped name is left of the original: 253 characters less the hash.
const KEPT: usize = 253 - 1 - 16;

/// The name of a lock or an election, as a macro hands it over.
#[derive(Clone, Debug)]
pub struct Name(Cow<'static, str>);

/// What `name = …` may give: text.
#[diagnostic::on_unimplemented(
    message = "the name of a lock is text, not `{Self}`",
    label = "this is not text",
    note = "write an expression of type `&str` or `String`, such as `name = format!(\"invoice-{{id}}\")`"
)]
pub trait AsName {
    /// Returns the text.
    fn as_name(&self) -> &str;
}

// === impl AsName ===

#[diagnostic::do_not_recommend]
impl<N: AsRef<str> + ?Sized> AsName for N {
    fn as_name(&self) -> &str {
        self.as_ref()
    }
}

// === impl Name ===

impl Name {
    /// Takes a name that the compiler has checked.
    #[must_use]
    pub const fn fixed(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// Makes a name of a template.
    #[must_use]
    pub fn format(template: fmt::Arguments<'_>) -> Self {
        Self(Cow::Owned(escape(fmt::format(template))))
    }

    /// Takes the name that an expression gave.
    pub fn of<N: AsName + ?Sized>(name: &N) -> Self {
        Self(Cow::Owned(escape(name.as_name().to_owned())))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0.into_owned()
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

// Input:  "Ada@Example.org"
// Output: "ada-example.org-9d0b3f0f4a1c2e77"
fn escape(name: String) -> String {
    if fault(&name).is_none() {
        return name;
    }
    format!("{}-{:016x}", sanitize(&name, KEPT), fnv1a(name.as_bytes()))
}

/// FNV-1a, 64 bits: the same in every process and every version, which the standard library's hasher does not promise.
/// Two originals that do collide merely share a lock.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_names_stay_as_they_are() {
        for name in ["a", "invoice-17", "a.b"] {
            assert_eq!(Name::of(name).as_ref(), name);
        }
    }

    #[test]
    fn invalid_names_become_valid_and_stay_apart() {
        let long = "x".repeat(300);
        let names = ["Ada@Example.org", "ada@example.org", "", "--", "ä", "ö", long.as_str()];
        let escaped: Vec<String> = names.iter().map(|name| Name::of(*name).into_string()).collect();
        for (index, name) in escaped.iter().enumerate() {
            assert_eq!(fault(name), None, "{name}");
            assert!(!escaped[..index].contains(name), "{name} stands for two");
        }
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
