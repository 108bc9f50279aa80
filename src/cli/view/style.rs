//! How output of scripts is shown to people.

use super::OutputForm;
use super::colour::Colour;
use super::page::Pages;
use super::script_path::ScriptPath;
use protocol::Reply;
use task::TaskResult;

#[derive(Clone, Debug)]
pub(super) struct Style {
    pub(super) output: OutputForm,
    pub(super) colour: Colour,
    pub(super) program: ScriptLabel,
    /// `None` where output is shown as it came.
    pub(super) path: Option<ScriptPath>,
}

/// What runs, as far as people see it in its output.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScriptLabel {
    pub(crate) pages: Pages,
    /// What it is called in the errors of its shell, if it is no task.
    pub(crate) name: Option<String>,
}

impl ScriptLabel {
    pub(super) fn name<'a>(&'a self, task: Option<&'a str>) -> &'a str {
        task.or(self.name.as_deref()).unwrap_or("script")
    }
}

impl Style {
    /// Of a task, a page or what its result says.
    pub(super) fn stdout(&self, reply: &Reply, bytes: Vec<u8>) -> Vec<u8> {
        let text = reply.name.as_ref().zip(TaskResult::of(reply));
        let text = text.map(
            |(name, result)| match self.program.pages.page(name, &result) {
                Some(page) => page,
                None if self.output == OutputForm::ForATerminal => result.shortened().to_text(),
                None => result.to_text(),
            },
        );
        self.output.fit(text.map_or(bytes, String::into_bytes))
    }

    /// Without the message of a task's error, which stands in the heading, and without the paths of scripts.
    pub(super) fn stderr(&self, reply: &Reply, mut bytes: Vec<u8>) -> Vec<u8> {
        let result = TaskResult::of(reply);
        if let Some(message) = result.as_ref().and_then(TaskResult::message) {
            let before = bytes.trim_ascii_end().strip_suffix(message.as_bytes());
            let before = before.filter(|it| it.is_empty() || it.ends_with(b"\n"));
            if let Some(length) = before.map(<[u8]>::len) {
                bytes.truncate(length);
            }
        }
        if let Some(path) = &self.path {
            bytes = path.replace(self.program.name(reply.name.as_deref()), bytes);
        }
        self.output.fit(bytes)
    }
}

#[cfg(test)]
impl Style {
    /// As in a file.
    pub(super) fn plain() -> Self {
        Self {
            output: OutputForm::AsItCame,
            colour: Colour(false),
            program: ScriptLabel::default(),
            path: None,
        }
    }
}
