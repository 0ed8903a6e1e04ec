//! Durations in attributes: `"1m30s"`, checked at compile time, or any expression of type `Duration`.
//!
//! Never a bare number: its unit would be a guess.

use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::parse::ParseStream;
use syn::{Expr, ExprLit, Lit};

/// A duration as it was written.
#[derive(Clone)]
pub(crate) enum DurationArg {
    /// A string literal, with its value.
    Literal(syn::LitStr, Duration),
    /// Anything else; its type is checked where it is used.
    Expr(Box<Expr>),
}

// === impl DurationArg ===

impl DurationArg {
    /// Reads `"30s"` or an expression.
    pub(crate) fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let expr: Expr = input.parse()?;
        match expr {
            Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) => match parse(&literal.value()) {
                Ok(value) => Ok(Self::Literal(literal, value)),
                Err(why) => Err(syn::Error::new(literal.span(), why)),
            },
            Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => {
                let digits = number.base10_digits();
                Err(syn::Error::new(
                    number.span(),
                    format!("a number has no unit: write \"{digits}s\" or \"{digits}ms\""),
                ))
            }
            expr => Ok(Self::Expr(Box::new(expr))),
        }
    }

    /// Returns the value if it is known at compile time.
    pub(crate) fn known(&self) -> Option<Duration> {
        match self {
            Self::Literal(_, value) => Some(*value),
            Self::Expr(_) => None,
        }
    }
}

impl ToTokens for DurationArg {
    // Input:  "1m30s"
    // Output: ::core::time::Duration::from_millis(90000u64)
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let site = Span::mixed_site();
        tokens.extend(match self {
            Self::Literal(_, value) => {
                let millis = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
                quote_spanned!(site=> ::core::time::Duration::from_millis(#millis))
            }
            Self::Expr(expr) => expr.to_token_stream(),
        });
    }
}

/// Reads one or more `<number><unit>`; the units are `ms`, `s`, `m` and `h`.
fn parse(text: &str) -> Result<Duration, String> {
    const HELP: &str = "write a number and a unit, such as \"500ms\", \"30s\", \"5m\", \"1h\" or \"1m30s\"";
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(format!("empty duration: {HELP}"));
    }
    if rest == "none" {
        return Err("`none` is written without quotes".to_owned());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit());
        let (unit, after) = split(after, |c| !c.is_ascii_digit());
        let Ok(number) = number.parse::<u64>() else {
            return Err(format!("{text:?} is not a duration: {HELP}"));
        };
        let Some(millis) = unit_millis(unit.trim()) else {
            return Err(unknown_unit(text, number, unit.trim()));
        };
        total = number
            .checked_mul(millis)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| format!("{text:?} is longer than any lock may last"))?;
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

fn unit_millis(unit: &str) -> Option<u64> {
    match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    }
}

fn unknown_unit(text: &str, number: u64, unit: &str) -> String {
    match unit {
        "" => format!("{text:?} has no unit: write \"{number}s\" or \"{number}ms\""),
        _ if unit.starts_with('.') => {
            format!("{text:?} has a fraction: write it in a smaller unit, such as \"1500ms\"")
        }
        _ => format!("unknown unit `{unit}` in {text:?}: the units are `ms`, `s`, `m` and `h`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, millis) in [("500ms", 500), ("30s", 30_000), ("1m30s", 90_000), ("1h", 3_600_000), (" 2 s ", 2_000)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_says_what_to_write() {
        let cases = [
            ("", "empty duration"),
            ("30", "has no unit: write \"30s\""),
            ("soon", "is not a duration"),
            ("-5s", "is not a duration"),
            ("1.5s", "has a fraction"),
            ("3d", "unknown unit `d`"),
            ("99999999999999999999s", "is not a duration"),
            ("9999999999999999999h", "longer than any lock"),
            ("none", "without quotes"),
        ];
        for (text, message) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.contains(message), "{text:?}: {error}");
        }
    }
}
