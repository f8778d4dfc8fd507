//! Values of settings: text to type, with errors that name the setting.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Result, anyhow, bail};

use super::{
    Config, LogFormat, Role, Share, Subnet,
    layers::{Effective, Value},
};

const YEAR_SECONDS: u32 = 365 * 24 * 60 * 60;

/// Builds the typed configuration from the effective texts.
pub fn parse(effective: &Effective) -> Result<Config> {
    let get = |name: &'static str| Field { name, effective };
    Ok(Config {
        roles: roles(&get("role").list())?,
        data_dir: get("data-dir").absolute_path()?,
        listen: get("listen").parse::<SocketAddr>("an address and port such as 127.0.0.1:5000")?,
        public_url: public_url(get("public-url").optional())?,
        engine_socket: get("engine-socket").absolute_path()?,
        builder_socket: get("builder-socket").absolute_path()?,
        socket_group: get("socket-group").list(),
        front_user: get("front-user").text()?,
        database_url: database_url(&get("database-url").text()?)?,
        storage: storage(&get("storage").text()?)?,
        admin_password: get("admin-password").optional(),
        bridge: bridge(&get("bridge").text()?)?,
        bridge_subnet: subnet(&get("bridge-subnet").text()?)?,
        cgroup_parent: cgroup_parent(&get("cgroup-parent").text()?)?,
        build_workers: match get("build-workers").parse::<usize>("a number from 1 to 256")? {
            n @ 1..=256 => n,
            n => bail!("build-workers is {n}: write a number from 1 to 256"),
        },
        build_cache_max: build_cache_max(&get("build-cache-max").text()?)?,
        log: get("log").text()?,
        log_format: match get("log-format").text()?.as_str() {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            other => bail!("log-format is {other:?}: write text or json"),
        },
        start_timeout: match get("start-timeout").seconds()? {
            Duration::ZERO => bail!("start-timeout is 0: write at least 1 second"),
            timeout => timeout,
        },
        shutdown_timeout: get("shutdown-timeout").seconds()?,
    })
}

struct Field<'a> {
    name: &'a str,
    effective: &'a Effective,
}

impl Field<'_> {
    fn optional(&self) -> Option<String> {
        match &self.effective.get(self.name)?.value {
            Value::Text(text) => Some(text.clone()),
            Value::List(items) => Some(items.join(",")),
        }
    }

    fn text(&self) -> Result<String> {
        let text = self.optional().unwrap_or_default();
        if text.is_empty() {
            bail!(
                "{} is empty: give it a value or leave it out for the default",
                self.name
            );
        }
        Ok(text)
    }

    fn list(&self) -> Vec<String> {
        match self.effective.get(self.name).map(|found| &found.value) {
            Some(Value::List(items)) => items.clone(),
            Some(Value::Text(text)) => vec![text.clone()],
            None => Vec::new(),
        }
    }

    fn absolute_path(&self) -> Result<PathBuf> {
        let path = PathBuf::from(self.text()?);
        std::path::absolute(&path).map_err(|e| anyhow!("{} is {path:?}: {e}", self.name))
    }

    /// Seconds, at most a year: later dates are none that a clock can hold.
    fn seconds(&self) -> Result<Duration> {
        let seconds = self.parse::<u32>("a number of seconds")?;
        Ok(Duration::from_secs(seconds.min(YEAR_SECONDS).into()))
    }

    fn parse<T: std::str::FromStr>(&self, wanted: &str) -> Result<T> {
        let text = self.text()?;
        text.parse()
            .map_err(|_| anyhow!("{} is {text:?}: write {wanted}", self.name))
    }
}

fn roles(names: &[String]) -> Result<Vec<Role>> {
    let mut roles = Vec::new();
    for name in names {
        let role = Role::ALL.into_iter().find(|role| role.as_str() == name);
        let role = role.ok_or_else(|| {
            anyhow!("role {name:?} is not known: use registry, builder or engine")
        })?;
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    if roles.is_empty() {
        bail!("no role is given: use registry, builder or engine");
    }
    Ok(roles)
}

fn public_url(url: Option<String>) -> Result<Option<String>> {
    match url {
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            Ok(Some(url.trim_end_matches('/').to_owned()))
        }
        Some(url) => bail!("public-url is {url:?}: write it with http:// or https://"),
        None => Ok(None),
    }
}

fn database_url(url: &str) -> Result<String> {
    if let Some(file) = url.strip_prefix("sqlite:") {
        let file = file.strip_prefix("//").unwrap_or(file);
        let file =
            std::path::absolute(file).map_err(|e| anyhow!("database-url is {url:?}: {e}"))?;
        return Ok(format!("sqlite:{}", file.display()));
    }
    if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        bail!(
            "database-url names PostgreSQL, which this release does not support yet: use sqlite:FILE"
        );
    }
    bail!("database-url is {url:?}: write sqlite:FILE");
}

fn storage(text: &str) -> Result<String> {
    if text.starts_with("s3:") {
        bail!("storage names S3, which this release does not support yet: use a directory");
    }
    let text = text.strip_prefix("file://").unwrap_or(text);
    let path = std::path::absolute(text).map_err(|e| anyhow!("storage is {text:?}: {e}"))?;
    Ok(path.to_string_lossy().into_owned())
}

/// Interface names are at most 15 bytes (`IFNAMSIZ` less the final zero).
fn bridge(name: &str) -> Result<String> {
    let fine = name.len() <= 15
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !fine {
        bail!("bridge is {name:?}: write at most 15 of A-Z a-z 0-9 - _");
    }
    Ok(name.to_owned())
}

fn subnet(text: &str) -> Result<Subnet> {
    let bad = || anyhow!("bridge-subnet is {text:?}: write a network such as 172.30.0.0/16");
    let (address, prefix_len) = text.split_once('/').ok_or_else(bad)?;
    let subnet = Subnet {
        address: address.parse().map_err(|_| bad())?,
        prefix_len: prefix_len.parse().map_err(|_| bad())?,
    };
    if !(8..=29).contains(&subnet.prefix_len) {
        bail!("bridge-subnet is {text:?}: the prefix must be from /8 to /29");
    }
    let mask = u32::MAX << (32 - subnet.prefix_len);
    if subnet.address.to_bits() & !mask != 0 {
        let network = std::net::Ipv4Addr::from_bits(subnet.address.to_bits() & mask);
        bail!(
            "bridge-subnet is {text:?}, an address inside {network}/{}",
            subnet.prefix_len
        );
    }
    Ok(subnet)
}

fn build_cache_max(text: &str) -> Result<Share> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent
            .parse()
            .ok()
            .filter(|percent| (1..=100).contains(percent))
            .map(Share::Percent),
        None => text.parse().ok().map(Share::Bytes),
    };
    share.ok_or_else(|| {
        anyhow!("build-cache-max is {text:?}: write a number of bytes, or 1% to 100% of the disk")
    })
}

fn cgroup_parent(text: &str) -> Result<String> {
    let path = text.trim_matches('/');
    let part = |p: &str| {
        !p.is_empty()
            && p != "."
            && p != ".."
            && p.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    if !path.split('/').all(part) {
        bail!("cgroup-parent is {text:?}: write names of A-Z a-z 0-9 - _ . joined by /");
    }
    Ok(path.to_owned())
}
