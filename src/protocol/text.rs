//! Bytes in JSON: as text where they are text, and whole in any case.

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

    /// The bytes that were meant. A broken base64 leaves what the text says.
    pub fn bytes(text: &str, base64: Option<&str>) -> Vec<u8> {
        base64
            .and_then(|coded| STANDARD.decode(coded).ok())
            .unwrap_or_else(|| text.as_bytes().to_vec())
    }
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
}
