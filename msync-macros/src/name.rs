//! The name of a lock: a template such as `"invoice-{id}"`, an expression, or a list of templates.
//!
//! What is known at compile time is checked here against RFC 1123, as Kubernetes does it with the names of objects. What
//! a placeholder will hold is not known: names made at run time are the library's business.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::{Expr, LitStr, Token};

use crate::borrowed::borrowed;
use crate::errors::Errors;
use crate::item::Scope;
use crate::nearest::{list, nearest};

/// The longest name that Kubernetes allows for an object.
const MAX_LEN: usize = 253;

/// What stands for the name.
#[derive(Clone)]
pub(crate) enum Name {
    Template(Template),
    Expr(Box<Expr>),
    List(Vec<Template>),
}

/// A string literal with placeholders.
#[derive(Clone)]
pub(crate) struct Template {
    literal: LitStr,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Hole(Hole),
}

/// A placeholder: `{self.field:>05}` has the path `self`, `field` and the spec `:>05`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hole {
    path: Vec<String>,
    spec: String,
}

// === impl Name ===

impl Name {
    /// Reads a list of templates.
    pub(crate) fn list(literals: Punctuated<LitStr, Token![,]>, errors: &mut Errors) -> Self {
        let mut templates: Vec<Template> = Vec::new();
        for literal in literals {
            if templates.iter().any(|earlier| earlier.literal.value() == literal.value()) {
                errors.at(literal.span(), format!("{:?} is in the list twice", literal.value()));
            } else {
                templates.push(Template::parse(literal, errors));
            }
        }
        Self::List(templates)
    }

    /// Checks that every placeholder names something of the function.
    pub(crate) fn check(&self, scope: &Scope, errors: &mut Errors) {
        for template in self.templates() {
            template.check(scope, errors);
        }
    }

    /// Says whether a placeholder uses this parameter.
    pub(crate) fn uses(&self, parameter: &Ident) -> bool {
        let parameter = parameter.unraw().to_string();
        self.templates().iter().flat_map(Template::holes).any(|hole| hole.path[0] == parameter)
    }

    /// Returns the expression, if the name is one.
    pub(crate) fn expr(&self) -> Option<&Expr> {
        match self {
            Self::Expr(expr) => Some(expr),
            Self::Template(_) | Self::List(_) => None,
        }
    }

    /// Returns the literal, if the name is one.
    pub(crate) fn literal(&self) -> Option<&LitStr> {
        match self {
            Self::Template(template) => Some(&template.literal),
            Self::Expr(_) | Self::List(_) => None,
        }
    }

    // Input:  "invoice-{id}"
    // Output: ::msync::unstable::private::Name::format(::core::format_args!("invoice-{}", id)).labelled("invoice-{id}")
    //
    // Input:  ["a", "b-{x}"]
    // Output: [Name::fixed("a"), Name::format(format_args!("b-{}", x))], each with its path
    /// Writes the expression that makes the name.
    pub(crate) fn expand(&self, root: &TokenStream, scope: &Scope) -> TokenStream {
        let site = Span::mixed_site();
        match self {
            Self::Template(template) => template.expand(root, scope),
            Self::Expr(expr) => {
                let expr = borrowed(expr);
                quote_spanned!(site=> #root::unstable::private::Name::of(#expr))
            }
            Self::List(templates) => {
                let names = templates.iter().map(|template| template.expand(root, scope));
                quote_spanned!(site=> [#(#names),*])
            }
        }
    }

    fn templates(&self) -> &[Template] {
        match self {
            Self::Template(template) => std::slice::from_ref(template),
            Self::Expr(_) => &[],
            Self::List(templates) => templates,
        }
    }
}

// === impl Template ===

impl Template {
    /// Reads a template; what is wrong with it goes to `errors`.
    pub(crate) fn parse(literal: LitStr, errors: &mut Errors) -> Self {
        let parts = match parts(&literal.value()) {
            Ok(parts) => parts,
            Err(why) => {
                errors.at(literal.span(), why);
                Vec::new()
            }
        };
        let template = Self { literal, parts };
        if let Some(why) = template.fault() {
            errors.at(template.literal.span(), why);
        }
        template
    }

    fn holes(&self) -> impl Iterator<Item = &Hole> {
        self.parts.iter().filter_map(|part| match part {
            Part::Hole(hole) => Some(hole),
            Part::Text(_) => None,
        })
    }

    fn fault(&self) -> Option<String> {
        let text = self.literal.value();
        if text.is_empty() {
            return Some("the name is empty".to_owned());
        }
        if text.starts_with("session.") {
            let message =
                "names that begin with \"session.\" are msync's own; choose another beginning, such as \"session-\"";
            return Some(message.to_owned());
        }
        self.parts.iter().find_map(text_fault).or_else(|| self.shape_fault())
    }

    // Holes count as one letter: they may be longer, but never make a wrong edge right.
    fn shape_fault(&self) -> Option<String> {
        let shape: String = self.parts.iter().map(Part::shape).collect();
        if shape.len() > MAX_LEN {
            return Some(format!("the name is {} characters long; Kubernetes allows {MAX_LEN}", shape.len()));
        }
        let edge = |part: &str| part.is_empty() || part.starts_with('-') || part.ends_with('-');
        if !shape.is_empty() && shape.split('.').any(edge) {
            let message = "each part of the name between dots must start and end with a lower-case letter or a digit";
            return Some(message.to_owned());
        }
        None
    }

    fn check(&self, scope: &Scope, errors: &mut Errors) {
        for hole in self.holes() {
            if let Err(why) = hole.check(scope) {
                errors.at(self.literal.span(), why);
            }
        }
    }

    fn expand(&self, root: &TokenStream, scope: &Scope) -> TokenStream {
        let span = self.literal.span();
        let site = Span::mixed_site().located_at(span);
        if self.holes().next().is_none() {
            let literal = &self.literal;
            return quote_spanned!(site=> #root::unstable::private::Name::fixed(#literal));
        }
        let format: String = self.parts.iter().map(Part::format).collect();
        let mut format = Literal::string(&format);
        format.set_span(site);
        let values = self.holes().map(|hole| hole.expand(span, scope));
        let mut template = Literal::string(&self.literal.value());
        template.set_span(site);
        quote_spanned!(site=> #root::unstable::private::Name::format(::core::format_args!(#format, #(#values),*)).labelled(#template))
    }
}

// === impl Part ===

impl Part {
    fn shape(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Hole(_) => "x",
        }
    }

    fn format(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Hole(hole) => format!("{{{}}}", hole.spec),
        }
    }
}

fn text_fault(part: &Part) -> Option<String> {
    let Part::Text(text) = part else { return None };
    let bad = text.chars().find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.')))?;
    let instead = match bad {
        'A'..='Z' => format!(": write `{}`", bad.to_ascii_lowercase()),
        '_' | ' ' | '/' | ':' => ": write `-` or `.`".to_owned(),
        _ => String::new(),
    };
    Some(format!(
        "`{bad}` is not allowed in the name of a lock{instead} (Kubernetes allows lower-case letters, digits, `-` and `.`)"
    ))
}

// === impl Hole ===

impl Hole {
    fn parse(text: &str) -> Result<Self, String> {
        let (path, spec) = text.split_at(text.find(':').unwrap_or(text.len()));
        let path: Vec<String> =
            path.trim().split('.').map(|part| part.trim().trim_start_matches("r#").to_owned()).collect();
        if path == [""] {
            return Err("`{}` says nothing: write a parameter's name, such as `{id}`".to_owned());
        }
        let is_root = syn::parse_str::<Ident>(&path[0]).is_ok() || path[0] == "self" || is_raw(&path[0]);
        if !is_root || !path[1..].iter().all(|part| is_member(part)) {
            return Err(format!(
                "`{{{text}}}` is not a parameter or a field of one: for anything else write `name = format!(..)`"
            ));
        }
        if spec.contains('$') {
            return Err(format!("`{{{text}}}`: widths from parameters do not work here: write `name = format!(..)`"));
        }
        Ok(Self { path, spec: spec.to_owned() })
    }

    fn check(&self, scope: &Scope) -> Result<(), String> {
        let root = self.path[0].as_str();
        if root == "self" {
            return match (&scope.receiver, self.path.len()) {
                (None, _) => Err("`{self..}` needs a method: this function has no `self`".to_owned()),
                (Some(_), 1) => Err("`{self}` names no field: write `{self.field}`".to_owned()),
                (Some(_), _) => Ok(()),
            };
        }
        if scope.parameter(root).is_some() {
            return Ok(());
        }
        if scope.destructured.iter().any(|ident| ident.unraw() == root) {
            return Err(format!(
                "`{{{root}}}` is part of a destructured parameter: give the parameter a name and destructure it in the body"
            ));
        }
        Err(unknown_parameter(root, scope))
    }

    // Input:  {self.field}, {a.0}
    // Output: self.field, a.0 with the hygiene of the parameter and the place of the literal
    fn expand(&self, span: Span, scope: &Scope) -> TokenStream {
        let root = if self.path[0] == "self" { scope.receiver.as_ref() } else { scope.parameter(&self.path[0]) };
        let mut root = root.cloned().unwrap_or_else(|| Ident::new("__msync_unknown", span));
        root.set_span(span.resolved_at(root.span()));
        let members = self.path[1..].iter().map(|member| member_token(member, span));
        quote!(#root #(.#members)*)
    }
}

fn unknown_parameter(root: &str, scope: &Scope) -> String {
    let names: Vec<String> = scope.parameters.iter().map(|ident| ident.unraw().to_string()).collect();
    let names = || names.iter().map(String::as_str).filter(|name| !name.starts_with("__"));
    let help = if let Some(meant) = nearest(root, names()) {
        format!("did you mean `{{{meant}}}`?")
    } else if names().next().is_some() {
        format!("the parameters are {}", list(names()))
    } else {
        "the function has no parameters".to_owned()
    };
    format!("`{{{root}}}` is not a parameter: {help}")
}

fn is_raw(part: &str) -> bool {
    syn::parse_str::<Ident>(&format!("r#{part}")).is_ok()
}

fn is_member(part: &str) -> bool {
    is_raw(part) || (!part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

fn member_token(member: &str, span: Span) -> TokenStream {
    if let Ok(index) = member.parse::<u32>() {
        let mut index = Literal::u32_unsuffixed(index);
        index.set_span(span);
        return quote!(#index);
    }
    let ident =
        if syn::parse_str::<Ident>(member).is_ok() { Ident::new(member, span) } else { Ident::new_raw(member, span) };
    quote!(#ident)
}

/// Splits a template at its placeholders.
fn parts(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, after) = rest.split_at(at);
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        if after.starts_with('}') {
            return Err("unbalanced brace: `}` without `{` before it".to_owned());
        }
        let Some(end) = after[1..].find(['{', '}']).map(|end| end + 1).filter(|&end| after[end..].starts_with('}'))
        else {
            return Err("unbalanced brace: `{` without `}` after it".to_owned());
        };
        parts.push(Part::Hole(Hole::parse(&after[1..end])?));
        rest = &after[end + 1..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        let mut errors = Errors::default();
        Template::parse(LitStr::new(text, Span::call_site()), &mut errors);
        errors.into_tokens().to_string()
    }

    fn hole(path: &[&str], spec: &str) -> Part {
        Part::Hole(Hole { path: path.iter().map(|&part| part.to_owned()).collect(), spec: spec.to_owned() })
    }

    #[test]
    fn templates_split_at_their_placeholders() {
        let text = |text: &str| Part::Text(text.to_owned());
        assert_eq!(parts("a").unwrap(), [text("a")]);
        assert_eq!(parts("a-{id}").unwrap(), [text("a-"), hole(&["id"], "")]);
        assert_eq!(
            parts("{self.a.0:>05}.{type}").unwrap(),
            [hole(&["self", "a", "0"], ":>05"), text("."), hole(&["type"], "")]
        );
    }

    #[test]
    fn good_names_pass() {
        for good in ["a", "a-b.c", "0", "a-{id}", "{id}", "{id}-{id}.x", "a{id:03}"] {
            assert_eq!(faults(good), "", "{good}");
        }
    }

    #[test]
    fn bad_names_say_why() {
        let long = "a".repeat(254);
        let cases = [
            ("session.{x}", "msync's own"),
            ("", "empty"),
            ("Invoices", "write `i`"),
            ("a_b", "write `-`"),
            ("a{id", "without `}`"),
            ("a}id", "without `{`"),
            ("{a{b}}", "unbalanced"),
            ("{}", "says nothing"),
            ("{0}", "is not a parameter or a field"),
            ("{a+b}", "is not a parameter or a field"),
            ("{a:w$}", "widths from parameters"),
            ("-a", "start and end"),
            ("a-", "start and end"),
            ("a..b", "start and end"),
            ("a-.{b}", "start and end"),
            (long.as_str(), "254 characters"),
        ];
        for (name, why) in cases {
            let error = faults(name);
            assert!(error.contains(why), "{name:?}: {error}");
        }
    }
}
