//! A JSON object that is read key by key, so that an error names the key and its place in the whole.

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub(super) struct JsonObject {
    object: Map<String, Value>,
    /// Where the object stands in the whole.
    place: String,
}

impl JsonObject {
    pub(super) fn of(value: Value, place: &str) -> Result<Self> {
        match value {
            Value::Object(object) => Ok(Self {
                object,
                place: place.to_owned(),
            }),
            _ if place.is_empty() => bail!("it is JSON, but not an object"),
            _ => bail!("`{place}` is not an object"),
        }
    }

    pub(super) fn path(&self, key: &str) -> String {
        match self.place.as_str() {
            "" => key.to_owned(),
            place => format!("{place}.{key}"),
        }
    }

    /// `null` is as good as absent.
    pub(super) fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        let value = self.object.remove(key).unwrap_or_default();
        serde_json::from_value(value).with_context(|| format!("`{}`", self.path(key)))
    }

    pub(super) fn require<T: DeserializeOwned>(&mut self, key: &str) -> Result<T> {
        let value = self.take(key)?;
        value.with_context(|| format!("`{}` is missing", self.path(key)))
    }

    /// The keys that were not taken.
    pub(super) fn rest(&self) -> Vec<String> {
        self.object.keys().map(|key| self.path(key)).collect()
    }
}
