//! Writes the function again, with its body inside of the lock or of the leader's term.
//!
//! The signature stays as it is; the body is spliced in as tokens, never parsed. All decisions that depend on types are
//! left to traits in `msync::unstable::private`, so that aliases and the user's own `Result` work.

use std::mem;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, FnArg, GenericArgument, Meta, Pat, PathArguments, Type};

use crate::args::{Args, Wait};
use crate::attribute::Macro;
use crate::borrowed::borrowed;
use crate::errors::Errors;
use crate::item::{Function, Scope, Shape, regroup, simple};
use crate::name::Name;

/// One use of one of the macros, read and checked.
struct Plan {
    which: Macro,
    args: Args,
    function: Function,
    scope: Scope,
}

/// Expands an attribute: the function inside of its lock, or all errors and the function as it was.
pub(crate) fn attribute(which: Macro, args: TokenStream, item: &TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let args = Args::parse(which, args, &mut errors);
    let Some(function) = errors.keep(Function::parse(which, item.clone())) else {
        let errors = errors.into_tokens();
        return quote!(#item #errors);
    };
    let plan = Plan { which, scope: function.scope(), args, function };
    plan.check(&mut errors);
    if errors.is_empty() {
        return plan.expand();
    }
    let (item, errors) = (plan.unlocked(), errors.into_tokens());
    quote!(#item #errors)
}

// === impl Plan ===

impl Plan {
    fn check(&self, errors: &mut Errors) {
        if let Some(name) = self.args.name() {
            name.check(&self.scope, errors);
            self.check_repeated(name, errors);
        }
        if let Some(guard) = self.args.guard() {
            let taken = self.scope.parameters.iter().chain(&self.scope.destructured).any(|ident| ident == guard);
            if taken {
                errors.at(guard.span(), format!("`{guard}` is a parameter already: give the guard another name"));
            }
        }
    }

    // The next attribute of the same kind on the same function, with the same name, would wait for this one.
    fn check_repeated(&self, name: &Name, errors: &mut Errors) {
        let Some(literal) = name.literal() else { return };
        for attr in self.function.attrs.iter().filter(|attr| is(attr, self.which)) {
            let Meta::List(list) = &attr.meta else { continue };
            let first = list.tokens.clone().into_iter().next();
            if let Some(first) = first.filter(|first| first.to_string() == literal.token().to_string()) {
                let message = format!("{first} is locked twice on this function: it would wait for itself");
                errors.at(first.span(), message);
            }
        }
    }

    // The function as it was, for the rest of the program to compile against. The guard gets a value of its type, and
    // warnings about parameters are kept from drowning the errors.
    fn unlocked(&self) -> TokenStream {
        let Function { attrs, vis, sig, body, .. } = &self.function;
        let (root, ty, contents) = (self.args.root(), self.guard_type(), body.stream());
        let guard = self.args.guard().map(|guard| quote!(let #guard: #root::#ty = ::core::unreachable!();));
        let body = regroup(body, quote!(#guard #contents));
        quote!(#(#attrs)* #[allow(unreachable_code, unused_variables)] #vis #sig #body)
    }

    fn guard_type(&self) -> TokenStream {
        match (self.which, self.args.name()) {
            (Macro::Locked, Some(Name::List(_))) => quote!(LeaseSet),
            (Macro::Locked | Macro::LeaderOnly, _) => quote!(Lease),
        }
    }

    fn expand(mut self) -> TokenStream {
        let rebound = match self.function.shape {
            Shape::Async => self.rebind(),
            Shape::Boxed { .. } | Shape::BlockOn { .. } => TokenStream::new(),
        };
        let contents = match &self.function.shape {
            Shape::Async => self.call(&self.body(&rebound)),
            Shape::Boxed { head, future, .. } => self.boxed(head, future),
            Shape::BlockOn { head, block, tail } => {
                let inner = regroup(block, self.call(&self.future(block.stream())));
                quote!(#head #inner #tail)
            }
        };
        let body = regroup(&self.function.body, contents);
        let Function { attrs, vis, sig, .. } = &self.function;
        quote!(#(#attrs)* #vis #sig #body)
    }

    // Input:  head Box::pin(async move { .. })
    // Output: head Box::pin(async move { call(move |lease| async move { .. }) })
    fn boxed(&self, head: &TokenStream, future: &proc_macro2::Group) -> TokenStream {
        let original = future.stream();
        let guard = self.bind_guard();
        let body = if guard.is_empty() { original } else { quote!({ #guard #original }) };
        let call = self.call(&body);
        let inner = regroup(future, quote_spanned!(Span::mixed_site()=> async move { #call }));
        quote!(#head #inner)
    }

    // Input:  #[locked("invoice-{id}", ttl = "30s")]
    // Output: let __msync_config = ::msync::unstable::private::Config::new().ttl(Duration::from_millis(30000u64));
    //         let __msync_name = ::msync::unstable::private::Name::format(format_args!("invoice-{}", id));
    //         let __msync_done = ::msync::unstable::private::run(&__msync_config, __msync_name, move |__msync_lease| BODY).await;
    //         match __msync_done {
    //             Ok(value) => value,
    //             Err(missed) => <Ret as ::msync::unstable::private::OrError>::missed(missed),
    //         }
    fn call(&self, body: &TokenStream) -> TokenStream {
        let site = Span::mixed_site();
        let root = self.args.root();
        let config = self.config();
        let name = self.args.name().map(|name| name.expand(&root, &self.scope));
        let run = Ident::new(self.run(), site);
        let missed = self.missed();
        let lease =
            if self.args.guard().is_some() { quote_spanned!(site=> __msync_lease) } else { quote_spanned!(site=> _) };
        quote_spanned! {site=>
            let __msync_config = #config;
            let __msync_name = #name;
            let __msync_done = #root::unstable::private::#run(&__msync_config, __msync_name, move |#lease| #body).await;
            match __msync_done {
                ::core::result::Result::Ok(__msync_value) => __msync_value,
                ::core::result::Result::Err(__msync_missed) => #missed(__msync_missed),
            }
        }
    }

    fn run(&self) -> &'static str {
        match (self.which, self.args.name()) {
            (Macro::LeaderOnly, _) => "lead",
            (Macro::Locked, Some(Name::List(_))) => "run_all",
            (Macro::Locked, _) => "run",
        }
    }

    // Input:  Result<impl Display, MyError>
    // Output: <Result<_, MyError> as ::msync::unstable::private::OrError>::missed
    // The type keeps its own span: a trait it lacks is then reported there, once.
    fn missed(&self) -> TokenStream {
        let root = self.args.root();
        let span = self.function.output().map_or_else(|| self.function.sig.ident.span(), Spanned::span);
        let unit = || quote_spanned!(span=> ());
        let output = self.function.output().map_or_else(unit, |output| without_impl_trait(output).to_token_stream());
        let site = Span::mixed_site().located_at(span);
        let policy = if self.args.skips() { quote_spanned!(site=> OrSkip) } else { quote_spanned!(site=> OrError) };
        quote_spanned!(site=> <#output as #root::unstable::private::#policy>::missed)
    }

    // Input:  wait = none, on_lost = signal, via = self.client
    // Output: ::msync::unstable::private::Config::new().try_once().on_lost_signal().via(&self.client)
    fn config(&self) -> TokenStream {
        let (site, root) = (Span::mixed_site(), self.args.root());
        let mut config = quote_spanned!(site=> #root::unstable::private::Config::new());
        for key in ["ttl", "at_least", "max_hold"] {
            if let Some(duration) = self.args.duration(key) {
                let setter = Ident::new(key, site);
                config.extend(quote_spanned!(site=> .#setter(#duration)));
            }
        }
        config.extend(match self.args.wait() {
            Wait::Forever => TokenStream::new(),
            Wait::Never => quote_spanned!(site=> .try_once()),
            Wait::For(duration) => quote_spanned!(site=> .wait(#duration)),
        });
        for (key, choice) in [("on_lost", "signal"), ("on_lost", "abort"), ("on_follower", "wait")] {
            if self.args.chose(key, choice) {
                let setter = format_ident!("{key}_{choice}", span = site);
                config.extend(quote_spanned!(site=> .#setter()));
            }
        }
        if let Some(client) = self.args.via() {
            let client = borrowed(client);
            config.extend(quote_spanned!(site=> .via(#client)));
        }
        config
    }

    // Input:  the contents of the body
    // Output: async move { RETURN; let guard = __msync_lease; contents }
    fn future(&self, contents: TokenStream) -> TokenStream {
        let body = regroup(&self.function.body, contents);
        self.wrap(&TokenStream::new(), &body)
    }

    fn body(&self, rebound: &TokenStream) -> TokenStream {
        let body = regroup(&self.function.body, self.function.body.stream());
        self.wrap(rebound, &body)
    }

    // Output: async move {
    //             if let Some(__msync_value) = None::<Ret> { return __msync_value; }   // types the body's `return`s
    //             let id = id;                                                         // dropped before the release
    //             let guard = __msync_lease;
    //             let __msync_value: Ret = BODY;                                       // temporaries end here
    //             __msync_value
    //         }
    fn wrap(&self, rebound: &TokenStream, body: &proc_macro2::Group) -> TokenStream {
        let site = Span::mixed_site();
        let guard = self.bind_guard();
        let Some(output) = self.function.output().map(without_impl_trait) else {
            return quote_spanned! {site=> async move {
                #rebound
                #guard
                #[allow(clippy::diverging_sub_expression)]
                let () = #body;
            }};
        };
        quote_spanned! {site=> async move {
            if let ::core::option::Option::Some(__msync_value) = ::core::option::Option::None::<#output> {
                #[allow(unreachable_code)]
                return __msync_value;
            }
            #rebound
            #guard
            #[allow(clippy::diverging_sub_expression)]
            let __msync_value: #output = #body;
            #[allow(unreachable_code)]
            __msync_value
        }}
    }

    fn bind_guard(&self) -> TokenStream {
        self.args
            .guard()
            .map(|guard| quote_spanned!(Span::mixed_site()=> let #guard = __msync_lease;))
            .unwrap_or_default()
    }

    // Input:  fn f(&self, mut a: A, (b, c): B, _: C)
    // Output: fn f(&self, a: A, __msync_arg2: B, __msync_arg3: C)
    //         and  let _ = &self; let mut a = a; let (b, c) = __msync_arg2; let __msync_arg3 = __msync_arg3;
    // All arguments move into the body, so that they are dropped with it, in the order of a plain function.
    fn rebind(&mut self) -> TokenStream {
        let mut rebound = TokenStream::new();
        let mut inputs = mem::take(&mut self.function.sig.inputs);
        for (index, input) in inputs.iter_mut().enumerate() {
            match input {
                FnArg::Receiver(receiver) => {
                    let this = &receiver.self_token;
                    rebound.extend(quote_spanned!(Span::mixed_site()=> let _ = &#this;));
                }
                FnArg::Typed(typed) => rebound.extend(self.rebind_one(index, typed)),
            }
        }
        self.function.sig.inputs = inputs;
        rebound
    }

    fn rebind_one(&self, index: usize, typed: &mut syn::PatType) -> TokenStream {
        let site = Span::mixed_site();
        let inner = take_inner_attributes(&mut typed.attrs);
        let pat = (*typed.pat).clone();
        let outer = simple(&pat)
            .cloned()
            .unwrap_or_else(|| Ident::new(&format!("__msync_arg{index}"), site.located_at(pat.span())));
        *typed.pat = Pat::Ident(syn::PatIdent {
            attrs: Vec::new(),
            by_ref: None,
            mutability: None,
            ident: outer.clone(),
            subpat: None,
        });
        let mut rebound = match &pat {
            Pat::Wild(_) => quote_spanned!(site=> #(#inner)* let #outer = #outer;),
            Pat::Ident(_) if simple(&pat).is_some() => {
                let lints = rebinding_lints(&outer);
                quote_spanned!(site=> #(#inner)* #[allow(#lints)] let #pat = #outer;)
            }
            // First into a variable, or a pattern that binds nothing would leave the argument outside.
            _ => quote_spanned!(site=> #(#inner)* let #outer = #outer; #(#inner)* let #pat = #outer;),
        };
        if simple(&pat).is_some() && self.args.uses(&outer) {
            let cfgs = inner.iter().filter(|attr| attr.path().is_ident("cfg"));
            rebound.extend(quote_spanned!(site=> #(#cfgs)* let _ = &#outer;));
        }
        rebound
    }
}

/// Returns what a strict user may forbid and a parameter that moves into the body cannot avoid: it bears its name twice.
fn rebinding_lints(parameter: &Ident) -> TokenStream {
    let twice = quote!(clippy::shadow_same, clippy::shadow_reuse);
    if parameter.to_string().starts_with('_') {
        // One that is kept only for its drop: `_guard`. Rebinding it is no use of it.
        return quote!(#twice, clippy::no_effect_underscore_binding, clippy::used_underscore_binding);
    }
    twice
}

fn is(attr: &Attribute, which: Macro) -> bool {
    attr.path().segments.last().is_some_and(|last| last.ident == which.ident())
}

// `cfg` goes to both bindings of a parameter; lint levels only to the one that the user's code uses.
fn take_inner_attributes(attrs: &mut Vec<Attribute>) -> Vec<Attribute> {
    let is_lint =
        |attr: &Attribute| ["allow", "expect", "warn", "deny"].iter().any(|level| attr.path().is_ident(level));
    let inner = attrs.iter().filter(|attr| is_lint(attr) || attr.path().is_ident("cfg")).cloned().collect();
    attrs.retain(|attr| !is_lint(attr));
    inner
}

// Input:  Result<impl Iterator<Item = u32>, E>
// Output: Result<_, E>
fn without_impl_trait(ty: &Type) -> Type {
    let mut ty = ty.clone();
    infer(&mut ty);
    ty
}

fn infer(ty: &mut Type) {
    match ty {
        Type::ImplTrait(found) => *ty = syn::parse_quote_spanned!(found.impl_token.span=> _),
        Type::Array(array) => infer(&mut array.elem),
        Type::Group(group) => infer(&mut group.elem),
        Type::Paren(paren) => infer(&mut paren.elem),
        Type::Reference(reference) => infer(&mut reference.elem),
        Type::Slice(slice) => infer(&mut slice.elem),
        Type::Tuple(tuple) => tuple.elems.iter_mut().for_each(infer),
        Type::Path(path) => path.path.segments.iter_mut().for_each(|segment| infer_arguments(&mut segment.arguments)),
        _ => {}
    }
}

fn infer_arguments(arguments: &mut PathArguments) {
    let PathArguments::AngleBracketed(arguments) = arguments else { return };
    for argument in &mut arguments.args {
        if let GenericArgument::Type(ty) = argument {
            infer(ty);
        }
    }
}
