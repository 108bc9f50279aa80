//! The path of a script on its node. A shell begins each of its errors with it; what matters there is the line.

use protocol::RequestId;

/// What is said instead of the path.
#[derive(Clone, Debug)]
pub(super) struct ScriptPath {
    /// The end of it: `/REQUEST/script:`.
    end: String,
}

impl ScriptPath {
    pub(super) fn of(request: &RequestId) -> Self {
        Self {
            end: format!("/{request}/script:"),
        }
    }

    /// `/run/ur/work/REQUEST/script: line 3: …` becomes `NAME: line 3: …`.
    pub(super) fn replace(&self, name: &str, text: Vec<u8>) -> Vec<u8> {
        let end = self.end.as_bytes();
        if !text.windows(end.len()).any(|part| part == end) {
            return text;
        }
        let lines = text.split_inclusive(|&byte| byte == b'\n');
        let lines = lines.flat_map(|line| {
            let path = line.split(|&byte| byte == b' ').next().unwrap_or_default();
            match line.strip_prefix(path) {
                Some(rest) if path.starts_with(b"/") && path.ends_with(end) => {
                    [name.as_bytes(), b":", rest]
                }
                _ => [line, b"", b""],
            }
        });
        lines.flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_before_an_error_of_a_shell_becomes_a_name() {
        let path = ScriptPath::of(&RequestId::parse("r1").unwrap());
        let shown = |text: &str| {
            String::from_utf8(path.replace("disk::erase", text.as_bytes().to_vec())).unwrap()
        };
        let text =
            "a\n/run/ur/work/r1/script: line 3: x: not found\n/run/ur/work/r1/script: 4: y\n";
        let expected = "a\ndisk::erase: line 3: x: not found\ndisk::erase: 4: y\n";
        assert_eq!(shown(text), expected);
        for other in [
            "/run/ur/work/r2/script: x\n",
            "see /run/ur/work/r1/script: x",
            "",
        ] {
            assert_eq!(shown(other), other);
        }
    }
}
