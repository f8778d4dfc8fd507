//! The ports of EXPOSE.

use crate::dockerfile::Problem;

/// Most ports of one instruction: one protocol's whole range.
const PORTS_MAX: usize = 65_536;

/// `port/protocol` for each port that `specs` name.
///
/// A spec is `port[-end][/protocol]`; the form of `docker run -p`, with
/// addresses and host ports, is accepted for old files and its host part dropped.
pub(super) fn ports(specs: &[String]) -> Result<Vec<String>, Problem> {
    let mut ports = Vec::new();
    for spec in specs {
        let mut parts: Vec<&str> = spec.split(':').collect();
        let container = parts.pop().unwrap_or_default();
        let host = parts.pop().unwrap_or_default();
        let address = parts.join(":");
        let (range, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
        if range.is_empty() {
            return Err(Problem::invalid(format!(
                "invalid port: {spec:?}: no port specified"
            )));
        }
        let protocol = match protocol.to_lowercase().as_str() {
            "" => "tcp".to_owned(),
            known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
            _ => {
                return Err(Problem::invalid(format!(
                    "invalid port: {spec:?}: invalid proto: {protocol}"
                )));
            }
        };
        check_address(&address)?;
        let (start, end) = parse_range(range)
            .ok_or_else(|| Problem::invalid(format!("invalid containerPort: {range}")))?;
        if !host.is_empty() {
            let (host_start, host_end) = parse_range(host)
                .ok_or_else(|| Problem::invalid(format!("invalid hostPort: {host}")))?;
            if start != end && end - start != host_end - host_start {
                return Err(Problem::invalid(format!(
                    "invalid ranges specified for container and host Ports: {range} and {host}"
                )));
            }
        }
        ports.extend((start..=end).map(|port| format!("{port}/{protocol}")));
        if ports.len() > PORTS_MAX {
            return Err(Problem::too_large(format!(
                "EXPOSE names more than {PORTS_MAX} ports"
            )));
        }
    }
    Ok(ports)
}

fn check_address(address: &str) -> Result<(), Problem> {
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
    let bare = bare.unwrap_or(address);
    if bare.is_empty() || bare.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    Err(Problem::invalid(format!("invalid IP address: {bare}")))
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse::<u16>().ok(),
        false => None,
    };
    match text.split_once('-') {
        None => number(text).map(|port| (port, port)),
        Some((start, end)) => {
            let (start, end) = (number(start)?, number(end)?);
            (start <= end).then_some((start, end))
        }
    }
}
