//! The difference of an output from what most nodes printed (`--diff`): lines with - and +, a few lines around each.

use std::io::{self, Write};
use std::ops::Range;
use std::time::{Duration, Instant};

use similar::{Algorithm, DiffTag, capture_diff_slices_deadline, group_diff_ops};

use super::colour::Colour;

/// Lines that are the same, before and after those that differ.
const CONTEXT: usize = 3;
/// The search for the shortest difference; what is found by then is shown.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) fn write_diff(
    most: &[u8],
    other: &[u8],
    colour: Colour,
    out: &mut dyn Write,
) -> io::Result<()> {
    let lines = |text| <[u8]>::split_inclusive(text, |&byte| byte == b'\n').collect();
    let (most, other): (Vec<&[u8]>, Vec<&[u8]>) = (lines(most), lines(other));
    let deadline = Some(Instant::now() + PATIENCE);
    let steps = capture_diff_slices_deadline(Algorithm::Myers, &most, &other, deadline);
    for hunk in group_diff_ops(steps, CONTEXT) {
        if let Some(first) = hunk.first().filter(|first| first.old_range().start > 0) {
            writeln!(out, "@@ line {} @@", first.old_range().start + 1)?;
        }
        for step in hunk {
            let (tag, old, new) = step.as_tag_tuple();
            if tag == DiffTag::Equal {
                write_lines(" ", &most, old, out)?;
                continue;
            }
            write_lines(&colour.red("-"), &most, old, out)?;
            write_lines(&colour.green("+"), &other, new, out)?;
        }
    }
    Ok(())
}

fn write_lines(
    sign: &str,
    lines: &[&[u8]],
    range: Range<usize>,
    out: &mut dyn Write,
) -> io::Result<()> {
    for line in lines.get(range).unwrap_or_default() {
        out.write_all(sign.as_bytes())?;
        out.write_all(line)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(most: &str, other: &str) -> String {
        let mut out = Vec::new();
        write_diff(most.as_bytes(), other.as_bytes(), Colour(false), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_that_differ_are_shown_with_those_around_them() {
        assert_eq!(diff("a\nb\n", "a\nc\n"), " a\n-b\n+c\n");
        assert_eq!(diff("a\n", ""), "-a\n");
        assert_eq!(diff("a\n", "a\n"), "");
        let most = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let expected = "@@ line 5 @@\n 5\n 6\n 7\n-8\n+x\n 9\n";
        assert_eq!(diff(most, &most.replace('8', "x")), expected);
    }
}
