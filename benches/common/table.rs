//! The one table that all goals print.

#[derive(Clone, Debug)]
pub struct Row {
    pub goal: String,
    pub bound: String,
    pub measured: String,
    pub floor: String,
    pub met: bool,
}

impl Row {
    /// Ours against a floor of the same run, in the same unit.
    pub fn ratio(goal: &str, bound: f64, ours: f64, floor: f64, unit: &str) -> Self {
        let ratio = ours / floor;
        Row {
            goal: goal.into(),
            bound: format!("<= {bound:.2}x"),
            measured: format!("{ratio:.2}x ({} {unit})", short(ours)),
            floor: format!("{} {unit}", short(floor)),
            met: ratio <= bound,
        }
    }

    /// The other way round: more is better.
    pub fn at_least(goal: &str, bound: f64, ours: f64, floor: f64, unit: &str) -> Self {
        let ratio = ours / floor;
        Row {
            goal: goal.into(),
            bound: format!(">= {}x", short(bound)),
            measured: format!("{ratio:.2}x ({} {unit})", short(ours)),
            floor: format!("{} {unit}", short(floor)),
            met: ratio >= bound,
        }
    }

    pub fn absolute(goal: &str, bound: f64, measured: f64, floor: f64, unit: &str) -> Self {
        Row {
            goal: goal.into(),
            bound: format!("<= {} {unit}", short(bound)),
            measured: format!("{} {unit}", short(measured)),
            floor: if floor.is_nan() { "-".into() } else { format!("{} {unit}", short(floor)) },
            met: measured <= bound,
        }
    }
}

fn short(figure: f64) -> String {
    match figure {
        figure if figure >= 100.0 => format!("{figure:.0}"),
        figure if figure >= 10.0 => format!("{figure:.1}"),
        figure => format!("{figure:.2}"),
    }
}

pub fn print(rows: &[Row]) {
    let mut lines = vec![["goal", "bound", "measured", "floor", "verdict"].map(str::to_owned)];
    for row in rows {
        let verdict = if row.met { "met" } else { "missed" };
        lines.push([&row.goal, &row.bound, &row.measured, &row.floor, verdict].map(|text| text.to_string()));
    }
    let widths: Vec<usize> =
        (0..5).map(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or(0)).collect();
    for (place, line) in lines.iter().enumerate() {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(text, width)| format!("{text:width$}")).collect();
        println!("| {} |", cells.join(" | "));
        if place == 0 {
            let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            println!("| {} |", rules.join(" | "));
        }
    }
}
