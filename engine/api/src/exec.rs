//! `POST /containers/{id}/exec` and `/exec/{id}/…`.

use serde::{Deserialize, Serialize};

use crate::null::{is_default, null};

/// Body of `POST /containers/{id}/exec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecCreateRequest {
    #[serde(deserialize_with = "null")]
    pub user: String,
    #[serde(deserialize_with = "null")]
    pub privileged: bool,
    #[serde(deserialize_with = "null")]
    pub tty: bool,
    /// Height, then width, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<[u32; 2]>,
    #[serde(deserialize_with = "null")]
    pub attach_stdin: bool,
    #[serde(deserialize_with = "null")]
    pub attach_stderr: bool,
    #[serde(deserialize_with = "null")]
    pub attach_stdout: bool,
    #[serde(deserialize_with = "null")]
    pub detach: bool,
    #[serde(deserialize_with = "null")]
    pub detach_keys: String,
    pub env: Option<Vec<String>>,
    #[serde(deserialize_with = "null")]
    pub working_dir: String,
    #[serde(deserialize_with = "null")]
    pub cmd: Vec<String>,
}

/// Answer of `POST /containers/{id}/exec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecCreateResponse {
    pub id: String,
}

/// Body of `POST /exec/{id}/start`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecStartRequest {
    #[serde(deserialize_with = "null")]
    pub detach: bool,
    #[serde(deserialize_with = "null")]
    pub tty: bool,
    /// Height, then width, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<[u32; 2]>,
}

/// What an exec runs, inside [`ExecInspect`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecProcess {
    pub tty: bool,
    pub entrypoint: String,
    #[serde(deserialize_with = "null")]
    pub arguments: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub privileged: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub user: String,
}

/// Answer of `GET /exec/{id}/json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecInspect {
    #[serde(rename = "ID")]
    pub id: String,
    pub running: bool,
    /// `null` until the process ended.
    pub exit_code: Option<i32>,
    pub process_config: ExecProcess,
    pub open_stdin: bool,
    pub open_stderr: bool,
    pub open_stdout: bool,
    pub can_remove: bool,
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    pub detach_keys: String,
    pub pid: u32,
}
