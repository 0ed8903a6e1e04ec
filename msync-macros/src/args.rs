//! The options of both macros, read from one table. Never looks at the function: what needs it is checked in `expand`.

use std::collections::BTreeMap;
use std::time::Duration;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, LitStr, Path, Token, token};

use crate::attribute::Macro;
use crate::duration::DurationArg;
use crate::errors::Errors;
use crate::name::{Name, Template};
use crate::nearest::{list, nearest};

/// What may stand on the right of an option's `=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Name,
    Duration,
    DurationOrNone,
    OneOf(&'static [&'static str]),
    Ident,
    Expr,
    Path,
}

/// One row of the table: an option, what it takes, an example for messages, and whose it is.
struct Row {
    key: &'static str,
    takes: Takes,
    example: &'static str,
    of: &'static [Macro],
}

const BOTH: &[Macro] = &[Macro::Locked, Macro::LeaderOnly];
const LOCKED: &[Macro] = &[Macro::Locked];
const LEADER: &[Macro] = &[Macro::LeaderOnly];

const TABLE: &[Row] = &[
    Row { key: "name", takes: Takes::Name, example: "name = KEY", of: BOTH },
    Row { key: "ttl", takes: Takes::Duration, example: "ttl = \"30s\"", of: BOTH },
    Row { key: "wait", takes: Takes::DurationOrNone, example: "wait = \"5s\"", of: LOCKED },
    Row { key: "on_busy", takes: Takes::OneOf(&["error", "skip"]), example: "on_busy = skip", of: LOCKED },
    Row {
        key: "on_follower",
        takes: Takes::OneOf(&["skip", "error", "wait"]),
        example: "on_follower = wait",
        of: LEADER,
    },
    Row { key: "on_lost", takes: Takes::OneOf(&["cancel", "signal", "abort"]), example: "on_lost = signal", of: BOTH },
    Row { key: "at_least", takes: Takes::Duration, example: "at_least = \"10s\"", of: LOCKED },
    Row { key: "max_hold", takes: Takes::Duration, example: "max_hold = \"10m\"", of: LOCKED },
    Row { key: "guard", takes: Takes::Ident, example: "guard = lease", of: BOTH },
    Row { key: "via", takes: Takes::Expr, example: "via = self.client", of: BOTH },
    Row { key: "crate", takes: Takes::Path, example: "crate = my_msync", of: BOTH },
];

/// The value of an option.
#[derive(Clone)]
enum Value {
    Duration(DurationArg),
    None,
    Choice(Ident),
    Ident(Ident),
    Expr(Box<Expr>),
    Path(Path),
}

/// Everything between the parentheses of the attribute.
pub(crate) struct Args {
    which: Macro,
    name: Option<Name>,
    name_seen: bool,
    options: BTreeMap<&'static str, (Ident, Value)>,
}

/// How long a call waits for its lock.
pub(crate) enum Wait<'a> {
    Forever,
    Never,
    For(&'a DurationArg),
}

// === impl Args ===

impl Args {
    /// Reads the options; what is wrong goes to `errors`, and what is right is kept.
    pub(crate) fn parse(which: Macro, tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut args = Self { which, name: None, name_seen: false, options: BTreeMap::new() };
        let parsed = (|input: ParseStream<'_>| {
            args.fill(input, errors);
            Ok(())
        })
        .parse2(tokens);
        errors.keep(parsed);
        if !args.name_seen {
            errors.at(Span::call_site(), which.missing_name());
        }
        args.check(errors);
        args
    }

    // An option that does not parse is skipped up to the next comma, so that the ones after it are read too.
    fn fill(&mut self, input: ParseStream<'_>, errors: &mut Errors) {
        while !input.is_empty() {
            if let Err(error) = self.option(input, errors) {
                errors.push(error);
                skip_to_comma(input);
            }
            if input.is_empty() {
                return;
            }
            if let Err(error) = input.parse::<Token![,]>() {
                errors.push(syn::Error::new(error.span(), "expected `,` between two options"));
                skip_to_comma(input);
                let _: Option<Token![,]> = input.parse().unwrap_or_default();
            }
        }
    }

    fn option(&mut self, input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<()> {
        if input.peek(LitStr) || input.peek(token::Bracket) {
            let span = input.span();
            self.name_seen = true;
            let name = positional_name(input, self.which, errors)?;
            return self.set_name(span, name);
        }
        let key = Ident::parse_any(input)
            .map_err(|error| syn::Error::new(error.span(), "expected a name in quotes, or `option = value`"))?;
        let row = row(self.which, &key)?;
        self.name_seen |= row.takes == Takes::Name;
        input.parse::<Token![=]>().map_err(|_| {
            syn::Error::new(key.span(), format!("`{}` needs a value: write `{}`", row.key, row.example))
        })?;
        if self.options.contains_key(row.key) {
            let _ = value(row, &key, input);
            return Err(syn::Error::new(key.span(), format!("`{}` is given twice", row.key)));
        }
        if row.takes == Takes::Name {
            let name = named(&key, input, errors)?;
            return self.set_name(key.span(), name);
        }
        let value = value(row, &key, input)?;
        self.options.insert(row.key, (key, value));
        Ok(())
    }

    fn set_name(&mut self, span: Span, name: Name) -> syn::Result<()> {
        if self.name.is_some() {
            return Err(syn::Error::new(span, "the name is given twice"));
        }
        self.name = Some(name);
        Ok(())
    }

    /// Returns the name of the lock or election.
    pub(crate) fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// Returns a duration option.
    pub(crate) fn duration(&self, key: &str) -> Option<&DurationArg> {
        match self.value(key) {
            Some(Value::Duration(duration)) => Some(duration),
            _ => None,
        }
    }

    /// Returns how long to wait for the lock.
    pub(crate) fn wait(&self) -> Wait<'_> {
        match self.value("wait") {
            Some(Value::Duration(duration)) => Wait::For(duration),
            Some(_) => Wait::Never,
            None => Wait::Forever,
        }
    }

    /// Says whether an option has this one of its fixed values.
    pub(crate) fn chose(&self, key: &str, choice: &str) -> bool {
        matches!(self.value(key), Some(Value::Choice(chosen)) if chosen == choice)
    }

    /// Says whether a call that may not run gives a skip value instead of an error.
    pub(crate) fn skips(&self) -> bool {
        match self.which {
            Macro::Locked => self.chose("on_busy", "skip"),
            Macro::LeaderOnly => self.value("on_follower").is_none() || self.chose("on_follower", "skip"),
        }
    }

    /// Returns the identifier that the body sees its hold as.
    pub(crate) fn guard(&self) -> Option<&Ident> {
        match self.value("guard") {
            Some(Value::Ident(ident)) => Some(ident),
            _ => None,
        }
    }

    /// Returns the expression of the client to use.
    pub(crate) fn via(&self) -> Option<&Expr> {
        match self.value("via") {
            Some(Value::Expr(expr)) => Some(expr),
            _ => None,
        }
    }

    /// Returns the path of the msync crate: what `crate =` says, or `::msync`.
    pub(crate) fn root(&self) -> TokenStream {
        if let Some(Value::Path(path)) = self.value("crate") {
            quote_spanned!(Span::mixed_site()=> #path)
        } else {
            quote_spanned!(Span::mixed_site()=> ::msync)
        }
    }

    /// Says whether an option or the name uses this parameter, so that it is no unused variable in the body.
    pub(crate) fn uses(&self, parameter: &Ident) -> bool {
        let in_name = self.name.as_ref().is_some_and(|name| {
            name.uses(parameter) || name.expr().is_some_and(|expr| mentions(expr.to_token_stream(), parameter))
        });
        in_name || self.options.values().any(|(_, value)| value.mentions(parameter))
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.options.get(key).map(|(_, value)| value)
    }

    fn key(&self, key: &str) -> Span {
        self.options.get(key).map_or_else(Span::call_site, |(ident, _)| ident.span())
    }

    // What two options together, or one with its value, cannot mean.
    fn check(&self, errors: &mut Errors) {
        let known = |key| self.duration(key).and_then(DurationArg::known);
        if known("ttl").is_some_and(|ttl| ttl < Duration::from_secs(1)) {
            errors.over(self.duration("ttl").and_then(literal), "the shortest `ttl` is \"1s\"");
        }
        if known("ttl").is_some_and(|ttl| ttl > Duration::from_secs(24 * 3600)) {
            errors.over(self.duration("ttl").and_then(literal), "the longest `ttl` is \"24h\"");
        }
        if known("wait").is_some_and(|wait| wait.is_zero()) {
            errors.over(self.duration("wait").and_then(literal), "to try once and not wait, write `wait = none`");
        }
        for key in ["at_least", "max_hold"] {
            if known(key).is_some_and(|value| value.is_zero()) {
                errors.over(self.duration(key).and_then(literal), format!("`{key}` must be longer than zero"));
            }
        }
        if let (Some(least), Some(most)) = (known("at_least"), known("max_hold"))
            && least > most
        {
            errors.over(self.duration("at_least").and_then(literal), "`at_least` is longer than `max_hold`");
        }
        if self.value("on_busy").is_some() && matches!(self.wait(), Wait::Forever) {
            let message = "without `wait` the call waits until the lock is free, so it is never busy: \
                           add `wait = none` to try once, or `wait = \"5s\"`";
            errors.at(self.key("on_busy"), message);
        }
    }
}

// === impl Value ===

impl Value {
    fn mentions(&self, parameter: &Ident) -> bool {
        match self {
            Self::Duration(DurationArg::Expr(expr)) | Self::Expr(expr) => mentions(expr.to_token_stream(), parameter),
            Self::Duration(DurationArg::Literal(..))
            | Self::None
            | Self::Choice(_)
            | Self::Ident(_)
            | Self::Path(_) => false,
        }
    }
}

// A literal counts too: `format!("a-{parameter}")`.
fn mentions(tokens: TokenStream, parameter: &Ident) -> bool {
    tokens.into_iter().any(|tree| match tree {
        TokenTree::Ident(ident) => ident == *parameter,
        TokenTree::Group(group) => mentions(group.stream(), parameter),
        TokenTree::Literal(literal) => literal.to_string().contains(&format!("{{{}", parameter.unraw())),
        TokenTree::Punct(_) => false,
    })
}

fn literal(duration: &DurationArg) -> Option<&LitStr> {
    match duration {
        DurationArg::Literal(literal, _) => Some(literal),
        DurationArg::Expr(_) => None,
    }
}

fn row(which: Macro, key: &Ident) -> syn::Result<&'static Row> {
    let mine = || TABLE.iter().filter(|row| row.of.contains(&which));
    if let Some(row) = mine().find(|row| key == row.key) {
        return Ok(row);
    }
    let attribute = which.attribute();
    let message = if let Some(other) = TABLE.iter().find(|row| key == row.key) {
        format!(
            "`{}` is not an option of `{attribute}`; the options are {}",
            other.key,
            list(mine().map(|row| row.key))
        )
    } else if let Some(meant) = nearest(&key.to_string(), mine().map(|row| row.key)) {
        format!("unknown option `{key}` of `{attribute}`: did you mean `{meant}`?")
    } else {
        format!("unknown option `{key}` of `{attribute}`; the options are {}", list(mine().map(|row| row.key)))
    };
    Err(syn::Error::new(key.span(), message))
}

fn value(row: &Row, key: &Ident, input: ParseStream<'_>) -> syn::Result<Value> {
    if input.is_empty() || input.peek(Token![,]) {
        return Err(syn::Error::new(key.span(), format!("`{}` needs a value: write `{}`", row.key, row.example)));
    }
    match row.takes {
        Takes::Duration => DurationArg::parse(input).map(Value::Duration),
        Takes::DurationOrNone => duration_or_none(input),
        Takes::OneOf(choices) => choice(row, choices, input).map(Value::Choice),
        Takes::Ident => input.parse().map(Value::Ident).map_err(|error| {
            syn::Error::new(error.span(), format!("`{}` takes a new variable's name: write `{}`", row.key, row.example))
        }),
        Takes::Name | Takes::Expr => input.parse().map(Value::Expr),
        Takes::Path => input.call(Path::parse_mod_style).map(Value::Path),
    }
}

fn duration_or_none(input: ParseStream<'_>) -> syn::Result<Value> {
    let ahead = input.fork();
    if ahead.parse::<Ident>().is_ok_and(|word| word == "none") && (ahead.is_empty() || ahead.peek(Token![,])) {
        input.parse::<Ident>()?;
        return Ok(Value::None);
    }
    DurationArg::parse(input).map(Value::Duration)
}

fn choice(row: &Row, choices: &'static [&'static str], input: ParseStream<'_>) -> syn::Result<Ident> {
    let wrong = |span| syn::Error::new(span, format!("`{}` is one of {}", row.key, list(choices.iter().copied())));
    if input.peek(LitStr) {
        let literal: LitStr = input.parse()?;
        return Err(syn::Error::new(
            literal.span(),
            format!("`{}` takes a word without quotes: write `{}`", row.key, row.example),
        ));
    }
    let word = Ident::parse_any(input).map_err(|error| wrong(error.span()))?;
    if choices.iter().any(|choice| word == choice) { Ok(word) } else { Err(wrong(word.span())) }
}

fn positional_name(input: ParseStream<'_>, which: Macro, errors: &mut Errors) -> syn::Result<Name> {
    if input.peek(LitStr) {
        return Ok(Name::Template(Template::parse(input.parse()?, errors)));
    }
    let content;
    let bracket = syn::bracketed!(content in input);
    let literals = content.parse_terminated(<LitStr as syn::parse::Parse>::parse, Token![,]).map_err(|error| {
        syn::Error::new(error.span(), "a list of names holds names in quotes: `[\"a-{x}\", \"b-{y}\"]`")
    })?;
    if which == Macro::LeaderOnly {
        return Err(syn::Error::new(bracket.span.join(), "an election has one name, not a list"));
    }
    if literals.is_empty() {
        return Err(syn::Error::new(bracket.span.join(), "the list of names is empty"));
    }
    Ok(Name::list(literals, errors))
}

fn named(key: &Ident, input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<Name> {
    let ahead = input.fork();
    if ahead.parse::<LitStr>().is_ok() && (ahead.is_empty() || ahead.peek(Token![,])) {
        return Ok(Name::Template(Template::parse(input.parse()?, errors)));
    }
    if input.is_empty() || input.peek(Token![,]) {
        return Err(syn::Error::new(key.span(), "`name` needs a value: write `name = KEY`"));
    }
    Ok(Name::Expr(Box::new(input.parse()?)))
}

fn skip_to_comma(input: ParseStream<'_>) {
    while !input.is_empty() && !input.peek(Token![,]) {
        if input.parse::<TokenTree>().is_err() {
            return;
        }
    }
}
