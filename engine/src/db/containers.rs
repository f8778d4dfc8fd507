//! Rows of containers.

use engine_api::{ContainerConfig, EndpointSettings, HostConfig, MountPoint, PortMap};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::volumes::{self, VolumeRow};
use super::{Db, from_json, to_json};

/// The last state that was seen; converts from and to the actor's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StateRow {
    pub(crate) status: String,
    pub(crate) exit_code: i32,
    pub(crate) oom_killed: bool,
    pub(crate) error: String,
    /// RFC 3339.
    pub(crate) started_at: Option<String>,
    pub(crate) finished_at: Option<String>,
    /// It was being removed, and its anonymous volumes with it.
    pub(crate) remove_volumes: bool,
}

/// What the container holds of the network while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NetworkRow {
    /// Host end of the veth pair; empty without a bridge attachment.
    pub(crate) veth_host: String,
    pub(crate) endpoint: EndpointSettings,
    /// Ports with their host sides resolved.
    pub(crate) ports: PortMap,
}

/// A container's mount that refers to a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeUse {
    pub(crate) volume: String,
    pub(crate) container: String,
}

#[derive(Clone, Debug)]
pub(crate) struct ContainerRow {
    pub(crate) id: String,
    pub(crate) name: String,
    /// RFC 3339.
    pub(crate) created_at: String,
    pub(crate) image_id: String,
    pub(crate) config: ContainerConfig,
    pub(crate) host_config: HostConfig,
    pub(crate) mounts: Vec<MountPoint>,
    pub(crate) network: NetworkRow,
    pub(crate) state: StateRow,
    pub(crate) restart_count: i64,
    pub(crate) stopped: bool,
}

impl ContainerRow {
    fn read(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            created_at: row.try_get("created_at")?,
            image_id: row.try_get("image_id")?,
            config: from_json(row.try_get("config")?)?,
            host_config: from_json(row.try_get("host_config")?)?,
            mounts: from_json(row.try_get("mounts")?)?,
            network: from_json(row.try_get("network")?)?,
            state: from_json(row.try_get("state")?)?,
            restart_count: row.try_get("restart_count")?,
            stopped: row.try_get("stopped")?,
        })
    }
}

impl Db {
    pub(crate) async fn containers(&self) -> Result<Vec<ContainerRow>, sqlx::Error> {
        let rows = sqlx::query("SELECT * FROM containers ORDER BY created_at")
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(ContainerRow::read).collect()
    }

    /// Adds a container and the anonymous volumes that were made for it.
    pub(crate) async fn insert_container(
        &self,
        row: &ContainerRow,
        volumes: &[VolumeRow],
    ) -> Result<(), sqlx::Error> {
        // After a power cut one of `--rm` is to be gone in any case.
        let pool = match row.host_config.auto_remove {
            true => &self.pool,
            false => &self.durable,
        };
        let mut tx = pool.begin().await?;
        for volume in volumes {
            volumes::add(&mut tx, volume).await?;
        }
        sqlx::query(
            "INSERT INTO containers (id, name, created_at, image_id, config, host_config, mounts,
                                     network, state, restart_count, stopped)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&row.id)
        .bind(&row.name)
        .bind(&row.created_at)
        .bind(&row.image_id)
        .bind(to_json(&row.config)?)
        .bind(to_json(&row.host_config)?)
        .bind(to_json(&row.mounts)?)
        .bind(to_json(&row.network)?)
        .bind(to_json(&row.state)?)
        .bind(row.restart_count)
        .bind(row.stopped)
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }

    /// Writes all that changes while a container lives.
    pub(crate) async fn update_container(
        &self,
        id: &str,
        state: &StateRow,
        network: &NetworkRow,
        restart_count: i64,
        stopped: bool,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE containers SET state = ?, network = ?, restart_count = ?, stopped = ?
             WHERE id = ?",
        )
        .bind(to_json(state)?)
        .bind(to_json(network)?)
        .bind(restart_count)
        .bind(stopped)
        .bind(id)
        .execute(&self.pool)
        .await
        .map(drop)
    }

    pub(crate) async fn rename_container(&self, id: &str, name: &str) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE containers SET name = ? WHERE id = ?")
            .bind(name)
            .bind(id)
            .execute(&self.durable)
            .await
            .map(drop)
    }

    pub(crate) async fn update_host_config(
        &self,
        id: &str,
        host_config: &HostConfig,
    ) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE containers SET host_config = ? WHERE id = ?")
            .bind(to_json(host_config)?)
            .bind(id)
            .execute(&self.durable)
            .await
            .map(drop)
    }

    /// Deletes a container and, of these volumes, the anonymous ones that no
    /// other container uses; their names come back.
    pub(crate) async fn delete_container(
        &self,
        id: &str,
        volumes: &[String],
    ) -> Result<Vec<String>, sqlx::Error> {
        let mut tx = self.pool.begin().await?;
        sqlx::query("DELETE FROM containers WHERE id = ?")
            .bind(id)
            .execute(&mut *tx)
            .await?;
        let mut deleted = Vec::new();
        for name in volumes {
            if volumes::delete_if_anonymous(&mut tx, name).await? {
                deleted.push(name.clone());
            }
        }
        tx.commit().await?;
        Ok(deleted)
    }

    /// Which containers hold which volumes.
    pub(crate) async fn volume_uses(&self) -> Result<Vec<VolumeUse>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT c.id, json_extract(m.value, '$.Name') AS volume
             FROM containers c, json_each(c.mounts) m
             WHERE json_extract(m.value, '$.Type') = 'volume'",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(VolumeUse {
                    volume: row
                        .try_get::<Option<String>, _>("volume")?
                        .unwrap_or_default(),
                    container: row.try_get("id")?,
                })
            })
            .collect()
    }
}
