//! Resolution of a Puppet type, from its syntax: which words there are, and what each may have in
//! its brackets.

use regex_lite::{Regex, RegexBuilder};
use serde_json::Value;

use super::syntax::Expression;
use super::{Kind, Member, Size};

impl Kind {
    pub(super) fn of(expression: &Expression) -> Result<Self, String> {
        let Expression::Name(name, inside) = expression else {
            return Err(format!("{} is not a type", quoted(expression)));
        };
        match inside.as_deref() {
            None => Self::plain(name),
            Some(inside) => Self::with(name, inside),
        }
    }

    fn plain(name: &str) -> Result<Self, String> {
        let any = || Box::new(Self::Any);
        Ok(match name {
            "Any" | "Data" => Self::Any,
            "Undef" => Self::Undef,
            "Scalar" | "ScalarData" => Self::Scalar,
            "Boolean" => Self::Boolean,
            "Numeric" => Self::Variant(vec![Self::Integer(None, None), Self::Float(None, None)]),
            "String" => Self::String(Size::default()),
            "Integer" => Self::Integer(None, None),
            "Float" => Self::Float(None, None),
            "NotUndef" => Self::NotUndef(any()),
            "Sensitive" => Self::Sensitive(any()),
            "Array" => Self::Array(any(), Size::default()),
            "Hash" => Self::Hash(any(), any(), Size::default()),
            "Enum" | "Pattern" | "Optional" | "Variant" | "Tuple" | "Struct" => {
                return Err(format!("`{name}` says nothing without brackets"));
            }
            _ => return Err(unknown(name)),
        })
    }

    fn with(name: &str, inside: &[Expression]) -> Result<Self, String> {
        let all = |items: &[Expression]| items.iter().map(Self::of).collect::<Result<Vec<_>, _>>();
        Ok(match (name, inside) {
            ("String", size) => Self::String(Size::of(name, size)?),
            ("Integer", bounds) => {
                let (from, to) = range(name, bounds, integer)?;
                Self::Integer(from, to)
            }
            ("Float", bounds) => {
                let (from, to) = range(name, bounds, float)?;
                Self::Float(from, to)
            }
            ("Enum", words) => Self::Enum(words.iter().map(word).collect::<Result<_, _>>()?),
            ("Pattern", patterns) => {
                Self::Pattern(patterns.iter().map(pattern).collect::<Result<_, _>>()?)
            }
            ("Optional", [Expression::Text(text)]) => {
                Self::Optional(Box::new(Self::Enum(vec![text.clone()])))
            }
            ("Optional", [inner]) => Self::Optional(Box::new(Self::of(inner)?)),
            ("NotUndef", [inner]) => Self::NotUndef(Box::new(Self::of(inner)?)),
            ("Sensitive", [inner]) => Self::Sensitive(Box::new(Self::of(inner)?)),
            ("Variant", kinds) => Self::Variant(all(kinds)?),
            ("Array", [item, size @ ..]) => {
                Self::Array(Box::new(Self::of(item)?), Size::of(name, size)?)
            }
            ("Tuple", items) => {
                let is_type = |item: &&Expression| matches!(item, Expression::Name(..));
                let types = items.iter().take_while(is_type).count();
                let (types, size) = items.split_at(types);
                Self::Tuple(all(types)?, Size::of_tuple(types.len(), size)?)
            }
            ("Hash", [key, value, size @ ..]) if matches!(key, Expression::Name(..)) => Self::Hash(
                Box::new(Self::of(key)?),
                Box::new(Self::of(value)?),
                Size::of(name, size)?,
            ),
            ("Struct", [Expression::Map(members)]) => {
                Self::Struct(members.iter().map(Member::of).collect::<Result<_, _>>()?)
            }
            _ if Self::plain(name).is_err_and(|error| error == unknown(name)) => {
                return Err(unknown(name));
            }
            _ => {
                return Err(format!(
                    "`{name}` cannot have in brackets what it has there"
                ));
            }
        })
    }
}

fn unknown(name: &str) -> String {
    format!("the type `{name}` is an alias that only Puppet knows, or nothing that JSON can hold")
}

impl Size {
    fn of(name: &str, bounds: &[Expression]) -> Result<Self, String> {
        let (min, max) = range(name, bounds, integer)?;
        let count = |bound: i64| {
            u64::try_from(bound)
                .map_err(|_negative| format!("a size of `{name}` is negative: {bound}"))
        };
        Ok(Self {
            min: min.map_or(Ok(0), count)?,
            max: max.map(count).transpose()?,
        })
    }

    fn of_tuple(types: usize, bounds: &[Expression]) -> Result<Self, String> {
        if types == 0 {
            return Err("`Tuple` has no type in its brackets".to_owned());
        }
        let exactly = types as u64;
        if bounds.is_empty() {
            return Ok(Self {
                min: exactly,
                max: Some(exactly),
            });
        }
        let size = Self::of("Tuple", bounds)?;
        // A lower bound alone leaves the number of types as the upper one.
        let max = if bounds.len() == 1 {
            Some(exactly)
        } else {
            size.max
        };
        Ok(Self { max, ..size })
    }
}

impl Member {
    fn of((key, value): &(Expression, Expression)) -> Result<Self, String> {
        let kind = Kind::of(value)?;
        let (name, may_be_absent) = match key {
            Expression::Name(wrapper, Some(inside)) if inside.len() == 1 => {
                match wrapper.as_str() {
                    "Optional" => (word(&inside[0])?, true),
                    "NotUndef" => (word(&inside[0])?, false),
                    _ => return Err(format!("{} is not the key of a Struct", quoted(key))),
                }
            }
            key => (word(key)?, kind.accepts(&Value::Null)),
        };
        Ok(Self {
            name,
            may_be_absent,
            kind,
        })
    }
}

/// The bounds in the brackets of a type; `default` leaves one open.
fn range<T: PartialOrd>(
    name: &str,
    bounds: &[Expression],
    read: impl Fn(&Expression) -> Option<T>,
) -> Result<(Option<T>, Option<T>), String> {
    let is_default = |bound: &Expression| *bound == Expression::Word("default".to_owned());
    let bound = |at: usize| match bounds.get(at) {
        None => Ok(None),
        Some(bound) if is_default(bound) => Ok(None),
        Some(bound) => match read(bound) {
            Some(bound) => Ok(Some(bound)),
            None => Err(format!("{} is not a bound of `{name}`", quoted(bound))),
        },
    };
    let (from, to) = (bound(0)?, bound(1)?);
    if bounds.len() > 2 {
        return Err(format!("`{name}` has more than two bounds"));
    }
    if let (Some(from), Some(to)) = (&from, &to)
        && from > to
    {
        return Err(format!(
            "the first bound of `{name}` is greater than the second"
        ));
    }
    Ok((from, to))
}

fn integer(expression: &Expression) -> Option<i64> {
    match expression {
        Expression::Integer(number) => Some(*number),
        _ => None,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a bound of a Float is a float, however it is written"
)]
fn float(expression: &Expression) -> Option<f64> {
    match expression {
        Expression::Float(number) => Some(*number),
        Expression::Integer(number) => Some(*number as f64),
        _ => None,
    }
}

fn word(expression: &Expression) -> Result<String, String> {
    match expression {
        Expression::Word(text) | Expression::Text(text) => Ok(text.clone()),
        Expression::Name(name, None) => Ok(name.clone()),
        Expression::Integer(number) => Ok(number.to_string()),
        other => Err(format!("{} is not a word", quoted(other))),
    }
}

fn pattern(expression: &Expression) -> Result<Regex, String> {
    let (Expression::Regex(text) | Expression::Text(text)) = expression else {
        return Err(format!(
            "{} is not a pattern: write /…/",
            quoted(expression)
        ));
    };
    // As in Ruby, where ^ and $ are the ends of a line; \A and \z are those of the text.
    RegexBuilder::new(text)
        .multi_line(true)
        .build()
        .map_err(|error| {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default();
            format!("the pattern /{text}/ cannot be used: {why}")
        })
}

fn quoted(expression: &Expression) -> String {
    match expression {
        Expression::Name(name, _) => format!("`{name}`"),
        Expression::Word(text) => format!("`{text}`"),
        Expression::Text(text) => format!("'{text}'"),
        Expression::Integer(number) => number.to_string(),
        Expression::Float(number) => number.to_string(),
        Expression::Regex(text) => format!("/{text}/"),
        Expression::Map(_) => "what stands in braces".to_owned(),
    }
}
