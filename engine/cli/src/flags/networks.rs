//! `--network` and `--add-host`.

use std::collections::BTreeMap;

use super::csv;

/// One `--network`, short (`bridge`) or long (`name=web,alias=api,ip=…`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkFlag {
    pub name: String,
    pub aliases: Vec<String>,
    pub ipv4: String,
    pub ipv6: String,
    pub mac_address: String,
    pub link_local_ips: Vec<String>,
    pub driver_opts: BTreeMap<String, String>,
    pub gw_priority: i64,
}

/// Reads one `--network`.
///
/// # Errors
/// A text that names what is wrong.
pub fn network(text: &str) -> Result<NetworkFlag, String> {
    let mut flag = NetworkFlag::default();
    // `container:name` and plain names hold no `=`.
    if !text.contains('=') {
        flag.name = text.to_owned();
        return Ok(flag);
    }
    for field in csv(text)? {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("invalid field '{field}' in the network '{text}'"))?;
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => flag.name = value.to_owned(),
            "alias" => flag.aliases.push(value.to_owned()),
            "ip" => flag.ipv4 = value.to_owned(),
            "ip6" => flag.ipv6 = value.to_owned(),
            "mac-address" => flag.mac_address = value.to_owned(),
            "link-local-ip" => flag.link_local_ips.push(value.to_owned()),
            "gw-priority" => {
                flag.gw_priority = value
                    .parse()
                    .map_err(|_| format!("invalid gw-priority '{value}': write a number"))?;
            }
            "driver-opt" => {
                let (key, value) = value.split_once('=').unwrap_or((value, ""));
                flag.driver_opts.insert(key.to_owned(), value.to_owned());
            }
            key => return Err(format!("invalid key {key} in the network '{text}'")),
        }
    }
    if flag.name.is_empty() {
        return Err(format!("network name is not specified in '{text}'"));
    }
    Ok(flag)
}

/// Reads `--add-host name:address` or `name=address`.
///
/// # Errors
/// A text that names what is wrong.
pub fn extra_host(text: &str) -> Result<String, String> {
    let split = match text.split_once('=') {
        Some(parts) => Some(parts),
        None => text.split_once(':'),
    };
    let (name, address) = split
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| format!("bad format for add-host: '{text}': write name:address"))?;
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    if bare != "host-gateway" && bare.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: '{address}'"));
    }
    Ok(format!("{name}:{bare}"))
}
