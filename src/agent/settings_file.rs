//! Files of settings that people write: lines `NAME=value`.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};

use protocol::without_byte_order_mark;

/// Reads lines `NAME=value`. A value is all that follows, to the letter, without the blanks around it; one in quotes
/// keeps its blanks. Between double quotes `\"` and `\\` stand for the second character. Nothing is expanded. A comment
/// has a line of its own.
///
/// The error names the line and does not repeat it: it may hold a password.
pub(super) fn settings(text: &[u8]) -> Result<HashMap<String, String>> {
    let mut settings = HashMap::new();
    for (line, number) in without_byte_order_mark(text)
        .split(|byte| *byte == b'\n')
        .zip(1..)
    {
        let of_line = || format!("line {number}");
        let line = str::from_utf8(line).ok().context("is not UTF-8");
        let line = line.with_context(of_line)?.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            bail!("line {number} is not NAME=value");
        };
        let value = unquoted(value.trim()).with_context(of_line)?;
        settings.insert(name.trim().to_owned(), value);
    }
    Ok(settings)
}

fn unquoted(value: &str) -> Result<String> {
    let mut rest = value.chars();
    let quote = match rest.next() {
        Some(quote @ ('"' | '\'')) => quote,
        _ => return Ok(value.to_owned()),
    };
    let mut text = String::new();
    loop {
        match rest.next() {
            None => bail!("a quote is not closed"),
            Some(end) if end == quote => break,
            Some('\\') if quote == '"' => match rest.clone().next() {
                Some(next @ ('"' | '\\')) => {
                    text.push(next);
                    rest.next();
                }
                _ => text.push('\\'),
            },
            Some(other) => text.push(other),
        }
    }
    if !rest.as_str().is_empty() {
        bail!("something follows the closing quote");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<String> {
        let mut settings = settings(format!("A={text}\n").as_bytes())?;
        Ok(settings.remove("A").unwrap())
    }

    #[test]
    fn a_value_means_what_it_says() {
        for (text, expected) in [
            ("pa$word1", "pa$word1"),
            ("pa${x}`y` #z", "pa${x}`y` #z"),
            (r"back\slash\", r"back\slash\"),
            (" two words \r", "two words"),
            ("it's \"so\"", "it's \"so\""),
            ("\" blank \"", " blank "),
            (r#""a\"b\\c\d$e""#, r#"a"b\c\d$e"#),
            (r"'a\b$c'", r"a\b$c"),
            ("a=b==", "a=b=="),
            ("", ""),
            ("''", ""),
        ] {
            assert_eq!(value(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn blank_lines_comments_a_byte_order_mark_and_export_are_no_part_of_it() {
        let text = "\u{feff}A=1\n\n# B=2\nexport C = 3\r\n";
        let settings = settings(text.as_bytes()).unwrap();
        let mut found: Vec<_> = settings
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        found.sort_unstable();
        assert_eq!(found, [("A", "1"), ("C", "3")]);
    }

    #[test]
    fn an_error_names_the_line_and_does_not_repeat_it() {
        for (text, expected) in [
            ("A=1\nsecret", "line 2 is not NAME=value"),
            ("A='secret", "line 1: a quote is not closed"),
            (
                "A=\"secret\"secret",
                "line 1: something follows the closing quote",
            ),
        ] {
            assert_eq!(
                format!("{:#}", settings(text.as_bytes()).unwrap_err()),
                expected
            );
        }
        assert!(settings(b"A=\xff").is_err());
    }
}
