//! Names that look like one that was mistyped.

use std::fmt::Write;

use strsim::damerau_levenshtein;

/// How many are told.
const MAX_NEAR: usize = 3;

/// Those of `names` that differ from `word` in a third of its letters at most, the nearest first.
pub fn near<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let word = word.to_lowercase();
    let most = word.chars().count().div_ceil(3);
    let steps = names
        .into_iter()
        .map(|name| (damerau_levenshtein(&word, &name.to_lowercase()), name));
    let mut near: Vec<(usize, &str)> = steps.filter(|(steps, _)| *steps <= most).collect();
    near.sort();
    near.dedup();
    let names = near.into_iter().map(|(_, name)| name.to_owned());
    names.take(MAX_NEAR).collect()
}

/// `: did you mean a or b?` for the end of an error; empty where no name is near.
pub fn did_you_mean(near: &[String]) -> String {
    let mut text = String::new();
    for (i, name) in near.iter().enumerate() {
        let word = if i == 0 { ": did you mean" } else { " or" };
        write!(text, "{word} {name}").expect("a string takes all");
    }
    text + if near.is_empty() { "" } else { "?" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_come_first_and_what_is_too_far_does_not() {
        let names = ["power::off", "disk::erases", "disk::erase"];
        let near = near("disk::ersae", names);
        assert_eq!(near, ["disk::erase", "disk::erases"]);
        assert_eq!(
            did_you_mean(&near),
            ": did you mean disk::erase or disk::erases?"
        );
        assert_eq!(did_you_mean(&super::near("zzzz", names)), "");
    }
}
