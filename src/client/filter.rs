//! `-w EXPR`: a jq expression that says yes or no to a JSON value. The only file that knows jaq.

use std::fmt;

use jaq_core::compile::Undefined;
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data, unwrap_valr};
use jaq_json::{Val, read};

pub struct Filter {
    text: String,
    compiled: jaq_core::Filter<data::JustLut<Val>>,
}

/// An expression that is no jq, with the place where it stops being one.
#[derive(Debug, PartialEq, Eq)]
pub struct BadFilter {
    text: String,
    at: usize,
    message: String,
}

impl Filter {
    pub fn parse(text: &str) -> Result<Self, BadFilter> {
        let defs = jaq_core::defs()
            .chain(jaq_std::defs())
            .chain(jaq_json::defs());
        let funs = jaq_core::funs()
            .chain(jaq_std::funs())
            .chain(jaq_json::funs());
        let arena = Arena::default();
        let program = File {
            code: text,
            path: (),
        };
        let modules = Loader::new(defs).load(&arena, program).map_err(|errors| {
            let first = errors.into_iter().next();
            BadFilter::new(text, first.and_then(|(_, error)| unreadable(error)))
        })?;
        let compiled = Compiler::default()
            .with_funs(funs)
            .compile(modules)
            .map_err(|errors| {
                let first = errors.iter().flat_map(|(_, errors)| errors).next();
                let undefined = |what: &Undefined| format!("undefined {}", what.as_str());
                BadFilter::new(text, first.map(|(part, what)| (*part, undefined(what))))
            })?;
        Ok(Self {
            text: text.to_owned(),
            compiled,
        })
    }

    /// Whether any output for `json` is neither `false` nor `null`. The error is jq's, in words.
    pub fn accepts(&self, json: &[u8]) -> Result<bool, String> {
        let input = read::parse_single(json).map_err(|error| error.to_string())?;
        let context = Ctx::<data::JustLut<Val>>::new(&self.compiled.lut, Vars::new([]));
        for output in self.compiled.id.run((context, input)).map(unwrap_valr) {
            match output {
                Ok(Val::Null | Val::Bool(false)) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(false)
    }
}

/// The part of the text where reading it stopped, and why.
fn unreadable(error: load::Error<&str>) -> Option<(&str, String)> {
    let expected = |what: &str| format!("expected {what}");
    match error {
        load::Error::Io(errors) => errors.into_iter().next(),
        load::Error::Lex(errors) => errors
            .into_iter()
            .next()
            .map(|(what, part)| (part, expected(what.as_str()))),
        load::Error::Parse(errors) => errors
            .into_iter()
            .next()
            .map(|(what, part)| (part, expected(what.as_str()))),
    }
}

impl BadFilter {
    fn new(text: &str, cause: Option<(&str, String)>) -> Self {
        let (part, message) = cause.unwrap_or((text, "not jq".to_owned()));
        Self {
            text: text.to_owned(),
            at: load::span(text, part).start,
            message,
        }
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({:?})", self.text)
    }
}

impl fmt::Display for BadFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.text.get(..self.at).unwrap_or_default();
        let column = before.chars().count();
        writeln!(f, "bad expression: {}", self.message)?;
        writeln!(f, "  {}", self.text)?;
        write!(f, "  {:column$}^", "")
    }
}

impl std::error::Error for BadFilter {}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn accepts(text: &str, value: &Value) -> bool {
        let filter = Filter::parse(text).unwrap();
        filter.accepts(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_truthy_output_accepts() {
        let sysinfo =
            json!({"Setup": "true", "MiB of Memory": "32768", "Disks": {"sda": {}, "sdb": {}}});
        assert!(accepts(r#".Setup == "true""#, &sysinfo));
        assert!(accepts(".Disks | length > 1", &sysinfo));
        assert!(accepts(
            r#".["MiB of Memory"] | tonumber >= 32768"#,
            &sysinfo
        ));
        assert!(accepts(".Setup", &sysinfo));
        assert!(accepts(r#".Disks | keys[] | test("^sdb$")"#, &sysinfo));
        assert!(!accepts(".Missing", &sysinfo));
        assert!(!accepts("empty", &sysinfo));
        assert!(!accepts(r#".Setup == "false""#, &sysinfo));
    }

    #[test]
    fn a_bad_expression_is_shown_with_the_place_where_it_goes_wrong() {
        let shown = |text| Filter::parse(text).unwrap_err().to_string();
        assert_eq!(
            shown(".Setup == "),
            "bad expression: expected term\n  .Setup == \n            ^"
        );
        assert_eq!(
            shown(".Setup | nosuch"),
            "bad expression: undefined filter\n  .Setup | nosuch\n           ^"
        );
        assert!(shown(".[\"x]").contains('^'));
        assert!(shown("").contains("expected"));
    }

    #[test]
    fn an_expression_that_fails_on_a_value_says_so() {
        let filter = Filter::parse(".Setup.x").unwrap();
        assert!(filter.accepts(br#"{"Setup": "true"}"#).is_err());
        assert!(accepts(".Setup.x? // true", &json!({"Setup": "true"})));
    }
}
