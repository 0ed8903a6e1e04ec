//! The table: figures, each beside its limit, and the arithmetic of samples.

use std::fmt;

/// Measured values of one kind, in one unit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample(Vec<f64>);

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Figure {
    section: char,
    what: String,
    unit: &'static str,
    values: Sample,
    limit: Option<(String, f64)>,
    budget: String,
}

/// All lines, printed as Markdown.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Figure>);

// === impl Sample ===

impl Sample {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value that such a part (0 to 1) of all values does not exceed; not a number without values.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index within the sample")]
        let index = (last as f64 * part).round() as usize;
        sorted.get(index).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub(crate) fn greatest(&self) -> f64 {
        self.quantile(1.0)
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl From<f64> for Sample {
    fn from(value: f64) -> Self {
        Self(vec![value])
    }
}

// === impl Figure ===

impl Figure {
    pub(crate) fn new(section: char, what: impl Into<String>, unit: &'static str, values: impl Into<Sample>) -> Self {
        let (what, values) = (what.into(), values.into());
        Self { section, what, unit, values, limit: None, budget: String::new() }
    }

    /// What nobody could go below (or, for rates, above), measured in the same run.
    pub(crate) fn over(mut self, limit: impl Into<String>, value: f64) -> Self {
        self.limit = Some((limit.into(), value));
        self
    }

    /// What it is allowed to be, in words.
    pub(crate) fn budget(mut self, budget: impl Into<String>) -> Self {
        self.budget = budget.into();
        self
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, values) = (self.unit, &self.values);
        let p99 = if values.len() > 1 { number(values.quantile(0.99)) } else { String::new() };
        let (limit, ratio) = match &self.limit {
            Some((name, limit)) => (format!("{name}: {}", number(*limit)), number(values.median() / limit)),
            None => (String::new(), String::new()),
        };
        let (section, what, p50, n, budget) =
            (self.section, &self.what, number(values.median()), values.len(), &self.budget);
        write!(f, "| {section} | {what}, {unit} | {p50} | {p99} | {n} | {limit} | {ratio} | {budget} |")
    }
}

// === impl Table ===

impl Table {
    /// Adds a line and shows it at once: the whole takes a while.
    pub(crate) fn add(&mut self, figure: Figure) {
        eprintln!("{figure}");
        self.0.push(figure);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | figure | p50 | p99 | n | limit, measured in the same run | ratio | budget |")?;
        writeln!(f, "| --- | --- | ---: | ---: | ---: | --- | ---: | --- |")?;
        let mut figures: Vec<_> = self.0.iter().collect();
        figures.sort_by_key(|figure| (figure.section == '*', figure.section));
        figures.iter().try_for_each(|figure| writeln!(f, "{figure}"))
    }
}

/// Three significant digits are all that a shared machine can tell.
fn number(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => "-".to_owned(), // nothing came of it in the time given
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A duration in milliseconds.
pub(crate) fn millis(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_of_the_sample() {
        let sample: Sample = (0..=100).rev().map(f64::from).collect();
        let quantiles = [sample.median(), sample.quantile(0.99), sample.greatest()];
        assert_eq!(quantiles.map(number), ["50.0", "99.0", "100"]);
        assert!(Sample::default().median().is_nan());
    }

    #[test]
    fn a_line_gives_the_ratio_to_its_limit() {
        let line = Figure::new('a', "acquire", "ms", 3.0).over("create", 2.0).budget("<= 1.15").to_string();
        assert_eq!(line, "| a | acquire, ms | 3.00 |  | 1 | create: 2.00 | 1.50 | <= 1.15 |");
    }
}
