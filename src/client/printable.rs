//! Texts of nodes, made fit to be shown: a host name, an error, a version. A node says what it likes; what it
//! says must not draw on the terminal of the operator, nor a line that looks like another node's.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// Characters of a text, and of a name: Linux takes host names of 64 bytes.
const MAX_TEXT: usize = 1000;
const MAX_NAME: usize = 64;

/// One line without anything that a terminal obeys. There is no other way to one than through its
/// constructors, so what has this type can be printed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Plain(String);

impl Plain {
    /// Escapes what is no visible character, and cuts what is longer than an error can be.
    pub fn of(text: &str) -> Self {
        Self(escaped(text, MAX_TEXT))
    }

    /// The same for what stands in a table or a heading.
    pub fn name(text: &str) -> Self {
        Self(escaped(text, MAX_NAME))
    }

    /// A host name: besides, the signs are escaped that part names in a node set.
    pub fn hostname(text: &str) -> Self {
        let mut plain = String::new();
        for c in escaped(text, MAX_NAME).chars() {
            match c {
                c if c.is_whitespace() || "[](),!&*?@".contains(c) => {
                    plain.extend(c.escape_unicode());
                }
                c => plain.push(c),
            }
        }
        Self(plain)
    }

    /// A text of several lines, each of them plain.
    pub fn lines(text: &str) -> String {
        let lines: Vec<String> = text.lines().map(|line| escaped(line, usize::MAX)).collect();
        lines.join("\n")
    }
}

fn escaped(text: &str, max: usize) -> String {
    let mut plain = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == max {
            plain.push('…');
            break;
        }
        if is_visible(c) {
            plain.push(c);
        } else {
            plain.extend(c.escape_default());
        }
    }
    plain
}

/// Not so: control characters of both sets, what turns the direction of writing, what takes no room (and makes
/// two names look alike), other ends of lines.
pub fn is_visible(c: char) -> bool {
    !(c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'))
}

impl Deref for Plain {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Plain {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<String> for Plain {
    fn from(text: String) -> Self {
        Self::of(&text)
    }
}

impl From<Plain> for String {
    fn from(text: Plain) -> Self {
        text.0
    }
}

impl PartialEq<str> for Plain {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left_in_a_text_of_a_node() {
        let text = "a\x1b]0;owned\x07\n\r\tb\u{9b}2J\u{7f}\u{202e}\u{200b}\u{2028}c";
        let expected =
            "a\\u{1b}]0;owned\\u{7}\\n\\r\\tb\\u{9b}2J\\u{7f}\\u{202e}\\u{200b}\\u{2028}c";
        assert_eq!(&*Plain::of(text), expected);
        assert_eq!(&*Plain::of("knoten-ü2 日本"), "knoten-ü2 日本");
        let read: Plain = serde_json::from_str(r#""a\u001b""#).unwrap();
        assert_eq!(&*read, "a\\u{1b}");
        assert_eq!(Plain::lines("a\x1b\nb"), "a\\u{1b}\nb");
    }

    #[test]
    fn a_host_name_cannot_be_taken_for_a_node_set() {
        let name = Plain::hostname("@n[1-2],a b*(u1)");
        assert_eq!(
            &*name,
            "\\u{40}n\\u{5b}1-2\\u{5d}\\u{2c}a\\u{20}b\\u{2a}\\u{28}u1\\u{29}"
        );
        assert_eq!(&*Plain::hostname("knoten-ü2.dc1"), "knoten-ü2.dc1");
    }

    #[test]
    fn a_text_that_is_too_long_is_cut() {
        assert_eq!(Plain::of(&"ü".repeat(5000)).chars().count(), 1001);
        assert_eq!(&*Plain::name(&"ü".repeat(64)), "ü".repeat(64));
        assert!(Plain::name(&"x".repeat(65)).ends_with('…'));
    }
}
