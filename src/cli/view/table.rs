//! Tables: columns of text, two blanks apart, numbers to the right. The rows are made twice, once to
//! measure them, so that a table of ten thousand nodes is never in memory. On a terminal a table is no wider than that:
//! columns that can be spared are left out, then the last one goes on in the next line.

use std::borrow::Cow;
use std::io::{self, Write};

use client::Plain;

/// Characters that a column keeps that is cut.
const MIN_CUT: usize = 12;
/// What the last column needs to be worth a second line.
const MIN_WRAPPED: usize = 20;

#[derive(Default)]
pub(crate) struct Table<'a> {
    pub(crate) header: Option<&'a [&'a str]>,
    /// The columns that hold numbers.
    pub(crate) numbers: &'a [usize],
    /// Of the terminal; as wide as it gets elsewhere.
    pub(crate) width: Option<usize>,
    /// The columns that are cut where there is no room, the first of them first.
    pub(crate) cut: &'a [usize],
    /// The columns that can be spared if that is not enough, the first of them first.
    pub(crate) spare: &'a [usize],
}

impl Table<'_> {
    /// Says which columns were left out.
    pub(crate) fn write<R: AsRef<[String]>>(
        &self,
        rows: impl Iterator<Item = R> + Clone,
        out: &mut dyn Write,
    ) -> io::Result<Vec<usize>> {
        let rows = rows.map(|row| {
            let cells = row.as_ref().iter();
            let cells = cells.map(|cell| String::from(Plain::of(cell)));
            cells.collect::<Vec<String>>()
        });
        let mut widths: Vec<usize> = self
            .header
            .unwrap_or_default()
            .iter()
            .map(|name| name.len())
            .collect();
        for row in rows.clone() {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(&row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let (layout, left_out) = self.layout(&widths);
        if let Some(header) = self.header {
            layout.write(header, &[], out)?;
        }
        for row in rows {
            let cells: Vec<&str> = row.iter().map(String::as_str).collect();
            layout.write(&cells, self.numbers, out)?;
        }
        Ok(left_out)
    }

    /// What fits the terminal.
    fn layout(&self, widths: &[usize]) -> (Layout, Vec<usize>) {
        let mut layout = Layout {
            columns: widths.iter().copied().enumerate().collect(),
        };
        let mut left_out = Vec::new();
        let Some(room) = self.width else {
            return (layout, left_out);
        };
        for &column in self.spare {
            if layout.least_width() <= room + layout.cuttable(self.cut) {
                break;
            }
            layout.columns.retain(|(i, _)| *i != column);
            left_out.push(column);
        }
        for column in self.cut {
            let excess = layout.least_width().saturating_sub(room);
            if let Some((_, width)) = layout.columns.iter_mut().find(|(i, _)| i == column) {
                *width -= excess.min(width.saturating_sub(MIN_CUT));
            }
        }
        let excess = layout.width().saturating_sub(room);
        if let Some((_, last)) = layout.columns.last_mut() {
            let least = MIN_WRAPPED.min(*last);
            *last = last.saturating_sub(excess).max(least);
        }
        (layout, left_out)
    }
}

/// The columns that are shown, each with its width.
struct Layout {
    columns: Vec<(usize, usize)>,
}

impl Layout {
    fn width(&self) -> usize {
        let widths = self.columns.iter().map(|(_, width)| width + 2);
        widths.sum::<usize>().saturating_sub(2)
    }

    /// With the last column in several lines.
    fn least_width(&self) -> usize {
        let last = self.columns.last().map_or(0, |(_, width)| *width);
        self.width() - last.saturating_sub(MIN_WRAPPED)
    }

    /// Characters that the columns can do without that may be cut.
    fn cuttable(&self, cut: &[usize]) -> usize {
        let columns = self.columns.iter().filter(|(i, _)| cut.contains(i));
        columns
            .map(|(_, width)| width.saturating_sub(MIN_CUT))
            .sum()
    }

    fn write(&self, cells: &[&str], numbers: &[usize], out: &mut dyn Write) -> io::Result<()> {
        let cell = |column: usize| cells.get(column).copied().unwrap_or_default();
        let Some((&(last, room), before)) = self.columns.split_last() else {
            return Ok(());
        };
        let mut line = String::new();
        for &(column, width) in before {
            let cell = cut_to(cell(column), width);
            line += &padded(&cell, width, numbers.contains(&column));
            line += "  ";
        }
        let indent = line.chars().count();
        for (i, piece) in wrapped(cell(last), room).iter().enumerate() {
            if i > 0 {
                line = " ".repeat(indent);
            }
            line += &padded(piece, room, numbers.contains(&last));
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn padded(cell: &str, width: usize, is_number: bool) -> String {
    match is_number {
        true => format!("{cell:>width$}"),
        false => format!("{cell:width$}"),
    }
}

fn cut_to(cell: &str, width: usize) -> Cow<'_, str> {
    match cell.char_indices().nth(width) {
        None => cell.into(),
        Some(_) => (cell.chars().take(width - 1).collect::<String>() + "…").into(),
    }
}

/// Lines of at most so many characters, parted between words where there are some.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in text.split_inclusive(' ') {
        let count = word.trim_end().chars().count();
        if length > 0 && length + count > room {
            lines.push(String::new());
            length = 0;
        }
        for c in word.chars() {
            if length >= room && c != ' ' {
                lines.push(String::new());
                length = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.push(c);
            }
            length += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [[&str; 2]; 3] = [["ü", "7"], ["long\x1b\n", "1024"], ["x", "-"]];

    fn written(table: &Table<'_>, rows: &[[&str; 2]]) -> (String, Vec<usize>) {
        let rows = rows.iter().map(|row| row.map(str::to_owned));
        let mut out = Vec::new();
        let left_out = table.write(rows, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), left_out)
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_without_blanks() {
        let table = Table {
            header: Some(&["NAME", "MIB"]),
            numbers: &[1],
            ..Table::default()
        };
        let expected = "\
NAME          MIB
ü                7
long\\u{1b}\\n  1024
x                -
";
        assert_eq!(written(&table, &ROWS), (expected.to_owned(), vec![]));
    }

    #[test]
    fn a_terminal_that_is_too_narrow_does_without_what_can_be_spared() {
        let table = |width| Table {
            width: Some(width),
            spare: &[1, 0],
            ..Table::default()
        };
        assert_eq!(written(&table(18), &ROWS).1, [0; 0]);
        let expected = "ü\nlong\\u{1b}\\n\nx\n".to_owned();
        assert_eq!(written(&table(17), &ROWS), (expected, vec![1]));
    }

    #[test]
    fn columns_are_cut_before_others_are_left_out() {
        let table = |width| Table {
            width: Some(width),
            spare: &[1],
            cut: &[0],
            ..Table::default()
        };
        let rows = [["0123456789abcdef", "7"]];
        assert_eq!(written(&table(19), &rows).0, "0123456789abcdef  7\n");
        assert_eq!(written(&table(16), &rows).0, "0123456789ab…  7\n");
        assert_eq!(written(&table(14), &rows).1, [1]);
    }

    #[test]
    fn the_last_column_goes_on_in_the_next_line() {
        let table = Table {
            header: Some(&["NAME", "DESCRIPTION"]),
            width: Some(30),
            ..Table::default()
        };
        let rows = [
            ["erase", "Erases disks, so that nobody reads them"],
            ["x", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],
        ];
        let expected = "\
NAME   DESCRIPTION
erase  Erases disks, so that
       nobody reads them
x      aaaaaaaaaaaaaaaaaaaaaaa
       aaaaaaaaa
";
        assert_eq!(written(&table, &rows).0, expected);
    }
}
