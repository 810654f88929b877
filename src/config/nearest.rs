//! The known name that somebody who mistyped most likely meant.

/// `; did you mean X?`, or where to look when no name is near.
pub fn did_you_mean<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(typed, known) {
        Some(name) => format!("; did you mean {name}?"),
        None => "; see --help".into(),
    }
}

/// The first of the nearest, if near enough: a third of the letters may differ.
pub fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const TYPED_MAX: usize = 100;
    if typed.len() > TYPED_MAX {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace('_', "-");
    let wanted = plain(typed);
    let bound = (wanted.len() / 3).max(2);
    let scored = known.map(|name| (distance(&wanted, &plain(name)), name));
    let (score, name) = scored.min_by_key(|(score, _)| *score)?;
    (score <= bound).then_some(name)
}

/// Edit distance where swapping two neighbours counts as one step.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (last[j - 1] + same).min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}
