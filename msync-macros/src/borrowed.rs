//! A reference to what a user's expression gives, for `name = …` and `via = …`.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::Expr;
use syn::spanned::Spanned;

// Input:  self.client
// Output: &self.client, all of it at the place of the expression, so that a wrong type is reported there
/// Writes a reference to what a user's expression gives.
pub(crate) fn borrowed(expr: &Expr) -> TokenStream {
    quote_spanned!(Span::mixed_site().located_at(expr.span())=> &#expr)
}
