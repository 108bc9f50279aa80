//! How output of scripts is shown to people.

use super::Output;
use super::colour::Colour;

#[derive(Clone, Debug)]
pub(super) struct Style {
    pub(super) output: Output,
    pub(super) colour: Colour,
}

#[cfg(test)]
impl Style {
    /// As in a file.
    pub(super) fn plain() -> Self {
        Self {
            output: Output::AsItCame,
            colour: Colour(false),
        }
    }
}
