//! Bytes and text: bytes in JSON, which stay whole, and what editors put before text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Output as the wire carries it: always readable text, and besides, where that lost something,
/// the bytes themselves in base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    pub text: String,
    pub base64: Option<String>,
}

impl Text {
    pub fn of(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self { text, base64: None },
            Err(error) => Self {
                text: String::from_utf8_lossy(error.as_bytes()).into_owned(),
                base64: Some(STANDARD.encode(error.as_bytes())),
            },
        }
    }

    /// A stream of which the middle is missing: a mark in the text says how much. The bytes have none.
    pub fn of_ends(mut head: Vec<u8>, tail: &[u8], left_out: u64) -> Self {
        let mut text = String::from_utf8_lossy(&head).into_owned();
        text.push_str(&mark(left_out));
        text.push_str(&String::from_utf8_lossy(tail));
        let is_text = str::from_utf8(&head).is_ok() && str::from_utf8(tail).is_ok();
        let base64 = (!is_text).then(|| {
            head.extend_from_slice(tail);
            STANDARD.encode(&head)
        });
        Self { text, base64 }
    }

    /// Whether such a mark is in it.
    pub fn is_marked(text: &str) -> bool {
        text.contains(MARK)
    }

    /// How many bytes of a stream are not in its text, the mark aside.
    pub fn left_out(text: &str, base64: Option<&str>, produced: u64) -> u64 {
        let kept = Self::bytes(text, base64).len() as u64;
        let marked = text.split_once(MARK).and_then(|(before, _)| {
            let (_, number) = before.rsplit_once('[')?;
            number.parse::<u64>().ok()
        });
        let mark = |lost| {
            if base64.is_some() {
                0
            } else {
                mark(lost).len() as u64
            }
        };
        match marked {
            // A script may print the like.
            Some(lost) if kept.checked_add(lost) == produced.checked_add(mark(lost)) => lost,
            _ => produced.saturating_sub(kept),
        }
    }

    /// The bytes that were meant. A broken base64 leaves what the text says.
    pub fn bytes(text: &str, base64: Option<&str>) -> Vec<u8> {
        base64
            .and_then(|coded| STANDARD.decode(coded).ok())
            .unwrap_or_else(|| text.as_bytes().to_vec())
    }
}

/// Text without the byte order mark that some editors begin a file with: it hides the interpreter's line from the kernel,
/// and is no JSON.
pub fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// Two digits for each byte.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const MARK: &str = " bytes are left out here]\n";

/// A line of its own, also where lines are cut.
fn mark(left_out: u64) -> String {
    format!("\n[{left_out}{MARK}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_survive_beside_a_readable_version() {
        let bytes = b"caf\xe9 \xff\x00".to_vec();
        let text = Text::of(bytes.clone());
        assert_eq!(text.text, "caf\u{fffd} \u{fffd}\0");
        assert_eq!(Text::bytes(&text.text, text.base64.as_deref()), bytes);
        assert_eq!(Text::of(b"plain".to_vec()).base64, None);
    }

    #[test]
    fn what_is_left_out_is_counted_without_the_mark_and_not_believed_of_a_script() {
        let left_out =
            |text: &Text, produced| Text::left_out(&text.text, text.base64.as_deref(), produced);
        let plain = Text::of_ends(b"abc".to_vec(), b"xyz", 100);
        let binary = Text::of_ends(b"\xff".to_vec(), b"xyz", 100);
        assert_eq!((left_out(&plain, 106), left_out(&binary, 104)), (100, 100));
        let printed = Text::of(plain.text.clone().into_bytes());
        assert_eq!(left_out(&printed, printed.text.len() as u64), 0);
        assert_eq!(left_out(&Text::of(b"ab".to_vec()), 5), 3);
    }

    #[test]
    fn a_missing_middle_is_marked_in_the_text_and_not_in_the_bytes() {
        let text = Text::of_ends(b"head".to_vec(), b"tail", 12);
        assert_eq!(text.text, "head\n[12 bytes are left out here]\ntail");
        assert_eq!(text.base64, None);
        let binary = Text::of_ends(b"h\xff".to_vec(), b"t", 12);
        assert!(binary.text.contains("\n[12 bytes"));
        assert_eq!(
            Text::bytes(&binary.text, binary.base64.as_deref()),
            b"h\xfft"
        );
    }
}
