//! The attribute macros of msync. Use them through `msync`, whose documentation describes every option.
//!
//! An attribute's way: `args` reads the options, `item` the function's head, `name` the name's template, and
//! `expand` writes the function again. Nothing here parses a function's body, so a half-typed one still expands.

mod args;
mod attribute;
mod borrowed;
mod duration;
mod errors;
mod expand;
mod item;
mod name;
mod nearest;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

use crate::attribute::Macro;

/// Runs an async function under a lock. See `msync::locked`.
#[proc_macro_attribute]
pub fn locked(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::attribute(Macro::Locked, args.into(), &item.into()).into()
}

/// Runs an async function in the leader only. See `msync::leader_only`.
#[proc_macro_attribute]
pub fn leader_only(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::attribute(Macro::LeaderOnly, args.into(), &item.into()).into()
}
