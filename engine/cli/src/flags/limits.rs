//! Limits, devices, restart policy and capabilities.

use engine_api::{Device, DeviceRequest, RestartPolicy, ThrottleDevice, Ulimit, WeightDevice};

use super::csv;
use crate::units::parse_bytes;

/// Reads `--restart`: `no`, `always`, `unless-stopped`, `on-failure[:max]`.
///
/// # Errors
/// A text that says what is accepted.
pub fn restart_policy(text: &str) -> Result<RestartPolicy, String> {
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, Some(count)),
        None => (text, None),
    };
    let known = matches!(name, "" | "no" | "always" | "unless-stopped" | "on-failure");
    let count = match count {
        None => Some(0),
        Some(count) if name == "on-failure" => count.parse().ok().filter(|n| *n >= 0),
        Some(_) => None,
    };
    match (known, count) {
        (true, Some(maximum_retry_count)) => Ok(RestartPolicy {
            name: name.to_owned(),
            maximum_retry_count,
        }),
        _ => Err(format!(
            "invalid restart policy '{text}': write no, always, unless-stopped or on-failure[:max-retries]"
        )),
    }
}

/// Reads `--ulimit name=soft[:hard]`.
///
/// # Errors
/// A text that says what is accepted.
pub fn ulimit(text: &str) -> Result<Ulimit, String> {
    const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let bad = || format!("invalid ulimit argument: {text}: write name=soft[:hard]");
    let (name, values) = text.split_once('=').ok_or_else(bad)?;
    if !NAMES.contains(&name) {
        return Err(format!(
            "invalid ulimit type: {name}: there are {}",
            NAMES.join(", ")
        ));
    }
    let number = |text: &str| match text {
        "unlimited" => Ok(-1),
        text => text.parse::<i64>().map_err(|_| bad()),
    };
    let (soft, hard) = match values.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(values)?, number(values)?),
    };
    if hard != -1 && (soft > hard || soft == -1) {
        return Err(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        ));
    }
    Ok(Ulimit {
        name: name.to_owned(),
        hard,
        soft,
    })
}

/// Reads `--device host[:container[:permissions]]`.
///
/// # Errors
/// A text that says what is accepted.
pub fn device(text: &str) -> Result<Device, String> {
    let permissions = |text: &str| {
        !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b"rwm".contains(&b))
    };
    let parts: Vec<_> = text.split(':').collect();
    let (host, container, mode) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, mode] if permissions(mode) => (*host, *host, *mode),
        [host, container] => (*host, *container, "rwm"),
        [host, container, mode] if permissions(mode) => (*host, *container, *mode),
        _ => {
            return Err(format!(
                "invalid device specification: {text}: write /dev/host[:/dev/container[:rwm]]"
            ));
        }
    };
    if !host.starts_with('/') || !container.starts_with('/') {
        return Err(format!("bad format for path: {text}: it is not absolute"));
    }
    Ok(Device {
        path_on_host: host.to_owned(),
        path_in_container: container.to_owned(),
        cgroup_permissions: mode.to_owned(),
    })
}

/// Reads `--device-read-bps path:rate` and its siblings; rates are bytes or
/// operations per second.
///
/// # Errors
/// A text that says what is accepted.
pub fn throttle(text: &str) -> Result<ThrottleDevice, String> {
    let bad = || format!("bad format: {text}: write /dev/name:rate");
    let (path, rate) = text.rsplit_once(':').ok_or_else(bad)?;
    if !path.starts_with("/dev/") {
        return Err(bad());
    }
    let rate = u64::try_from(parse_bytes(rate)?).map_err(|_| bad())?;
    Ok(ThrottleDevice {
        path: path.to_owned(),
        rate,
    })
}

/// Reads `--blkio-weight-device path:weight`.
///
/// # Errors
/// A text that says what is accepted.
pub fn weight_device(text: &str) -> Result<WeightDevice, String> {
    let bad = || format!("bad format: {text}: write /dev/name:weight, a weight from 10 to 1000");
    let (path, weight) = text.rsplit_once(':').ok_or_else(bad)?;
    let weight: u16 = weight.parse().map_err(|_| bad())?;
    if !path.starts_with("/dev/") || (weight != 0 && !(10..=1000).contains(&weight)) {
        return Err(bad());
    }
    Ok(WeightDevice {
        path: path.to_owned(),
        weight,
    })
}

/// Reads `--gpus all`, `--gpus 2` or `--gpus device=0,capabilities=utility`.
///
/// # Errors
/// A text that says what is accepted.
pub fn gpus(text: &str) -> Result<DeviceRequest, String> {
    let mut request = DeviceRequest::default();
    let mut capabilities = vec!["gpu".to_owned()];
    for field in csv(text)? {
        match field.split_once('=') {
            None if field == "all" => request.count = -1,
            None | Some(("count", "all")) => {
                request.count = match field.as_str() {
                    "count=all" => -1,
                    number => number.parse().map_err(|_| {
                        format!("invalid gpus '{text}': write all, a number or device=…")
                    })?,
                };
            }
            Some(("count", number)) => {
                request.count = number
                    .parse()
                    .map_err(|_| format!("invalid count in gpus '{text}'"))?;
            }
            Some(("driver", driver)) => request.driver = driver.to_owned(),
            Some(("device", ids)) => {
                request.device_ids = Some(ids.split(',').map(str::to_owned).collect());
            }
            Some(("capabilities", names)) => {
                capabilities.extend(names.split(',').map(str::to_owned));
            }
            Some((key, _)) => return Err(format!("unexpected key '{key}' in gpus '{text}'")),
        }
    }
    request.capabilities = Some(vec![capabilities]);
    Ok(request)
}

/// `--cap-add` names, in capitals with or without `CAP_`.
pub fn capability(text: &str) -> String {
    text.trim().to_ascii_uppercase()
}

/// `--health-cmd` as the engine's test.
pub fn health_command(text: &str) -> Vec<String> {
    vec!["CMD-SHELL".to_owned(), text.to_owned()]
}
