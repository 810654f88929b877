//! A text with variables in it.

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    /// By its place in the path.
    Variable(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

impl Template {
    /// `user-{user}`, with the names that there are.
    pub fn parse(text: &str, variables: &[Box<str>]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(open);
            let (name, after) = from
                .strip_prefix('{')
                .and_then(|inner| inner.split_once('}'))
                .ok_or_else(|| format!("'{text}' has a brace without its other one"))?;
            let place = variables
                .iter()
                .position(|known| **known == *name)
                .ok_or_else(|| format!("{{{name}}} is no variable of the path; write it there, too"))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            parts.push(Part::Variable(place));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Template(parts))
    }

    /// `values` in the order of the path.
    pub fn fill(&self, values: &[String]) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.to_string(),
            Part::Variable(place) => values.get(*place).cloned().unwrap_or_default(),
        };
        self.0.iter().map(text).collect()
    }

    /// None: it says the same for everybody.
    pub fn first_variable(&self) -> Option<usize> {
        self.0.iter().find_map(|part| match part {
            Part::Variable(place) => Some(*place),
            Part::Text(_) => None,
        })
    }
}
