//! The implementation of a task that a node can run: a file, the files it needs, and how its parameters
//! reach it.

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::json_object::JsonObject;

#[derive(Clone, Debug)]
pub(super) struct Implementation {
    pub(super) file: String,
    pub(super) input: Option<InputMethod>,
    pub(super) files: Vec<String>,
}

/// How parameters reach a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum InputMethod {
    #[default]
    Both,
    Stdin,
    Environment,
}

impl Implementation {
    /// The first one for a node of which nothing is known but that it has a shell.
    pub(super) fn choose(object: &mut JsonObject) -> Result<Option<Self>> {
        let all: Option<Vec<Value>> = object.take("implementations")?;
        let Some(all) = all else { return Ok(None) };
        for (i, value) in all.into_iter().enumerate() {
            let mut object = JsonObject::of(value, &format!("implementations[{i}]"))?;
            let file: String = object.require("name")?;
            ensure!(
                !file.contains('/'),
                "`{}` is {file:?}: name a file beside the metadata",
                object.path("name")
            );
            let needs: Vec<String> = object.take("requirements")?.unwrap_or_default();
            if file.ends_with(".ps1") || needs.iter().any(|feature| feature != "shell") {
                continue;
            }
            refuse_remote(&mut object)?;
            return Ok(Some(Self {
                file,
                input: InputMethod::take(&mut object)?,
                files: object.take("files")?.unwrap_or_default(),
            }));
        }
        bail!("`implementations` has none that needs a shell and nothing more");
    }
}

impl InputMethod {
    pub(super) fn take(object: &mut JsonObject) -> Result<Option<Self>> {
        let key = object.path("input_method");
        let method: Option<String> = object.take("input_method")?;
        Ok(match method.as_deref() {
            None => None,
            Some("both") => Some(Self::Both),
            Some("stdin") => Some(Self::Stdin),
            Some("environment") => Some(Self::Environment),
            Some(other) => bail!(
                "`{key}` is {other:?}, which a node without PowerShell cannot do: use \"stdin\" or \"environment\""
            ),
        })
    }
}

/// A task that acts on something else than the node it runs on.
pub(super) fn refuse_remote(object: &mut JsonObject) -> Result<()> {
    let key = object.path("remote");
    let remote: Option<bool> = object.take("remote")?;
    ensure!(
        remote != Some(true),
        "`{key}` is true: ur runs tasks on nodes alone"
    );
    Ok(())
}
