//! The annotated function: its head is parsed, its body stays the tokens that the user wrote.
//!
//! Three shapes can be wrapped: an `async fn`; a function that another macro (`#[async_trait]`) has already turned into
//! one that ends in `Box::pin(..)`; and one that `#[tokio::test]` or `#[tokio::main]` has already turned into one that
//! starts with `let body = async { .. }`. Anything else is an error that says what to write.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{
    Attribute, FnArg, GenericArgument, Pat, PathArguments, ReturnType, Signature, Token, Type, TypeParamBound,
    Visibility,
};

use crate::attribute::Macro;

/// A function with a body.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: Group,
    pub(crate) shape: Shape,
}

/// Where in the body the future is.
pub(crate) enum Shape {
    /// `async fn`: the body is the future.
    Async,
    /// `head Box::pin(future)`
    Boxed { output: Box<Type>, head: TokenStream, future: Group },
    /// `head { .. } tail` where `head` is `let body = async`.
    BlockOn { head: TokenStream, block: Group, tail: TokenStream },
}

/// The names that a template may use.
#[derive(Default)]
pub(crate) struct Scope {
    /// The token `self`, if there is one.
    pub(crate) receiver: Option<Ident>,
    /// Parameters that are one name.
    pub(crate) parameters: Vec<Ident>,
    /// Names bound by the patterns of the other parameters.
    pub(crate) destructured: Vec<Ident>,
}

// === impl Function ===

impl Function {
    /// Reads the item, or says why the attribute cannot stand on it.
    pub(crate) fn parse(which: Macro, item: TokenStream) -> syn::Result<Self> {
        (|input: ParseStream<'_>| Self::read(which, input)).parse2(item)
    }

    fn read(which: Macro, input: ParseStream<'_>) -> syn::Result<Self> {
        let mut attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let sig = signature(which, input)?;
        let attribute = which.attribute();
        if input.peek(Token![;]) {
            let _: TokenStream = input.parse()?;
            let message = format!(
                "`{attribute}` needs a body: put it on the method in the `impl`, or give this one a default body"
            );
            return Err(syn::Error::new_spanned(&sig.ident, message));
        }
        let body = brace(input.parse()?)?;
        let body = lift_inner_attributes(&body, &mut attrs)?;
        check_qualifiers(which, &sig)?;
        let shape = Shape::of(which, &sig, &body)?;
        Ok(Self { attrs, vis, sig, body, shape })
    }

    /// Returns the names that the name of the lock may use.
    pub(crate) fn scope(&self) -> Scope {
        let mut scope = Scope::default();
        for input in &self.sig.inputs {
            match input {
                FnArg::Receiver(receiver) => scope.receiver = Some(Ident::new("self", receiver.self_token.span)),
                FnArg::Typed(typed) => match simple(&typed.pat) {
                    Some(ident) => scope.parameters.push(ident.clone()),
                    None => bound(&typed.pat, &mut scope.destructured),
                },
            }
        }
        scope
    }

    /// Returns the type that the future gives, if one is written.
    pub(crate) fn output(&self) -> Option<&Type> {
        match (&self.shape, &self.sig.output) {
            (Shape::Boxed { output, .. }, _) | (_, ReturnType::Type(_, output)) => Some(output),
            (_, ReturnType::Default) => None,
        }
    }
}

// === impl Shape ===

impl Shape {
    fn of(which: Macro, sig: &Signature, body: &Group) -> syn::Result<Self> {
        if sig.asyncness.is_some() {
            return Ok(Self::Async);
        }
        boxed(sig, body).or_else(|| block_on(body)).ok_or_else(|| {
            let attribute = which.attribute();
            let message = format!("`{attribute}` needs an async function: write `async fn {}`", sig.ident);
            syn::Error::new(sig.fn_token.span, message)
        })
    }
}

// === impl Scope ===

impl Scope {
    /// Finds a parameter by its name, raw or not.
    pub(crate) fn parameter(&self, name: &str) -> Option<&Ident> {
        self.parameters.iter().find(|ident| ident.unraw() == name)
    }
}

/// Returns the name of a parameter that is one: `a` or `mut a`, not `ref a`, `_` or a pattern.
pub(crate) fn simple(pat: &Pat) -> Option<&Ident> {
    match pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => Some(&pat.ident),
        _ => None,
    }
}

fn signature(which: Macro, input: ParseStream<'_>) -> syn::Result<Signature> {
    if input.fork().parse::<Signature>().is_ok() {
        return input.parse();
    }
    let attribute = which.attribute();
    let ahead = input.fork();
    let word = Ident::parse_any(&ahead).map(|word| word.to_string()).unwrap_or_default();
    let message = match word.as_str() {
        "impl" => format!("`{attribute}` goes on an async function: put it on the methods of this `impl`"),
        "trait" => format!("`{attribute}` goes on an async function: put it on the methods with a body"),
        "mod" => format!("`{attribute}` goes on an async function: put it on the functions of this module"),
        "async" | "fn" | "unsafe" | "extern" | "const" if is_function(input) => return input.parse(),
        _ => format!("`{attribute}` goes on an async function"),
    };
    let error = syn::Error::new(input.span(), message);
    let _: TokenStream = input.parse()?;
    Err(error)
}

// A head that does not parse is reported as what it is, not as "no function".
fn is_function(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    while let Ok(word) = Ident::parse_any(&ahead) {
        if word == "fn" {
            return true;
        }
    }
    false
}

fn check_qualifiers(which: Macro, sig: &Signature) -> syn::Result<()> {
    let attribute = which.attribute();
    if let Some(constness) = &sig.constness {
        return Err(syn::Error::new(
            constness.span,
            format!("`{attribute}` cannot stand on a `const fn`: write `async fn`"),
        ));
    }
    if let Some(abi) = &sig.abi {
        let message = format!("`{attribute}` cannot stand on an `extern` function: write `async fn`");
        return Err(syn::Error::new_spanned(abi, message));
    }
    if let ReturnType::Type(_, output) = &sig.output
        && let Type::Never(never) = &**output
    {
        let message = format!("`{attribute}` cannot report anything through `!`: return `Result<Infallible, E>`");
        return Err(syn::Error::new_spanned(never, message));
    }
    Ok(())
}

fn brace(tree: TokenTree) -> syn::Result<Group> {
    match tree {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Ok(group),
        other => Err(syn::Error::new(other.span(), "expected the body of the function")),
    }
}

// Input:  { #![allow(x)] a; b }
// Output: { a; b } and #[allow(x)] on the function, because a block cannot have inner attributes
fn lift_inner_attributes(body: &Group, attrs: &mut Vec<Attribute>) -> syn::Result<Group> {
    let read = |input: ParseStream<'_>| Ok((input.call(Attribute::parse_inner)?, input.parse::<TokenStream>()?));
    let (inner, rest) = read.parse2(body.stream())?;
    attrs.extend(inner.into_iter().map(|attr| Attribute { style: syn::AttrStyle::Outer, ..attr }));
    Ok(regroup(body, rest))
}

/// Makes a group of other contents, with the place of the old one and the hygiene of a macro (so that no lint takes the
/// braces for the user's).
pub(crate) fn regroup(old: &Group, contents: TokenStream) -> Group {
    let mut group = Group::new(old.delimiter(), contents);
    group.set_span(old.span().resolved_at(Span::mixed_site()));
    group
}

// Input:  head.. Box::pin(future), of a function that returns Pin<Box<dyn Future<Output = T>>>
fn boxed(sig: &Signature, body: &Group) -> Option<Shape> {
    let ReturnType::Type(_, returned) = &sig.output else { return None };
    let output = future_output(returned)?.clone();
    let mut trees: Vec<TokenTree> = body.stream().into_iter().collect();
    let Some(TokenTree::Group(future)) = trees.pop() else { return None };
    if future.delimiter() != Delimiter::Parenthesis || !ends_in_box_pin(&trees) {
        return None;
    }
    Some(Shape::Boxed { output: Box::new(output), head: trees.into_iter().collect(), future })
}

fn ends_in_box_pin(trees: &[TokenTree]) -> bool {
    let words: Vec<String> = trees.iter().rev().take(4).map(ToString::to_string).collect();
    words == ["pin", ":", ":", "Box"]
}

// Pin<Box<dyn Future<Output = T> + ..>>, or BoxFuture<'_, T>
fn future_output(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    if last.ident == "BoxFuture" || last.ident == "LocalBoxFuture" {
        return first_type(&last.arguments);
    }
    let Type::Path(inner) = first_type(&last.arguments).filter(|_| last.ident == "Pin")? else { return None };
    let inner = inner.path.segments.last()?;
    let Type::TraitObject(object) = first_type(&inner.arguments).filter(|_| inner.ident == "Box")? else { return None };
    object.bounds.iter().find_map(associated_output)
}

fn first_type(arguments: &PathArguments) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

fn associated_output(bound: &TypeParamBound) -> Option<&Type> {
    let TypeParamBound::Trait(bound) = bound else { return None };
    let last = bound.path.segments.last().filter(|last| last.ident == "Future")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::AssocType(output) if output.ident == "Output" => Some(&output.ty),
        _ => None,
    })
}

// Input:  let body = async { .. } ..       as #[tokio::test] and #[tokio::main] write it
fn block_on(body: &Group) -> Option<Shape> {
    let mut trees = body.stream().into_iter();
    let mut head = TokenStream::new();
    for word in ["let", "body", "=", "async"] {
        let tree = trees.next().filter(|tree| tree.to_string() == word)?;
        tree.to_tokens(&mut head);
    }
    let block = brace(trees.next()?).ok()?;
    Some(Shape::BlockOn { head, block, tail: trees.collect() })
}

fn bound(pat: &Pat, idents: &mut Vec<Ident>) {
    // Patterns are shallow and rare: every identifier in one that starts in lower case may be a binding, and an error
    // message is all that this decides.
    for tree in pat.to_token_stream() {
        collect(tree, idents);
    }
}

fn collect(tree: TokenTree, idents: &mut Vec<Ident>) {
    match tree {
        TokenTree::Ident(ident) if ident.to_string().starts_with(char::is_lowercase) => idents.push(ident),
        TokenTree::Group(group) => group.stream().into_iter().for_each(|tree| collect(tree, idents)),
        _ => {}
    }
}
