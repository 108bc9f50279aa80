//! Last lines (`-N`): of every node's output.

use std::io::{self, Write};

use super::Style;
use super::group_key::GroupKey;
use super::rows::write_rows;
use client::NodeResult;

/// `HOSTNAME  last line that is not blank` of every node that has ended.
pub(super) struct LastLines {
    rows: Vec<(String, Vec<u8>)>,
    style: Style,
}

impl LastLines {
    pub(super) fn new(style: Style) -> Self {
        let rows = Vec::new();
        Self { rows, style }
    }

    pub(super) fn add(&mut self, result: &NodeResult) {
        let key = GroupKey::of(result, &self.style);
        let mut line = last_line(&key.stdout);
        let mut row = Vec::new();
        if key.failed {
            let remark = self.style.colour.red(&format!("[{}]", key.remark));
            row = (remark + " ").into_bytes();
            if line.is_empty() {
                line = last_line(&key.stderr);
            }
        }
        row.extend_from_slice(line);
        self.rows.push((result.target.name(), row));
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = self.rows.iter();
        let rows = rows.map(|(name, line)| (name.as_str(), line.as_slice()));
        write_rows(rows.collect(), out)
    }
}

fn last_line(text: &[u8]) -> &[u8] {
    let mut lines = text.rsplit(|&byte| byte == b'\n');
    lines
        .find(|line| !line.trim_ascii().is_empty())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{exit, ok};
    use super::*;

    #[test]
    fn the_last_line_is_the_last_that_is_not_blank() {
        let mut lines = LastLines::new(Style::plain());
        lines.add(&ok("n2", "a\nb\n \n\n"));
        lines.add(&exit("n1", 3, "why\n"));
        let mut out = Vec::new();
        lines.write(&mut out).unwrap();
        assert_eq!(out, b"n1  [exit 3] why\nn2  b\n");
    }
}
