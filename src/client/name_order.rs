//! The order of names: as a person counts, node2 before node10.

use std::cmp::Ordering;

use alphanumeric_sort::compare_str;

/// Names that differ only in zeros (n1, n01) have an order too.
pub fn by_name(one: &str, other: &str) -> Ordering {
    compare_str(one, other).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_counted() {
        let mut names = ["node10", "rack2-n1", "node2", "n01", "rack10-n1", "n1"];
        names.sort_by(|a, b| by_name(a, b));
        let expected = ["n1", "n01", "node2", "node10", "rack2-n1", "rack10-n1"];
        assert_eq!(names, expected);
    }
}
