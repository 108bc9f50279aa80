//! Groups: names for node sets and for expressions. The operator's own, in `~/.config/ur/groups`, and those that
//! clustershell keeps in files. What clustershell asks of a command is not run.

use std::collections::{BTreeMap, HashSet};
use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use saphyr::{LoadableYamlNode, YamlOwned};

use super::Plain;

/// Groups that are named in an error.
const MAX_TOLD: usize = 12;

/// What a group stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Definition {
    Nodes(String),
    Expression(String),
    /// Neither: that is told to who uses it, and no other group is the worse for it.
    Bad(String),
}

/// Groups by name, of one namespace. That of the operator's own has no name.
#[derive(Debug, Default)]
struct Source {
    name: String,
    groups: BTreeMap<String, Definition>,
}

/// In the order in which a name is looked for.
#[derive(Debug, Default)]
pub struct Groups {
    sources: Vec<Source>,
    own_file: PathBuf,
}

impl Groups {
    /// Those of this user and machine.
    pub fn of_this_user() -> Result<Self> {
        let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let config = env::var_os("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty());
        let config = config.map_or_else(|| home.join(".config"), PathBuf::from);
        let named = env::var_os("CLUSTERSHELL_CFGDIR").map(PathBuf::from);
        let places = [
            config.join("clustershell"),
            home.join(".local/etc/clustershell"),
            PathBuf::from("/etc/clustershell"),
        ];
        let places: Vec<PathBuf> = named.into_iter().chain(places).collect();
        Self::read(config.join("ur/groups"), &places)
    }

    fn read(own_file: PathBuf, clustershell: &[PathBuf]) -> Result<Self> {
        let mut sources = Vec::new();
        if let Some(text) = text_of(&own_file)? {
            let groups = own(&text).with_context(|| format!("reading {}", own_file.display()))?;
            let name = String::new();
            sources.push(Source { name, groups });
        }
        sources.extend(clustershells(clustershell)?);
        Ok(Self { sources, own_file })
    }

    /// What `name`, `source:name` or a name with wildcards stands for. A group that others refer to is looked for beside
    /// them first.
    pub(super) fn find(&self, beside: Option<&str>, name: &str) -> Vec<(&str, &str, &Definition)> {
        let (source, name) = match name.split_once(':') {
            Some((source, name)) => (Some(source), name),
            None => (None, name),
        };
        let order: Vec<&Source> = match source {
            Some(source) => self.sources.iter().filter(|it| it.name == source).collect(),
            None => {
                let first = self.sources.iter().filter(|it| Some(&*it.name) == beside);
                first.chain(&self.sources).collect()
            }
        };
        let pattern = super::Pattern::of(name.to_owned());
        let found = order.into_iter().map(|source| {
            if let Some((it, definition)) = source.groups.get_key_value(name) {
                return vec![(&*source.name, &**it, definition)];
            }
            let groups = source.groups.iter();
            let meant = groups.filter(|(it, _)| pattern.matches(it));
            let meant = meant.map(|(name, definition)| (&*source.name, &**name, definition));
            meant.collect::<Vec<_>>()
        });
        found
            .into_iter()
            .find(|found| !found.is_empty())
            .unwrap_or_default()
    }

    /// Whether there is one of that very name.
    pub(super) fn has(&self, name: &str) -> bool {
        let mut sources = self.sources.iter();
        sources.any(|source| source.groups.contains_key(name))
    }

    /// Of all sources.
    pub fn names(&self) -> Vec<String> {
        let names = self.sources.iter().flat_map(|source| {
            let one = |name: &String| match &*source.name {
                "" => Plain::name(name).to_string(),
                source => format!("{source}:{}", Plain::name(name)),
            };
            source.groups.keys().map(one).collect::<Vec<_>>()
        });
        names.collect()
    }

    /// In a sentence.
    pub(super) fn known(&self) -> String {
        let mut names = self.names();
        if names.is_empty() {
            return format!("none is defined in {}", self.own_file.display());
        }
        if names.len() > MAX_TOLD {
            names.truncate(MAX_TOLD);
            names.push("…".to_owned());
        }
        format!("there are {}", names.join(", "))
    }
}

/// `None` where there is no such file.
fn text_of(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

fn document(text: &str) -> Result<Option<YamlOwned>> {
    let documents = YamlOwned::load_from_str(text);
    let mut documents = documents.map_err(|error| match unquoted(text) {
        Some((line, value)) => anyhow!("line {line}: quote what begins so: '{value}'"),
        None => anyhow!("at line {}: {}", error.marker().line(), error.info()),
    })?;
    documents.truncate(1);
    Ok(documents.pop().filter(|it| !it.is_null()))
}

/// The first value that YAML takes for something else, or for nothing that it knows, and its line.
fn unquoted(text: &str) -> Option<(usize, &str)> {
    let lines = (1..).zip(text.lines());
    let mut values = lines.filter_map(|(line, text)| Some((line, text.split_once(':')?.1.trim())));
    values.find(|(_, value)| value.starts_with(['@', '*', '%', '`']))
}

fn pairs(yaml: &YamlOwned) -> Result<Vec<(String, &YamlOwned)>> {
    let Some(mapping) = yaml.as_mapping() else {
        bail!("expected lines of NAME: NODES");
    };
    mapping
        .iter()
        .map(|(name, value)| {
            let name = scalar(name).context("a name that is no text")?;
            Ok((name, value))
        })
        .collect()
}

fn scalar(yaml: &YamlOwned) -> Option<String> {
    let text = yaml.as_str().map(str::to_owned);
    text.or_else(|| yaml.as_integer().map(|it| it.to_string()))
}

/// Ur's own file: a node set, a list of them, or an expression.
fn own(text: &str) -> Result<BTreeMap<String, Definition>> {
    let Some(yaml) = document(text)? else {
        return Ok(BTreeMap::new());
    };
    let one = |(name, value): (String, &YamlOwned)| {
        let definition = match value.as_mapping_get("where").and_then(scalar) {
            Some(expression) => Definition::Expression(expression),
            None => match nodes(value.as_mapping_get("nodes").unwrap_or(value)) {
                Definition::Nodes(text) if is_expression(&text) => Definition::Expression(text),
                definition => definition,
            },
        };
        (name, definition)
    };
    Ok(pairs(&yaml)?.into_iter().map(one).collect())
}

fn nodes(yaml: &YamlOwned) -> Definition {
    let list = yaml
        .as_sequence()
        .map(|list| list.iter().map(scalar).collect::<Option<Vec<_>>>());
    let text = match list {
        Some(list) => list.map(|list| list.join(",")),
        None => scalar(yaml),
    };
    text.map_or_else(
        || {
            Definition::Bad(
                "expected a node set, a list of them, or {where: EXPRESSION}".to_owned(),
            )
        },
        Definition::Nodes,
    )
}

/// No name of a node begins with a dot or has one of these signs.
fn is_expression(text: &str) -> bool {
    text.trim_start().starts_with('.') || text.contains(['"', '|', '<', '>', '=', '$', ';'])
}

/// The sources that clustershell has in files. The first place that has a source gives it.
fn clustershells(places: &[PathBuf]) -> Result<Vec<Source>> {
    let mut sources: Vec<Source> = Vec::new();
    let mut default = "local".to_owned();
    let mut directories = Vec::new();
    for (i, place) in places.iter().enumerate() {
        directories.push(place.join("groups.d"));
        let Some(text) = text_of(&place.join("groups.conf"))? else {
            continue;
        };
        if let Some(name) = setting(&text, "default").filter(|_| directories.len() == i + 1) {
            default = name.to_owned();
        }
        for dir in setting(&text, "autodir")
            .unwrap_or_default()
            .split_whitespace()
        {
            let dir = dir.trim_matches(['"', '\'']);
            directories.push(PathBuf::from(
                dir.replace("$CFGDIR", &place.to_string_lossy()),
            ));
        }
    }
    for place in places {
        if let Some(text) = text_of(&place.join("groups"))? {
            add(&mut sources, "local", flat(&text));
        }
    }
    let mut seen = HashSet::new();
    directories.retain(|dir| seen.insert(dir.clone()));
    for directory in directories {
        read_directory(&directory, &mut sources)?;
    }
    sources.sort_by_key(|source| source.name != default);
    Ok(sources)
}

fn add(sources: &mut Vec<Source>, name: &str, groups: BTreeMap<String, Definition>) {
    if !sources.iter().any(|source| source.name == name) {
        let name = name.to_owned();
        sources.push(Source { name, groups });
    }
}

fn read_directory(directory: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(());
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let kind = path.extension().unwrap_or_default();
        if kind == "cfg" {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            add(sources, &name, flat(&text_of(&path)?.unwrap_or_default()));
        } else if kind == "yaml" {
            read_yaml(&path, sources).with_context(|| format!("reading {}", path.display()))?;
        }
    }
    Ok(())
}

fn read_yaml(path: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let text = text_of(path)?.unwrap_or_default();
    let Some(yaml) = document(&text)? else {
        return Ok(());
    };
    for (source, value) in pairs(&yaml)? {
        let groups = pairs(value).with_context(|| format!("the source {source}"))?;
        let groups = groups.into_iter();
        let groups = groups.map(|(name, value)| (name, nodes(value)));
        add(sources, &source, groups.collect());
    }
    Ok(())
}

/// Lines of `name: nodes`.
fn flat(text: &str) -> BTreeMap<String, Definition> {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once(':'));
    let pairs = pairs.map(|(name, nodes)| (name.trim(), nodes.trim()));
    let pairs = pairs.filter(|(name, nodes)| !name.is_empty() && !nodes.is_empty());
    pairs
        .map(|(name, nodes)| (name.to_owned(), Definition::Nodes(nodes.to_owned())))
        .collect()
}

/// A setting of groups.conf, whose sections do not matter here.
fn setting<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let values = text.lines().filter_map(|line| {
        let (key, value) = line.split_once([':', '='])?;
        (key.trim() == name).then_some(value.trim())
    });
    values.into_iter().find(|value| !value.is_empty())
}

#[cfg(test)]
#[path = "groups_tests.rs"]
mod tests;
