//! Rows: `HOSTNAME  line` for each node, in the order of the names. Bytes go out as they came.

use std::io::{self, Write};

use client::by_name;

pub(super) fn write_rows(mut rows: Vec<(&str, &[u8])>, out: &mut dyn Write) -> io::Result<()> {
    rows.sort_by(|(a, _), (b, _)| by_name(a, b));
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, line) in rows {
        if line.is_empty() {
            writeln!(out, "{name}")?;
            continue;
        }
        write!(out, "{name:width$}  ")?;
        write_text(line, out)?;
    }
    Ok(())
}

/// The bytes, and a line end if they have none.
pub(super) fn write_text(text: &[u8], out: &mut dyn Write) -> io::Result<()> {
    out.write_all(text)?;
    if text.is_empty() || text.ends_with(b"\n") {
        return Ok(());
    }
    out.write_all(b"\n")
}
