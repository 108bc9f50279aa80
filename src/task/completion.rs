//! What may be typed for the parameters of a task, for the completion of a shell.

use super::Task;

impl Task {
    /// `NAME=` of every parameter with its description, or, if there is a `=` in what was typed, `NAME=VALUE` for the
    /// values that its type names.
    pub fn parameters_like(&self, typed: &str) -> Vec<(String, String)> {
        let parameters = self.metadata.parameters.iter().flatten();
        let Some((name, _)) = typed.split_once('=') else {
            let names = parameters.map(|(name, it)| (format!("{name}="), it.description.clone()));
            return names.collect();
        };
        let values = parameters.filter(|(known, _)| *known == name);
        let values = values.flat_map(|(_, parameter)| parameter.kind.choices());
        values
            .map(|value| (format!("{name}={value}"), String::new()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::task;
    use serde_json::json;

    #[test]
    fn names_come_first_and_then_the_values_that_a_type_names() {
        let task = task(&json!({"parameters": {
            "level": {"type": "Optional[Enum[purge, clear]]", "description": "How."},
            "force": {"type": "Variant[Boolean, Enum[auto]]"},
            "size": {"type": "Integer"},
        }}));
        let like = |typed: &str| {
            let words = task
                .parameters_like(typed)
                .into_iter()
                .map(|(word, _)| word);
            words.collect::<Vec<_>>()
        };
        assert_eq!(like("le"), ["force=", "level=", "size="]);
        assert_eq!(task.parameters_like("")[1].1, "How.");
        assert_eq!(like("level="), ["level=purge", "level=clear"]);
        assert_eq!(like("force=t"), ["force=true", "force=false", "force=auto"]);
        assert_eq!((like("size="), like("x=")), (vec![], vec![]));
    }
}
