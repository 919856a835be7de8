//! A part of a record in a higher layer's words: kept as the JSON text that it is, for most commands never look into it.

use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Raw(Box<RawValue>);

impl Raw {
    pub fn of(value: &impl Serialize) -> Result<Raw> {
        let raw = serde_json::value::to_raw_value(value);
        raw.map(Raw).map_err(|e| Error::internal(format!("a part of a record: {e}")))
    }

    /// It, or as much of it as `T` has.
    pub fn parse<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(self.0.get())
    }

    /// All of it, for those who take single words out of it.
    pub fn value(&self) -> Value {
        self.parse().unwrap_or_default()
    }
}

impl Default for Raw {
    fn default() -> Raw {
        Raw(RawValue::NULL.to_owned())
    }
}

impl PartialEq for Raw {
    fn eq(&self, other: &Raw) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Eq for Raw {}
