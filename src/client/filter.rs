//! `-w EXPR`: a jq expression that says true, false or null to a JSON value, and nothing else. With `strict`, the
//! only file that knows jaq.

use std::collections::BTreeSet;
use std::fmt;

use jaq_core::compile::Undefined;
use jaq_core::load::lex::{Lexer, Token};
use jaq_core::load::parse::{Def, Parser, Term};
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, data, unwrap_valr};
use jaq_json::{Val, read};
use serde_json::Value;

use super::strict_comparisons::{COMPARISONS, Strict};
use super::{Plain, facts};

/// What jq has and jaq has not.
const BESIDES: &str = r#"
def IN(s): any(s as $x | ur_eq(.; $x); .);
def IN(src; s): any(src | IN(s); .);
def INDEX(stream; f): reduce stream as $row ({}; .[$row | f | tostring] |= $row);
def INDEX(f): INDEX(.[]; f);
def leaf_paths: paths(scalars);
def toarray: if type == "array" then . else [.] end;
def trimstr($x): ltrimstr($x) | rtrimstr($x);
def isvalid(f): try (f | true) catch false;
def ascii: [.] | implode;
"#;
/// They would end `ur`, or print what a node says.
const FORBIDDEN: [&str; 6] = [
    "halt",
    "halt_error",
    "debug",
    "stderr",
    "debug_empty",
    "stderr_empty",
];
/// Characters of a value in a message.
const MAX_SHOWN: usize = 60;

type Jaq = data::JustLut<Val>;

pub struct Filter {
    text: String,
    compiled: jaq_core::Filter<Jaq>,
    /// `$ENV`, as JSON.
    environment: String,
    /// Keys that it reads, and does not make itself.
    pub(super) keys: BTreeSet<String>,
}

/// An expression that is no jq, with the place where it stops being one.
#[derive(Debug, PartialEq, Eq)]
pub struct BadFilter {
    text: String,
    at: usize,
    message: String,
}

/// Why an expression says neither yes nor no to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoVerdict {
    /// jq's error, in words.
    Failed(Plain),
    /// What it gives, and what that is.
    Value(Plain, &'static str),
}

impl Filter {
    pub fn parse(text: &str) -> Result<Self, BadFilter> {
        let tokens = Lexer::new(text).lex().map_err(|errors| {
            let first = errors.into_iter().next();
            BadFilter::new(
                text,
                first.map(|(what, part)| (part, expected(what.as_str()))),
            )
        })?;
        let term = term(&tokens, text)?;
        let mut strict = Strict::default();
        let main = Def {
            name: "ur_main",
            args: Vec::new(),
            body: strict.term(term),
        };
        let jaqs = jaq_core::defs()
            .chain(jaq_std::defs())
            .chain(jaq_json::defs());
        let ours = [COMPARISONS, BESIDES].map(|text| load::parse(text, |parser| parser.defs()));
        let ours = ours
            .into_iter()
            .flat_map(|defs| defs.expect("our own definitions"));
        let defs = jaqs
            .chain(ours)
            .filter(|def| !FORBIDDEN.contains(&def.name));
        let defs = defs.map(beside);
        let funs = jaq_core::funs()
            .chain(jaq_std::funs())
            .chain(jaq_json::funs())
            .filter(|(name, ..)| !FORBIDDEN.contains(name));
        let arena = Arena::default();
        let program = File {
            code: "ur_main",
            path: (),
        };
        let modules = Loader::new(defs.chain([main])).load(&arena, program);
        let Ok(modules) = modules else {
            return Err(BadFilter::new(text, None));
        };
        let compiled = Compiler::default()
            .with_funs(funs)
            .with_global_vars(["$ENV"])
            .compile(modules)
            .map_err(|errors| {
                let first = errors.iter().flat_map(|(_, errors)| errors).next();
                BadFilter::new(
                    text,
                    first.map(|(part, what)| (*part, undefined(part, what))),
                )
            })?;
        Ok(Self {
            text: text.to_owned(),
            compiled,
            environment: environment(),
            keys: strict.keys(),
        })
    }

    /// Whether any output for `json` is true. `None` where all are null, or there is none.
    pub fn verdict(&self, json: &[u8]) -> Result<Option<bool>, NoVerdict> {
        let mut verdict = None;
        self.run(json, |output| {
            match output {
                Val::Null => {}
                Val::Bool(yes) => verdict = Some(verdict == Some(true) || yes),
                other => return Err(no_verdict(&other)),
            }
            Ok(())
        })?;
        Ok(verdict)
    }

    /// All outputs for a value.
    pub fn outputs(&self, value: &Value) -> Result<Vec<Value>, NoVerdict> {
        let mut outputs = Vec::new();
        self.run(value.to_string().as_bytes(), |output| {
            let output = serde_json::from_str(&output.to_string());
            outputs.push(output.map_err(|error| failed(&error))?);
            Ok(())
        })?;
        Ok(outputs)
    }

    fn run(
        &self,
        json: &[u8],
        mut take: impl FnMut(Val) -> Result<(), NoVerdict>,
    ) -> Result<(), NoVerdict> {
        let input = read::parse_single(json).map_err(|error| failed(&error))?;
        let environment = read::parse_single(self.environment.as_bytes());
        let environment = environment.map_err(|error| failed(&error))?;
        let context = Ctx::<Jaq>::new(&self.compiled.lut, Vars::new([environment]));
        let mut outputs = self.compiled.id.run((context, input)).map(unwrap_valr);
        outputs.try_for_each(|output| take(output.map_err(|error| failed(&error))?))
    }
}

fn term<'s>(tokens: &[Token<&'s str>], text: &'s str) -> Result<Term<&'s str>, BadFilter> {
    Parser::new(tokens).parse(Parser::term).map_err(|errors| {
        let first = errors.into_iter().next();
        let part = |token| Token::opt_as_str(token, text);
        let first = first.map(|(what, token)| (part(token), expected(what.as_str())));
        BadFilter::new(text, first)
    })
}

/// A definition of ours beside those of the text, which does not live as long.
fn beside<'s>(def: Def<&'static str>) -> Def<&'s str> {
    def
}

fn failed(error: &dyn fmt::Display) -> NoVerdict {
    NoVerdict::Failed(Plain::of(&error.to_string()))
}

fn no_verdict(value: &Val) -> NoVerdict {
    let kind = match value {
        Val::Num(_) => "a number",
        Val::BStr(_) | Val::TStr(_) => "a text",
        Val::Arr(_) => "an array",
        _ => "an object",
    };
    let mut text = value.to_string();
    if let Some((end, _)) = text.char_indices().nth(MAX_SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    NoVerdict::Value(Plain::of(&text), kind)
}

fn expected(what: &str) -> String {
    format!("expected {what}")
}

fn undefined(name: &str, what: &Undefined) -> String {
    format!("{name} is an undefined {}", what.as_str())
}

fn environment() -> String {
    let variables = std::env::vars_os().map(|(name, value)| {
        (
            name.to_string_lossy().into(),
            value.to_string_lossy().into(),
        )
    });
    let object: serde_json::Map<String, Value> = variables.collect();
    Value::from(object).to_string()
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
        writeln!(
            f,
            "bad expression: {} (this is jq as jaq 3 has it)",
            self.message
        )?;
        writeln!(f, "  {}", self.text)?;
        write!(f, "  {:column$}^", "")?;
        if let Some(hint) = hint(&self.text) {
            return write!(f, "\n{hint}");
        }
        match facts::blank_keys().find(|key| self.text.contains(&format!(".{key}"))) {
            Some(key) => write!(f, "\na key with blanks is written in quotes: .\"{key}\""),
            None => Ok(()),
        }
    }
}

impl std::error::Error for BadFilter {}

/// What one means who writes no jq.
fn hint(text: &str) -> Option<String> {
    let is_of_names = |c: char| c.is_ascii_alphanumeric() || "-_.,:@*?!&[]".contains(c);
    let is_node_set = !text.starts_with('.') && text.chars().all(is_of_names);
    if is_node_set && text.contains(|c: char| c.is_ascii_digit() || "@*[".contains(c)) {
        return Some(format!("nodes by name are -n '{text}'"));
    }
    if text.contains('\'') {
        return Some("a text stands in double quotes: \"r1\"".to_owned());
    }
    let has_not = text.starts_with('!') || text.contains(" !.") || text.contains("(!");
    let has_words = text.contains("&&") || text.contains("||") || has_not;
    has_words.then(|| "jq says and, or, and | not behind what is denied".to_owned())
}

impl NoVerdict {
    /// In a sentence, about what was judged.
    pub fn about(&self, what: &str) -> String {
        match self {
            Self::Failed(error) => {
                format!("the expression fails on {what}: {error} (`?` makes jq go on)")
            }
            Self::Value(value, kind) => format!(
                "the expression gives {kind} for {what}, not true or false: {value} (== compares, = assigns)"
            ),
        }
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
