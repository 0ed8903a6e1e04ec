//! Curves over a logarithmic axis, drawn as SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// One line of a plot.
pub(crate) struct Curve {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

/// A picture of several curves; both axes are logarithmic.
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    pub(crate) curves: Vec<Curve>,
}

const SIZE: (u32, u32) = (900, 480);

// === impl Curve ===

impl Curve {
    pub(crate) fn new(name: &'static str, points: Vec<(f64, f64)>) -> Self {
        Self { name, points }
    }
}

// === impl Plot ===

impl Plot {
    pub(crate) fn draw(&self, file: &Path) -> Result<()> {
        let drawn = |error: &dyn std::fmt::Display| anyhow!("draw {}: {error}", file.display());
        let root = SVGBackend::new(file, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(|error| drawn(&error))?;
        let (x, y) = (self.range(|(x, _)| x), self.range(|(_, y)| y));
        let y = (y.0, y.1 * 4.0); // above all curves is room for their names
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, ("sans-serif", 20))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d((x.0..x.1).log_scale(), (y.0..y.1).log_scale())
            .map_err(|error| drawn(&error))?;
        let number = |value: &f64| format!("{value}");
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .x_label_formatter(&number)
            .y_label_formatter(&number)
            .light_line_style(WHITE)
            .draw()
            .map_err(|error| drawn(&error))?;
        for (index, curve) in self.curves.iter().enumerate() {
            let color = Palette99::pick(index).to_rgba();
            let points = curve.points.iter().copied().filter(|(_, y)| *y > 0.0);
            let line = LineSeries::new(points, color.stroke_width(2)).point_size(3);
            chart
                .draw_series(line)
                .map_err(|error| drawn(&error))?
                .label(curve.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        }
        let mut names = chart.configure_series_labels();
        names.position(SeriesLabelPosition::UpperLeft).border_style(BLACK).background_style(WHITE.mix(0.85));
        names.draw().map_err(|error| drawn(&error))?;
        root.present().map_err(|error| drawn(&error))
    }

    /// What an axis has to show, with some room.
    fn range(&self, of: impl Fn((f64, f64)) -> f64) -> (f64, f64) {
        let values = self.curves.iter().flat_map(|curve| &curve.points).map(|point| of(*point));
        let values = values.filter(|value| *value > 0.0 && value.is_finite());
        let (least, greatest) = values.fold((f64::MAX, f64::MIN), |(a, b), value| (a.min(value), b.max(value)));
        if least > greatest { (0.5, 2.0) } else { (least * 0.8, greatest * 1.25) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_drawn_with_their_names() {
        let dir = std::env::temp_dir().join(format!("msync-plot-{}.svg", std::process::id()));
        let curves =
            vec![Curve::new("steep", vec![(1.0, 2.0), (100.0, 0.0), (1000.0, 50.0)]), Curve::new("none", vec![])];
        Plot { title: "growth", x: "locks", y: "ms", curves }.draw(&dir).unwrap();
        let svg = std::fs::read_to_string(&dir).unwrap();
        std::fs::remove_file(&dir).unwrap();
        assert!(["growth", "steep", "none", "locks"].iter().all(|text| svg.contains(text)), "{svg}");
    }
}
