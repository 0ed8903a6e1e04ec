//! Names that the macros make: fixed ones were checked by the compiler, the others are made valid here.
//!
//! A name made at run time may hold anything, such as a customer's mail address. What Kubernetes would refuse is escaped;
//! see [`LockName::escaped`].

use std::fmt;

use crate::{Error, LockName};

/// The name of a lock or an election, as a macro hands it over.
#[derive(Clone, Debug)]
pub struct Name {
    name: Result<LockName, Error>,
    /// The template, as it stands in the program.
    label: Option<&'static str>,
}

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
        Self { name: Ok(LockName::checked(name)), label: Some(name) }
    }

    /// Makes a name of a template.
    #[must_use]
    pub fn format(template: fmt::Arguments<'_>) -> Self {
        Self { name: LockName::of(&fmt::format(template)), label: None }
    }

    /// Says which template it was made of: that stands for it in figures, where the values would be too many.
    #[must_use]
    pub const fn labelled(mut self, template: &'static str) -> Self {
        self.label = Some(template);
        self
    }

    /// Takes the name that an expression gave.
    pub fn of<N: AsName + ?Sized>(name: &N) -> Self {
        Self { name: LockName::of(name.as_name()), label: None }
    }

    pub(super) fn into_lock_name(self) -> Result<LockName, Error> {
        self.name
    }

    /// Returns what stands for it in figures.
    pub(super) fn label(&self) -> Option<&'static str> {
        self.label
    }
}
