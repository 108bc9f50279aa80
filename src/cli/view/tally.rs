//! Tallies: the nodes of which the same words are said, together, in the order in which the words first came.

use client::Target;

pub(crate) type Tally<'a, W> = Vec<(W, Vec<&'a Target>)>;

pub(crate) fn tally<'a, W: PartialEq>(
    said: impl IntoIterator<Item = (W, &'a Target)>,
) -> Tally<'a, W> {
    let mut tally: Tally<'a, W> = Vec::new();
    for (words, target) in said {
        match tally.iter_mut().find(|(known, _)| *known == words) {
            Some((_, targets)) => targets.push(target),
            None => tally.push((words, vec![target])),
        }
    }
    tally
}
