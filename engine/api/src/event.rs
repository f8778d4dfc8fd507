//! `GET /events`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::null::{is_default, null};

/// What an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Actor {
    #[serde(rename = "ID", deserialize_with = "null")]
    pub id: String,
    #[serde(rename = "Attributes", deserialize_with = "null")]
    pub attributes: BTreeMap<String, String>,
}

/// One event. `status`, `id` and `from` repeat it for clients older than 1.22
/// and are left out from 1.52 on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    #[serde(skip_serializing_if = "is_default")]
    pub status: String,
    #[serde(skip_serializing_if = "is_default")]
    pub id: String,
    #[serde(skip_serializing_if = "is_default")]
    pub from: String,
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(rename = "Action")]
    pub action: String,
    #[serde(rename = "Actor")]
    pub actor: Actor,
    #[serde(skip_serializing_if = "is_default")]
    pub scope: String,
    /// Unix time in seconds.
    pub time: i64,
    /// Unix time in nanoseconds.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}
