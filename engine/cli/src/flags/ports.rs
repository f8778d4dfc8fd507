//! `-p [address:][host port:]container port[/protocol]` and `--expose`.

use engine_api::PortBinding;

/// Ports that one flag may publish: all that there are.
type Range = (u16, u16);

/// Reads one `-p`: container ports (`80/tcp`) with where they are published.
///
/// # Errors
/// A text that names the part that is wrong.
pub fn published(text: &str) -> Result<Vec<(String, PortBinding)>, String> {
    let (ports, protocol) = protocol_of(text)?;
    let (address, host, container) = split(ports, text)?;
    let container = range(container)
        .ok_or_else(|| format!("invalid containerPort: {container} in '{text}'"))?;
    if !address.is_empty() && address.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address: {address} in '{text}'"));
    }
    let host = if host.is_empty() {
        None
    } else {
        Some(range(host).ok_or_else(|| format!("invalid hostPort: {host} in '{text}'"))?)
    };
    let count = container.1 - container.0;
    if let Some(host) = host
        && host.1 - host.0 != count
        && count != 0
    {
        return Err(format!(
            "invalid ranges specified for container and host Ports: {}-{} and {}-{} in '{text}'",
            container.0, container.1, host.0, host.1
        ));
    }
    let bindings = (0..=count).map(|at| {
        let host_port = match host {
            None => String::new(),
            // One container port on a host range: the engine picks a free one.
            Some((from, to)) if count == 0 && from != to => format!("{from}-{to}"),
            Some((from, _)) => (from + at).to_string(),
        };
        let binding = PortBinding {
            host_ip: address.to_owned(),
            host_port,
        };
        (format!("{}/{protocol}", container.0 + at), binding)
    });
    Ok(bindings.collect())
}

/// Reads one `--expose`: `80`, `8000-8010/udp`.
///
/// # Errors
/// A text that names the part that is wrong.
pub fn exposed(text: &str) -> Result<Vec<String>, String> {
    let (ports, protocol) = protocol_of(text)?;
    let (from, to) = range(ports).ok_or_else(|| {
        format!("invalid range format for --expose: '{text}': write 80 or 8000-8010/udp")
    })?;
    Ok((from..=to)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

fn protocol_of(text: &str) -> Result<(&str, String), String> {
    let (ports, protocol) = match text.split_once('/') {
        Some((ports, protocol)) => (ports, protocol.to_ascii_lowercase()),
        None => (text, "tcp".to_owned()),
    };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!(
            "invalid proto: {protocol} in '{text}': write tcp, udp or sctp"
        ));
    }
    Ok((ports, protocol))
}

/// Address, host ports and container ports, each maybe empty but the last.
fn split<'a>(ports: &'a str, text: &str) -> Result<(&'a str, &'a str, &'a str), String> {
    let (address, rest) = match ports.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest
                .split_once(']')
                .ok_or_else(|| format!("invalid IP address: the [ in '{text}' is not closed"))?;
            let rest = rest
                .strip_prefix(':')
                .ok_or_else(|| format!("no port after the address in '{text}'"))?;
            (Some(address), rest)
        }
        None => (None, ports),
    };
    let parts: Vec<_> = rest.split(':').collect();
    match (address, parts.as_slice()) {
        (None, [container]) => Ok(("", "", container)),
        (None, [host, container]) => Ok(("", host, container)),
        (None, [address, host, container]) => Ok((address, host, container)),
        (Some(address), [container]) => Ok((address, "", container)),
        (Some(address), [host, container]) => Ok((address, host, container)),
        _ => Err(format!(
            "invalid port '{text}': write [address:][host port:]container port[/protocol], an IPv6 address in brackets"
        )),
    }
}

fn range(text: &str) -> Option<Range> {
    let port = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    let (from, to) = match text.split_once('-') {
        Some((from, to)) => (port(from)?, port(to)?),
        None => (port(text)?, port(text)?),
    };
    (from <= to).then_some((from, to))
}
