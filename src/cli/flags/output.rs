//! `-j`, `-J`, `-N`, `-I`, `--stream`, `--diff`, `--no-fold`: what is printed on stdout.

use clap::Args;

use crate::view::json::Form;
use crate::view::{Folding, View};

pub(crate) const OUTPUT: &str = "Output";

/// Of a run.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct ViewArgs {
    /// Print one JSON array
    #[arg(short, long, help_heading = OUTPUT)]
    json: bool,
    /// Print a line of JSON as each node ends
    #[arg(short = 'J', long, help_heading = OUTPUT)]
    json_lines: bool,
    /// Print each node's last line that is not blank
    #[arg(short = 'N', long, help_heading = OUTPUT)]
    last_line: bool,
    /// Print each node's output as it ends
    #[arg(short = 'I', long, help_heading = OUTPUT)]
    immediate: bool,
    /// Print output as it is written, by line
    #[arg(long, help_heading = OUTPUT)]
    stream: bool,
    /// Print what differs from the largest group
    #[arg(long, help_heading = OUTPUT)]
    diff: bool,
    /// Do not group nodes that agree
    #[arg(long, help_heading = OUTPUT)]
    no_fold: bool,
}

/// Of what has but one line for each node.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct JsonArgs {
    /// Print one JSON array
    #[arg(short, long, help_heading = OUTPUT)]
    json: bool,
    /// Print a line of JSON for each node
    #[arg(short = 'J', long, help_heading = OUTPUT)]
    json_lines: bool,
}

impl ViewArgs {
    pub(crate) fn view(&self) -> View {
        let views = [
            (self.json, View::Array),
            (self.json_lines, View::Lines),
            (self.last_line, View::LastLine),
            (self.immediate, View::Immediate),
            (self.stream, View::Stream),
            (self.diff, View::Groups(Folding::Diff)),
            (self.no_fold, View::Groups(Folding::No)),
        ];
        let wanted = views.into_iter().find(|(wanted, _)| *wanted);
        wanted.map_or(View::Groups(Folding::Fold), |(_, view)| view)
    }
}

impl JsonArgs {
    /// `None` for text.
    pub(crate) fn form(&self) -> Option<Form> {
        Form::of(self.json, self.json_lines)
    }
}
