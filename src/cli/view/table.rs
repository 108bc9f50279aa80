//! Tables: columns of text, two blanks apart, numbers to the right. The rows are made twice, once to
//! measure them, so that a table of ten thousand nodes is never in memory.

use std::io::{self, Write};

use client::Plain;

pub(crate) struct Table<const N: usize> {
    pub(crate) header: Option<[&'static str; N]>,
    /// The columns that hold numbers.
    pub(crate) numbers: &'static [usize],
}

impl<const N: usize> Table<N> {
    pub(crate) fn write(
        &self,
        rows: impl Iterator<Item = [String; N]> + Clone,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let rows = rows.map(|row| row.map(|cell| String::from(Plain::of(&cell))));
        let mut widths = self.header.map_or([0; N], |header| header.map(str::len));
        for row in rows.clone() {
            for (width, cell) in widths.iter_mut().zip(&row) {
                *width = cell.chars().count().max(*width);
            }
        }
        if let Some(header) = self.header {
            write_row(&header, &widths, &[], out)?;
        }
        for row in rows {
            let cells = row.each_ref().map(String::as_str);
            write_row(&cells, &widths, self.numbers, out)?;
        }
        Ok(())
    }
}

fn write_row(
    cells: &[&str],
    widths: &[usize],
    numbers: &[usize],
    out: &mut dyn Write,
) -> io::Result<()> {
    let cells = cells.iter().zip(widths).enumerate();
    let line: Vec<String> = cells
        .map(|(i, (cell, &width))| {
            if numbers.contains(&i) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:width$}")
            }
        })
        .collect();
    writeln!(out, "{}", line.join("  ").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_without_blanks() {
        let rows = [["ü", "7"], ["long\x1b\n", "1024"], ["x", "-"]];
        let rows = rows.iter().map(|row| row.map(str::to_owned));
        let table = Table {
            header: Some(["NAME", "MIB"]),
            numbers: &[1],
        };
        let mut out = Vec::new();
        table.write(rows, &mut out).unwrap();
        let expected = "\
NAME          MIB
ü                7
long\\u{1b}\\n  1024
x                -
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
