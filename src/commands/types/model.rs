//! What the languages have in common: declarations with names, and types that refer to them.

/// All that one file declares, what is referred to after what refers to it.
#[derive(Debug, Default)]
pub struct Model {
    pub messages: Vec<Message>,
    pub declarations: Vec<Declaration>,
}

#[derive(Debug)]
pub struct Message {
    pub id: String,
    pub of: usize,
    /// A further name, for languages that declare each envelope.
    pub envelope: String,
}

#[derive(Debug)]
pub struct Declaration {
    pub name: String,
    /// Lines of a comment.
    pub about: Vec<String>,
    pub body: Body,
}

#[derive(Debug)]
pub enum Body {
    Object(Object),
    Alias(Type),
}

#[derive(Debug, Default)]
pub struct Object {
    pub fields: Vec<Field>,
    /// The schema says that there may be others.
    pub open: bool,
}

#[derive(Debug)]
pub struct Field {
    /// As on the wire.
    pub name: String,
    pub required: bool,
    pub of: Type,
    pub about: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Unknown,
    Text,
    Integer,
    Number,
    Boolean,
    Null,
    Literal(Literal),
    List(Box<Type>),
    /// Any keys, all of the same type.
    Map(Box<Type>),
    Union(Vec<Type>),
    /// A declaration, by its place.
    Named(usize),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Text(String),
    Integer(String),
    Number(String),
    Boolean(bool),
}

impl Type {
    /// Without doubles and unions in unions; what is not known makes the whole unknown.
    pub fn union(all: impl IntoIterator<Item = Type>) -> Type {
        let mut members = Vec::new();
        for member in all {
            match member {
                Type::Union(inner) => members.extend(inner),
                other => members.push(other),
            }
        }
        if members.contains(&Type::Unknown) {
            return Type::Unknown;
        }
        let mut distinct: Vec<Type> = Vec::new();
        for member in members {
            if !distinct.contains(&member) {
                distinct.push(member);
            }
        }
        // Where readers look for it.
        if let Some(at) = distinct.iter().position(|member| *member == Type::Null) {
            let null = distinct.remove(at);
            distinct.push(null);
        }
        match distinct.len() {
            0 => Type::Unknown,
            1 => distinct.swap_remove(0),
            _ => Type::Union(distinct),
        }
    }

    /// Declarations that this type is, without a list, a map or an object between.
    pub fn same_as(&self) -> Vec<usize> {
        match self {
            Type::Named(place) => vec![*place],
            Type::Union(members) => members.iter().flat_map(Type::same_as).collect(),
            _ => Vec::new(),
        }
    }
}

impl Model {
    /// An alias that is only itself is no type in any language.
    pub fn break_circles(&mut self) {
        for start in 0..self.declarations.len() {
            let mut seen = vec![false; self.declarations.len()];
            let mut ahead = self.next(start);
            let mut circular = false;
            while let Some(place) = ahead.pop() {
                circular |= place == start;
                if !std::mem::replace(&mut seen[place], true) {
                    ahead.extend(self.next(place));
                }
            }
            if circular {
                let declaration = &mut self.declarations[start];
                declaration.body = Body::Alias(Type::Unknown);
                declaration.about.push("The schema refers to nothing but itself.".into());
            }
        }
    }

    fn next(&self, place: usize) -> Vec<usize> {
        match &self.declarations[place].body {
            Body::Object(_) => Vec::new(),
            Body::Alias(of) => of.same_as(),
        }
    }
}
