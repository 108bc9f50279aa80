//! Puppet types of parameters, and whether a JSON value is of one. Types that no JSON value can have are
//! not known here.

mod resolve;
mod syntax;

use std::fmt;

use regex_lite::Regex;
use serde_json::{Map, Value};

/// A type as it was written, and understood.
#[derive(Clone, Debug)]
pub(crate) struct Type {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// `Any` and `Data`: of what JSON can say, they are the same.
    Any,
    Undef,
    Scalar,
    Boolean,
    String(Size),
    Enum(Vec<String>),
    Pattern(Vec<Regex>),
    Integer(Option<i64>, Option<i64>),
    Float(Option<f64>, Option<f64>),
    Optional(Box<Kind>),
    NotUndef(Box<Kind>),
    Sensitive(Box<Kind>),
    Variant(Vec<Kind>),
    Array(Box<Kind>, Size),
    Tuple(Vec<Kind>, Size),
    Hash(Box<Kind>, Box<Kind>, Size),
    Struct(Vec<Member>),
}

#[derive(Clone, Copy, Debug, Default)]
struct Size {
    min: u64,
    max: Option<u64>,
}

#[derive(Clone, Debug)]
struct Member {
    name: String,
    may_be_absent: bool,
    kind: Kind,
}

impl Type {
    /// The type of a parameter that says nothing of its own.
    pub(super) fn any() -> Self {
        Self {
            text: "Any".to_owned(),
            kind: Kind::Any,
        }
    }

    /// Fails with a sentence that says what of `text` is not understood.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Ok(Self {
            kind: Kind::of(&syntax::parse(text)?)?,
            text: text.to_owned(),
        })
    }

    pub(super) fn accepts(&self, value: &Value) -> bool {
        self.kind.accepts(value)
    }

    pub(super) fn may_be_absent(&self) -> bool {
        self.kind.accepts(&Value::Null)
    }

    pub(super) fn is_sensitive(&self) -> bool {
        self.kind.is_sensitive()
    }

    /// The values that it names, if it does.
    pub(super) fn choices(&self) -> Vec<String> {
        self.kind.choices()
    }

    /// A value that an example may show.
    pub(super) fn example(&self) -> String {
        self.kind.example()
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Kind {
    fn accepts(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Any, _) | (Self::Undef | Self::Optional(_), Value::Null) => true,
            (Self::Optional(inner) | Self::Sensitive(inner), value) => inner.accepts(value),
            (Self::NotUndef(inner), value) => !value.is_null() && inner.accepts(value),
            (Self::Variant(kinds), value) => kinds.iter().any(|kind| kind.accepts(value)),
            (Self::Scalar, value) => value.is_string() || value.is_number() || value.is_boolean(),
            (Self::Boolean, value) => value.is_boolean(),
            (Self::String(size), Value::String(text)) => size.holds(text.chars().count()),
            (Self::Enum(words), Value::String(text)) => words.contains(text),
            (Self::Pattern(patterns), Value::String(text)) => {
                patterns.iter().any(|pattern| pattern.is_match(text))
            }
            (Self::Integer(from, to), value) => value.as_i64().is_some_and(|number| {
                from.is_none_or(|from| number >= from) && to.is_none_or(|to| number <= to)
            }),
            (Self::Float(from, to), Value::Number(number)) if number.is_f64() => {
                number.as_f64().is_some_and(|number| {
                    from.is_none_or(|from| number >= from) && to.is_none_or(|to| number <= to)
                })
            }
            (Self::Array(item, size), Value::Array(values)) => {
                size.holds(values.len()) && values.iter().all(|value| item.accepts(value))
            }
            (Self::Tuple(items, size), Value::Array(values)) => {
                // The last type stands for all that follow.
                let kinds = items.iter().chain(items.last().into_iter().cycle());
                size.holds(values.len())
                    && values.iter().zip(kinds).all(|(v, kind)| kind.accepts(v))
            }
            (Self::Hash(key, item, size), Value::Object(values)) => {
                let fits = |(name, value): (&String, &Value)| {
                    key.accepts(&Value::String(name.clone())) && item.accepts(value)
                };
                size.holds(values.len()) && values.iter().all(fits)
            }
            (Self::Struct(members), Value::Object(values)) => is_struct(members, values),
            _ => false,
        }
    }

    fn is_sensitive(&self) -> bool {
        match self {
            Self::Sensitive(_) => true,
            Self::Optional(inner) | Self::NotUndef(inner) | Self::Array(inner, _) => {
                inner.is_sensitive()
            }
            Self::Hash(_, item, _) => item.is_sensitive(),
            Self::Variant(kinds) | Self::Tuple(kinds, _) => kinds.iter().any(Self::is_sensitive),
            Self::Struct(members) => members.iter().any(|member| member.kind.is_sensitive()),
            _ => false,
        }
    }

    fn example(&self) -> String {
        match self {
            Self::Optional(inner) | Self::NotUndef(inner) | Self::Sensitive(inner) => {
                inner.example()
            }
            Self::Variant(kinds) | Self::Tuple(kinds, _) if kinds.len() == 1 => kinds[0].example(),
            Self::Variant(kinds) => kinds.iter().map(Self::example).next().unwrap_or_default(),
            Self::Enum(words) => words.first().cloned().unwrap_or_default(),
            Self::Boolean => "true".to_owned(),
            Self::Integer(from, _) => from.unwrap_or(1).to_string(),
            Self::Float(from, _) => format!("{:?}", from.unwrap_or(1.0)),
            Self::Array(item, _) => format!("'[{}]'", item.example_in_list()),
            Self::Tuple(..) => "'[…]'".to_owned(),
            Self::Hash(..) | Self::Struct(_) => "'{…}'".to_owned(),
            _ => "…".to_owned(),
        }
    }
}

impl Kind {
    fn choices(&self) -> Vec<String> {
        match self {
            Self::Enum(words) => words.clone(),
            Self::Boolean => vec!["true".to_owned(), "false".to_owned()],
            Self::Optional(inner) | Self::NotUndef(inner) => inner.choices(),
            Self::Variant(kinds) => kinds.iter().flat_map(Self::choices).collect(),
            _ => Vec::new(),
        }
    }

    /// The same as JSON.
    fn example_in_list(&self) -> String {
        let example = self.example();
        match example
            .strip_prefix('\'')
            .and_then(|rest| rest.strip_suffix('\''))
        {
            Some(json) => json.to_owned(),
            None if serde_json::from_str::<Value>(&example).is_ok() => example,
            None => format!("\"{example}\""),
        }
    }
}

impl Size {
    fn holds(self, count: usize) -> bool {
        let count = count as u64;
        count >= self.min && self.max.is_none_or(|max| count <= max)
    }
}

fn is_struct(members: &[Member], values: &Map<String, Value>) -> bool {
    let known = |name: &String| members.iter().any(|member| member.name == *name);
    values.keys().all(known)
        && members.iter().all(|member| match values.get(&member.name) {
            Some(value) => member.kind.accepts(value),
            None => member.may_be_absent,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(text: &str, good: &[Value], bad: &[Value]) {
        let of = Type::parse(text).unwrap();
        for value in good {
            assert!(of.accepts(value), "{text} refuses {value}");
        }
        for value in bad {
            assert!(!of.accepts(value), "{text} accepts {value}");
        }
    }

    #[test]
    fn scalars_and_their_bounds() {
        check("String", &[json!("")], &[json!(1), json!(null)]);
        check("String[1]", &[json!("ä")], &[json!("")]);
        check("String[0, 2]", &[json!("äö")], &[json!("abc")]);
        check(
            "Integer[1, 10]",
            &[json!(1), json!(10)],
            &[json!(0), json!(11), json!(1.0), json!("1")],
        );
        check("Integer[default, 0]", &[json!(-5)], &[json!(1)]);
        check("Float[0]", &[json!(0.5)], &[json!(-0.5), json!(1)]);
        check("Numeric", &[json!(0.5), json!(1)], &[json!("1")]);
        check("Boolean", &[json!(true)], &[json!("true"), json!(1)]);
        check("Enum[a, 'b c']", &[json!("b c")], &[json!("c")]);
        check(
            "ScalarData",
            &[json!("x"), json!(true)],
            &[json!([]), json!(null)],
        );
    }

    #[test]
    fn a_pattern_has_ruby_s_anchors_and_need_not_match_the_whole() {
        check(
            r"Pattern[/\A[^\/]+\z/]",
            &[json!("sda")],
            &[json!("a/b"), json!("a/\nb")],
        );
        check(
            "Pattern[/^sd/, /nvme/]",
            &[json!("x\nsda"), json!("my-nvme0")],
            &[json!("x-sd")],
        );
    }

    #[test]
    fn collections_and_what_is_in_them() {
        check(
            "Array[String[1], 1]",
            &[json!(["a"])],
            &[json!([]), json!([""]), json!("a")],
        );
        check(
            "Tuple[String, Integer]",
            &[json!(["a", 1])],
            &[json!(["a"]), json!([1, "a"])],
        );
        check(
            "Tuple[String, Integer, 1, default]",
            &[json!(["a"]), json!(["a", 1, 2])],
            &[json!([]), json!(["a", 1, "b"])],
        );
        check(
            "Hash[Enum[a], Integer]",
            &[json!({"a": 1}), json!({})],
            &[json!({"b": 1}), json!({"a": ""})],
        );
        check("Hash", &[json!({"a": [1]})], &[json!([])]);
        let layout =
            "Struct[{name => String, Optional[size] => Integer, mode => Optional[String]}]";
        check(
            layout,
            &[
                json!({"name": "x"}),
                json!({"name": "x", "size": 1, "mode": null}),
            ],
            &[
                json!({}),
                json!({"name": "x", "sise": 1}),
                json!({"name": "x", "size": null}),
            ],
        );
    }

    #[test]
    fn what_may_be_absent() {
        check(
            "Optional[String[1]]",
            &[json!(null), json!("a")],
            &[json!("")],
        );
        check(
            "Variant[Undef, Integer]",
            &[json!(null), json!(1)],
            &[json!("a")],
        );
        check("NotUndef", &[json!(0)], &[json!(null)]);
        check("Data", &[json!(null), json!({"a": [1]})], &[]);
        assert!(Type::any().may_be_absent());
        assert!(!Type::parse("String").unwrap().may_be_absent());
    }

    #[test]
    fn a_secret_is_known_wherever_it_stands() {
        let sensitive = |text: &str| Type::parse(text).unwrap().is_sensitive();
        assert!(sensitive("Sensitive[String[1]]") && sensitive("Optional[Sensitive]"));
        assert!(sensitive(
            "Struct[{user => String, password => Sensitive[String]}]"
        ));
        assert!(!sensitive("Hash[String, String]"));
        check("Sensitive[Integer]", &[json!(1)], &[json!("a")]);
    }

    #[test]
    fn what_json_cannot_hold_is_refused_by_name() {
        let wrong = |text: &str| Type::parse(text).unwrap_err();
        assert!(wrong("Regexp").contains("`Regexp`"));
        assert!(wrong("Array[Stdlib::Port]").contains("`Stdlib::Port`"));
        assert!(wrong("Callable[String]").contains("`Callable`"));
        assert!(wrong("Integer[2, 1]").contains("greater"));
        assert!(wrong("String[-1]").contains("negative"));
        assert!(wrong("Enum").contains("without brackets"));
        assert!(wrong("Boolean[1]").contains("cannot have in brackets"));
        assert!(
            wrong("Pattern[/(?=a)/]").contains("look-around"),
            "{}",
            wrong("Pattern[/(?=a)/]")
        );
    }
}
