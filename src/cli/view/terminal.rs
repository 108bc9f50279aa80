//! Output of scripts on a terminal: as it came but for what a terminal would obey. Colours stay, and end with their
//! text. What goes to a file or a pipe is never touched.

use client::is_visible;

/// How output of scripts is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputForm {
    AsItCame,
    ForATerminal,
}

impl OutputForm {
    pub(super) fn fit(self, bytes: Vec<u8>) -> Vec<u8> {
        match self {
            Self::AsItCame => bytes,
            Self::ForATerminal if bytes.iter().all(|&b| is_plain(b)) => bytes,
            Self::ForATerminal => escaped(&bytes),
        }
    }
}

const RESET: &[u8] = b"\x1b[0m";

/// Printable ASCII, and what parts lines and columns.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\n' | b'\t')
}

fn escaped(bytes: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(bytes.len());
    let mut is_coloured = false;
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(c) = rest.chars().next() {
            let colour = colour(rest);
            let (piece, after) = rest.split_at(colour.max(c.len_utf8()));
            is_coloured |= colour > 0;
            // A line of Windows ends like others.
            let is_line_end = c == '\r' && after.starts_with('\n');
            if colour > 0 || is_visible(c) || matches!(c, '\n' | '\t') {
                shown.extend_from_slice(piece.as_bytes());
            } else if !is_line_end {
                shown.extend(c.escape_default().to_string().bytes());
            }
            rest = after;
        }
        for byte in chunk.invalid() {
            shown.extend(format!("\\x{byte:02x}").bytes());
        }
    }
    if is_coloured {
        let at = shown.len() - usize::from(shown.ends_with(b"\n"));
        shown.splice(at..at, RESET.iter().copied());
    }
    shown
}

/// The length of the colour (SGR) that the text begins with; 0 if it does not.
fn colour(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\x1b[") else {
        return 0;
    };
    let is_parameter = |c: char| c.is_ascii_digit() || matches!(c, ';' | ':');
    match parameters.find(|c| !is_parameter(c)) {
        Some(end) if parameters.get(end..).is_some_and(|it| it.starts_with('m')) => end + 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> String {
        String::from_utf8(OutputForm::ForATerminal.fit(bytes.to_vec())).unwrap()
    }

    #[test]
    fn a_script_does_not_steer_the_terminal() {
        assert_eq!(shown(b"a\tb\nc\r\n"), "a\tb\nc\n");
        assert_eq!(shown(b"\x1b]0;owned\x07x"), "\\u{1b}]0;owned\\u{7}x");
        assert_eq!(shown(b"50 %\r60 %\x1b[2J"), "50 %\\r60 %\\u{1b}[2J");
        assert_eq!(shown("ü\u{202e}\u{9b}2J".as_bytes()), "ü\\u{202e}\\u{9b}2J");
        assert_eq!(shown(b"caf\xe9\x9b2J"), "caf\\xe9\\x9b2J");
    }

    #[test]
    fn colours_stay_and_end_with_their_text() {
        let red = "\x1b[1;31mred\n";
        assert_eq!(shown(red.as_bytes()), "\x1b[1;31mred\x1b[0m\n");
        assert_eq!(shown(b"\x1b[31"), "\\u{1b}[31");
        assert_eq!(shown(b"\x1b[31K"), "\\u{1b}[31K");
    }

    #[test]
    fn what_goes_elsewhere_is_not_touched() {
        let bytes = b"\x1b[2J\xff".to_vec();
        assert_eq!(OutputForm::AsItCame.fit(bytes.clone()), bytes);
    }
}
