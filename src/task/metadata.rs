//! Metadata of a task, `TASK.json`, as the Puppet Task specification has it. What is not understood is
//! refused, with the key; the caller names the file.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use super::extension::Extension;
use super::implementation::{Implementation, InputMethod, refuse_remote};
use super::json_object::JsonObject;
use super::name::is_word;
use super::types::Type;

#[derive(Clone, Debug, Default)]
pub(super) struct Metadata {
    pub(super) description: String,
    /// `None` where the metadata does not say which there are: then any may be given.
    pub(super) parameters: Option<BTreeMap<String, Parameter>>,
    pub(super) input: InputMethod,
    pub(super) supports_noop: bool,
    pub(super) private: bool,
    pub(super) ur: Extension,
    files: Vec<String>,
    /// The file that is to be run, where the metadata names one.
    implementation: Option<Implementation>,
    /// Keys that nothing here reads. A later revision of the specification may have them.
    pub(super) unread: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Parameter {
    pub(super) kind: Type,
    pub(super) description: String,
    pub(super) default: Option<Value>,
    pub(super) sensitive: bool,
}

impl Metadata {
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let whole: Value = serde_json::from_slice(bytes).context("it is not JSON")?;
        let mut object = JsonObject::of(whole, "")?;
        let version: Option<u64> = object.take("puppet_task_version")?;
        ensure!(
            version.is_none_or(|version| version == 1),
            "`puppet_task_version` is not 1, the only one there is"
        );
        refuse_remote(&mut object)?;
        let parameters: Option<Map<String, Value>> = object.take("parameters")?;
        let mut metadata = Self {
            description: object.take("description")?.unwrap_or_default(),
            input: InputMethod::take(&mut object)?.unwrap_or_default(),
            supports_noop: object.take("supports_noop")?.unwrap_or_default(),
            private: object.take("private")?.unwrap_or_default(),
            files: object.take("files")?.unwrap_or_default(),
            implementation: Implementation::choose(&mut object)?,
            ..Self::default()
        };
        metadata.read_parameters(parameters)?;
        let extensions: Option<Map<String, Value>> = object.take("extensions")?;
        if let Some(ours) = extensions.as_ref().and_then(|all| all.get("ur")) {
            metadata.ur = Extension::read(ours.clone())?;
        }
        metadata.unread.extend(object.rest());
        metadata.check()?;
        Ok(metadata)
    }

    fn read_parameters(&mut self, all: Option<Map<String, Value>>) -> Result<()> {
        self.parameters = all.as_ref().map(|_| BTreeMap::new());
        for (name, value) in all.into_iter().flatten() {
            let path = format!("parameters.{name}");
            ensure!(
                is_word(&name),
                "`{path}` is not a name: use a to z, 0 to 9 and _, a letter first"
            );
            let (parameter, unread) = Parameter::read(value, &path)?;
            self.unread.extend(unread);
            self.parameters
                .get_or_insert_default()
                .insert(name, parameter);
        }
        Ok(())
    }

    pub(super) fn implementation(&self) -> Option<&str> {
        let chosen = self.implementation.as_ref();
        chosen.map(|chosen| chosen.file.as_str())
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &String> {
        let more = self.implementation.as_ref().map(|chosen| &chosen.files);
        self.files.iter().chain(more.into_iter().flatten())
    }

    pub(super) fn input(&self) -> InputMethod {
        let chosen = self.implementation.as_ref();
        chosen.and_then(|chosen| chosen.input).unwrap_or(self.input)
    }

    fn check(&self) -> Result<()> {
        if let Some(confirm) = &self.ur.confirm {
            let known = self.parameters.as_ref();
            ensure!(
                known.is_some_and(|known| known.contains_key(confirm)),
                "`extensions.ur.confirm` is {confirm:?}, which is not among the `parameters`"
            );
        }
        for file in self.files() {
            let mut parts = file.split('/');
            let (module, kind) = (parts.next().unwrap_or_default(), parts.next());
            ensure!(
                is_word(module)
                    && matches!(kind, Some("files" | "tasks" | "lib"))
                    && !file.split('/').any(|part| part == ".."),
                "`files` has {file:?}: write MODULE/files/FILE, or MODULE/files/DIRECTORY/"
            );
        }
        Ok(())
    }
}

impl Parameter {
    /// And the keys that nothing here reads.
    fn read(value: Value, path: &str) -> Result<(Self, Vec<String>)> {
        let mut object = JsonObject::of(value, path)?;
        let text: Option<String> = object.take("type")?;
        let kind = match text {
            Some(text) => Type::parse(&text)
                .map_err(anyhow::Error::msg)
                .with_context(|| format!("`{path}.type`"))?,
            None => Type::any(),
        };
        let sensitive: Option<bool> = object.take("sensitive")?;
        let parameter = Self {
            sensitive: sensitive.unwrap_or_default() || kind.is_sensitive(),
            description: object.take("description")?.unwrap_or_default(),
            default: object.take("default")?,
            kind,
        };
        if let Some(default) = &parameter.default {
            ensure!(
                parameter.kind.accepts(default),
                "`{path}.default` is not of the type {}",
                parameter.kind
            );
        }
        Ok((parameter, object.rest()))
    }

    pub(super) fn is_required(&self) -> bool {
        self.default.is_none() && !self.kind.may_be_absent()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &Value) -> Result<Metadata> {
        Metadata::read(value.to_string().as_bytes())
    }

    #[track_caller]
    fn refused(value: &Value, words: &[&str]) {
        let error = format!("{:#}", read(value).unwrap_err());
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }

    #[test]
    fn what_a_forge_module_says_is_understood() {
        let metadata = read(&json!({
            "description": "Runs SQL", "puppet_task_version": 1, "supports_noop": true, "input_method": "stdin",
            "files": ["mysql/files/lib/"], "$schema": "x",
            "parameters": {
                "sql": {"type": "String[1]", "description": "what"},
                "password": {"type": "Optional[String]", "sensitive": true},
                "retries": {"type": "Integer[0]", "default": 3},
            },
            "extensions": {"discovery": {"type": []}},
        }))
        .unwrap();
        assert_eq!(
            (metadata.input(), metadata.supports_noop),
            (InputMethod::Stdin, true)
        );
        assert_eq!(metadata.unread, ["$schema"]);
        let parameters = metadata.parameters.unwrap();
        assert!(parameters["sql"].is_required() && parameters["password"].sensitive);
        assert!(!parameters["password"].is_required() && !parameters["retries"].is_required());
    }

    #[test]
    fn no_metadata_is_fine() {
        let metadata = read(&json!({})).unwrap();
        assert!(metadata.parameters.is_none() && metadata.implementation().is_none());
        assert_eq!(metadata.input(), InputMethod::Both);
    }

    #[test]
    fn the_first_implementation_that_needs_no_more_than_a_shell_is_chosen() {
        let metadata = read(&json!({"files": ["a/files/a"], "implementations": [
            {"name": "sql_windows.ps1", "requirements": ["powershell"]},
            {"name": "sql_ruby.rb", "requirements": ["puppet-agent"]},
            {"name": "sql_linux.sh", "requirements": ["shell"], "input_method": "environment", "files": ["a/lib/b"]},
            {"name": "sql_other.sh"},
        ]}))
        .unwrap();
        assert_eq!(metadata.implementation(), Some("sql_linux.sh"));
        assert_eq!(metadata.input(), InputMethod::Environment);
        assert_eq!(
            metadata.files().collect::<Vec<_>>(),
            ["a/files/a", "a/lib/b"]
        );
        let windows =
            json!({"implementations": [{"name": "x.ps1", "requirements": ["powershell"]}]});
        refused(&windows, &["`implementations`", "shell"]);
        let elsewhere = json!({"implementations": [{"name": "../x.sh"}]});
        refused(&elsewhere, &["`implementations[0].name`", "../x.sh"]);
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_key() {
        refused(&json!([]), &["not an object"]);
        refused(
            &json!({"supports_noop": "yes"}),
            &["`supports_noop`", "boolean"],
        );
        refused(
            &json!({"puppet_task_version": 2}),
            &["`puppet_task_version`"],
        );
        refused(&json!({"remote": true}), &["`remote`"]);
        refused(
            &json!({"input_method": "powershell"}),
            &["`input_method`", "powershell"],
        );
        refused(&json!({"files": ["../x"]}), &["`files`", "../x"]);
        refused(&json!({"parameters": {"Name": {}}}), &["`parameters.Name`"]);
        let with = |parameter: Value| json!({"parameters": {"size": parameter}});
        refused(
            &with(json!({"type": "Regexp"})),
            &["`parameters.size.type`", "`Regexp`"],
        );
        refused(
            &with(json!({"type": "Integer", "default": "1"})),
            &["`parameters.size.default`", "Integer"],
        );
        let ours = |extension: Value| json!({"extensions": {"ur": extension}});
        refused(&ours(json!({"version": "1"})), &["`extensions.ur.version`"]);
        refused(
            &ours(json!({"class": "evil"})),
            &["`extensions.ur.class`", "destructive"],
        );
        refused(&ours(json!({"timeout": 0})), &["`extensions.ur.timeout`"]);
        refused(
            &ours(json!({"confirm": "serials"})),
            &["`extensions.ur.confirm`", "serials"],
        );
        refused(
            &ours(json!({"klass": "change"})),
            &["`extensions.ur.klass`"],
        );
    }
}
