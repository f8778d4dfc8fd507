//! `/images`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::container::{GraphDriver, HealthConfig};
use crate::null::{is_default, null};

/// One entry of `GET /images/json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageSummary {
    /// Containers of this image; -1 when not computed.
    pub containers: i64,
    /// Unix time in seconds.
    pub created: i64,
    pub id: String,
    pub labels: Option<BTreeMap<String, String>>,
    pub parent_id: String,
    #[serde(deserialize_with = "null")]
    pub repo_digests: Vec<String>,
    #[serde(deserialize_with = "null")]
    pub repo_tags: Vec<String>,
    /// Bytes shared with other images; -1 when not computed.
    pub shared_size: i64,
    /// Bytes of all layers, uncompressed.
    pub size: i64,
    /// Equal to `size`; only before API 1.44.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<i64>,
}

/// The runtime part of an image configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageInspectConfig {
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub user: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub exposed_ports: BTreeMap<String, serde_json::Value>,
    #[serde(deserialize_with = "null")]
    pub env: Vec<String>,
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub volumes: BTreeMap<String, serde_json::Value>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub working_dir: String,
    #[serde(deserialize_with = "null")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub on_build: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageRootFs {
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(skip_serializing_if = "is_default", deserialize_with = "null")]
    pub layers: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageMetadata {
    pub last_tag_time: String,
}

/// Answer of `GET /images/{name}/json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageInspect {
    pub id: String,
    #[serde(deserialize_with = "null")]
    pub repo_tags: Vec<String>,
    #[serde(deserialize_with = "null")]
    pub repo_digests: Vec<String>,
    pub parent: String,
    pub comment: String,
    #[serde(skip_serializing_if = "is_default")]
    pub created: String,
    pub docker_version: String,
    pub author: String,
    pub config: Option<ImageInspectConfig>,
    pub architecture: String,
    #[serde(skip_serializing_if = "is_default")]
    pub variant: String,
    pub os: String,
    /// Bytes of all layers, uncompressed.
    pub size: i64,
    /// Equal to `size`; only before API 1.44.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<i64>,
    pub graph_driver: GraphDriver,
    #[serde(rename = "RootFS")]
    pub root_fs: ImageRootFs,
    pub metadata: ImageMetadata,
}

/// One entry of `GET /images/{name}/history`, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageHistory {
    pub id: String,
    /// Unix time in seconds.
    pub created: i64,
    pub created_by: String,
    pub tags: Option<Vec<String>>,
    /// Bytes.
    pub size: i64,
    pub comment: String,
}

/// One entry of the answer of `DELETE /images/{name}`: exactly one is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageDelete {
    #[serde(skip_serializing_if = "is_default")]
    pub untagged: String,
    #[serde(skip_serializing_if = "is_default")]
    pub deleted: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImagePruneReport {
    pub images_deleted: Option<Vec<ImageDelete>>,
    /// Bytes.
    pub space_reclaimed: u64,
}

/// One entry of `GET /images/search`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageSearchResult {
    pub star_count: i64,
    pub is_official: bool,
    pub name: String,
    pub is_automated: bool,
    pub description: String,
}
