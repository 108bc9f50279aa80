//! The syntax of Puppet types, `Optional[Array[String[1], 1]]`: words and what is in their brackets.
//! What they mean is said in `resolve`.

use winnow::ascii::multispace0;
use winnow::combinator::{
    alt, cut_err, delimited, opt, preceded, repeat, separated, separated_pair, terminated,
};
use winnow::error::ContextError;
use winnow::prelude::*;
use winnow::token::{any, none_of, one_of, take_while};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    /// `String`, and what stands in its brackets; `None` where it has none.
    Name(String, Option<Vec<Expression>>),
    /// A word without quotes, as in `Enum[clear, purge]`.
    Word(String),
    Text(String),
    Integer(i64),
    Float(f64),
    Regex(String),
    Map(Vec<(Expression, Expression)>),
}

/// The whole of `text` as one type, or a sentence that says where it stops being one.
pub(super) fn parse(text: &str) -> Result<Expression, String> {
    spaced(name).parse(text).map_err(
        |error| match text.get(error.offset()..).unwrap_or_default() {
            "" => format!("`{text}` is not a Puppet type: it ends too early"),
            rest => format!("`{text}` is not a Puppet type: it goes wrong at `{rest}`"),
        },
    )
}

fn expression(input: &mut &str) -> ModalResult<Expression> {
    alt((name, map, regex, text, number, word)).parse_next(input)
}

fn name(input: &mut &str) -> ModalResult<Expression> {
    let letters = take_while(0.., ('a'..='z', 'A'..='Z', '0'..='9', '_', ':'));
    let name = (one_of('A'..='Z'), letters).take();
    let inside = delimited('[', cut_err(several(expression)), cut_err(']'));
    (name, opt(inside))
        .map(|(name, inside): (&str, _)| Expression::Name(name.to_owned(), inside))
        .parse_next(input)
}

fn map(input: &mut &str) -> ModalResult<Expression> {
    let pair = separated_pair(spaced(expression), "=>", spaced(expression));
    delimited('{', cut_err(several(pair)), cut_err('}'))
        .map(Expression::Map)
        .parse_next(input)
}

/// With commas between them. One may stand behind the last.
fn several<'a, O>(
    item: impl ModalParser<&'a str, O, ContextError>,
) -> impl ModalParser<&'a str, Vec<O>, ContextError> {
    terminated(separated(1.., spaced(item), ','), (opt(','), multispace0))
}

fn spaced<'a, O>(
    item: impl ModalParser<&'a str, O, ContextError>,
) -> impl ModalParser<&'a str, O, ContextError> {
    delimited(multispace0, item, multispace0)
}

/// Only the slash needs a backslash that is not part of the expression.
fn regex(input: &mut &str) -> ModalResult<Expression> {
    let plain = none_of(['/', '\\']).take();
    let escaped = alt(("\\/".value("/"), ('\\', any).take()));
    let body = repeat(0.., alt((escaped, plain))).fold(String::new, append);
    delimited('/', body, cut_err('/'))
        .map(Expression::Regex)
        .parse_next(input)
}

fn text(input: &mut &str) -> ModalResult<Expression> {
    let single = quoted('\'', ['\'', '\\']);
    let double = quoted('"', ['"', '\\']);
    alt((single, double))
        .map(Expression::Text)
        .parse_next(input)
}

fn quoted<'a>(quote: char, special: [char; 2]) -> impl ModalParser<&'a str, String, ContextError> {
    let escaped = preceded('\\', one_of(special).take());
    let plain = none_of([quote]).take();
    let body = repeat(0.., alt((escaped, plain))).fold(String::new, append);
    delimited(quote, body, cut_err(quote))
}

fn append(mut text: String, piece: &str) -> String {
    text.push_str(piece);
    text
}

fn number(input: &mut &str) -> ModalResult<Expression> {
    let characters = take_while(1.., ('0'..='9', '-', '+', '.', 'e', 'E'));
    characters
        .verify_map(|text: &str| {
            let integer = text.parse().map(Expression::Integer);
            integer
                .or_else(|_| text.parse().map(Expression::Float))
                .ok()
        })
        .parse_next(input)
}

fn word(input: &mut &str) -> ModalResult<Expression> {
    take_while(1.., ('a'..='z', 'A'..='Z', '0'..='9', '_', '-'))
        .map(|text: &str| Expression::Word(text.to_owned()))
        .parse_next(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(text: &str) -> Vec<Expression> {
        let Ok(Expression::Name(_, Some(inside))) = parse(text) else {
            panic!("{text}: {:?}", parse(text))
        };
        inside
    }

    #[test]
    fn brackets_hold_types_words_texts_numbers_and_expressions() {
        let word = |text: &str| Expression::Word(text.to_owned());
        let text = |text: &str| Expression::Text(text.to_owned());
        assert_eq!(
            inside("Enum[clear, purge,]"),
            [word("clear"), word("purge")]
        );
        assert_eq!(inside(r#"Enum['a\'b',"c"]"#), [text("a'b"), text("c")]);
        assert_eq!(
            inside("Integer[-1, default]"),
            [Expression::Integer(-1), word("default")]
        );
        assert_eq!(inside("Float[ 0.5 ]"), [Expression::Float(0.5)]);
        let regex = Expression::Regex(r"\A[^/\\]+\z".to_owned());
        assert_eq!(inside(r"Pattern[/\A[^\/\\]+\z/]"), [regex]);
        let plain = Expression::Name("Stdlib::Port".to_owned(), None);
        assert_eq!(
            inside("Struct[{a => Stdlib::Port}]"),
            [Expression::Map(vec![(word("a"), plain)])]
        );
    }

    #[test]
    fn what_is_no_type_is_told_with_the_place() {
        let wrong = |text: &str| parse(text).unwrap_err();
        assert!(wrong("").contains("ends too early"));
        assert!(
            wrong("Array[String").contains("ends too early"),
            "{}",
            wrong("Array[String")
        );
        assert!(wrong("string").contains("goes wrong at `string`"));
        assert!(wrong("String[1] x").contains("goes wrong at `x`"));
        assert!(wrong("Array[String;]").contains("goes wrong at `;]`"));
    }
}
