//! Charts of lines, as SVG that stands by itself.

use super::html::escape;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 70.0;
const BELOW: f64 = 28.0;
const ABOVE: f64 = 10.0;
const RIGHT: f64 = 16.0;
/// More would not be told apart.
pub const LINES_MAX: usize = 8;
const COLOURS: [&str; LINES_MAX] =
    ["#2b7bba", "#e07b39", "#3a9a5c", "#b3446c", "#7d6bb3", "#8a7a2c", "#3aa3a3", "#777777"];
/// Points of a line: a soak has more seconds than a page has pixels.
const POINTS_MAX: usize = 600;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    Linear,
    Logarithmic,
}

type Points = Vec<(f64, f64)>;

pub struct Chart {
    title: String,
    scale: Scale,
    says: fn(u64) -> String,
    lines: Vec<(String, Points)>,
    /// Where the axis has words; empty: as `over_time` finds them.
    pub across: Vec<(f64, String)>,
}

impl Chart {
    #[must_use]
    pub fn new(title: &str, scale: Scale, says: fn(u64) -> String) -> Self {
        Chart { title: title.to_owned(), scale, says, lines: Vec::new(), across: Vec::new() }
    }

    pub fn line(&mut self, name: &str, points: Points) {
        if !points.is_empty() && self.lines.len() < LINES_MAX {
            self.lines.push((name.to_owned(), thin(points)));
        }
    }

    /// Seconds from left to right.
    #[must_use]
    pub fn over_time(mut self) -> Self {
        let last = self.points().map(|it| it.0).fold(0.0, f64::max);
        let steps = 4.0;
        self.across = (0..=4)
            .map(|step| last * f64::from(step) / steps)
            .map(|at| (at, if last < 8.0 { format!("{at:.1} s") } else { format!("{at:.0} s") }))
            .collect();
        self
    }

    fn points(&self) -> impl Iterator<Item = &(f64, f64)> {
        self.lines.iter().flat_map(|it| &it.1)
    }

    /// Nothing when there is nothing to draw.
    #[must_use]
    pub fn render(&self) -> String {
        if self.lines.is_empty() {
            return String::new();
        }
        let right = self.across.last().map_or(1.0, |it| it.0).max(f64::MIN_POSITIVE);
        let rules = self.rules();
        let (low, high) = (self.height(rules[0]), self.height(rules[rules.len() - 1]));
        let x = |at: f64| LEFT + at / right * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| {
            let share = (self.height(value) - low) / (high - low).max(f64::MIN_POSITIVE);
            HEIGHT - BELOW - share.clamp(0.0, 1.0) * (HEIGHT - BELOW - ABOVE)
        };
        let mut svg = String::new();
        for rule in &rules {
            let at = y(*rule);
            svg += &format!(
                "<line class=\"rule\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                escape(&(self.says)(*rule as u64))
            );
        }
        for (at, word) in &self.across {
            svg += &format!(
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                x(*at),
                HEIGHT - 10.0,
                escape(word)
            );
        }
        let mut legend = String::new();
        for ((name, points), colour) in self.lines.iter().zip(COLOURS) {
            let path: Vec<String> =
                points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
            svg += &format!("<polyline class=\"line\" stroke=\"{colour}\" points=\"{}\"/>", path.join(" "));
            legend += &format!("<span><i style=\"background:{colour}\"></i>{}</span>", escape(name));
        }
        format!(
            "<figure><figcaption>{title}</figcaption><svg width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             role=\"img\" aria-label=\"{title}\">{svg}</svg><div class=\"legend\">{legend}</div></figure>",
            title = escape(&self.title)
        )
    }

    fn height(&self, value: f64) -> f64 {
        if self.scale == Scale::Linear { value } else { value.max(1.0).log10() }
    }

    /// Values with a line across: from below the least to above the greatest.
    fn rules(&self) -> Vec<f64> {
        let high = self.points().map(|it| it.1).fold(f64::MIN_POSITIVE, f64::max);
        if self.scale == Scale::Linear {
            let step = round_up(high / 4.0);
            let count = (high / step).ceil().max(1.0) as u32;
            return (0..=count).map(|it| f64::from(it) * step).collect();
        }
        let low = self.points().map(|it| it.1).fold(f64::MAX, f64::min).max(1.0);
        let (first, last) = (low.log10().floor() as i32, high.max(1.0).log10().ceil() as i32);
        (first..=last.max(first + 1)).map(|it| 10f64.powi(it)).collect()
    }
}

/// The next of 1, 2, 5, 10, 20, ...
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.max(f64::MIN_POSITIVE).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps.iter().map(|step| step * power).find(|step| *step >= value * 0.999).unwrap_or(power * 10.0)
}

/// Of many points the highest of each stretch: a tail must not be drawn away.
fn thin(points: Points) -> Points {
    let stretch = points.len().div_ceil(POINTS_MAX);
    let highest = |some: &[(f64, f64)]| some.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    if stretch <= 1 { points } else { points.chunks(stretch).filter_map(highest).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_round_and_hold_all_values() {
        let mut chart = Chart::new("x", Scale::Linear, |value| value.to_string());
        chart.line("a", vec![(0.0, 3.0), (1.0, 170.0)]);
        assert_eq!(chart.rules(), [0.0, 50.0, 100.0, 150.0, 200.0]);
        chart.scale = Scale::Logarithmic;
        assert_eq!(chart.rules(), [1.0, 10.0, 100.0, 1000.0]);
    }

    #[test]
    fn thinning_keeps_the_peak() {
        let points = (0..10_000).map(|at| (f64::from(at), if at == 777 { 9.0 } else { 1.0 }));
        let thinned = thin(points.collect());
        assert!(thinned.len() <= POINTS_MAX);
        assert!(thinned.iter().any(|it| it.1 == 9.0));
    }
}
