//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a container: files
//! in its state directory that are mounted over the image's. Texts are pure.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use engine_api::HostConfig;

/// Asked when the host names no server that a container can reach, as Docker does.
const PUBLIC_SERVERS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// What the files say.
#[derive(Debug)]
pub(crate) struct NameFiles<'a> {
    pub(crate) hostname: &'a str,
    pub(crate) domainname: &'a str,
    /// The container's own address, if it has one.
    pub(crate) address: Option<Ipv4Addr>,
    /// Of the bridge, which `host-gateway` means.
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) host: &'a HostConfig,
    /// The container shares the host's network, loopback servers included.
    pub(crate) host_network: bool,
}

impl NameFiles<'_> {
    /// Writes the three files; existing ones are rewritten in place, so that
    /// mounts of them stay valid.
    ///
    /// # Errors
    /// Of the file system.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let host_resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let host_hosts = if self.host_network {
            std::fs::read_to_string("/etc/hosts").ok()
        } else {
            None
        };
        write(&dir.join("hostname"), &format!("{}\n", self.hostname))?;
        write(&dir.join("hosts"), &self.hosts(host_hosts.as_deref()))?;
        write(&dir.join("resolv.conf"), &self.resolv_conf(&host_resolv))
    }

    fn hosts(&self, host_hosts: Option<&str>) -> String {
        let mut text = match host_hosts {
            Some(text) => format!("{}\n", text.trim_end()),
            None => "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                     fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\n\
                     ff02::2\tip6-allrouters\n"
                .to_owned(),
        };
        for entry in self.host.extra_hosts.iter().flatten() {
            // `name:address`; an IPv6 address holds more colons.
            if let Some((name, address)) = entry.split_once(':') {
                let address = match (address, self.gateway) {
                    ("host-gateway", Some(gateway)) => gateway.to_string(),
                    _ => address.trim_matches(['[', ']']).to_owned(),
                };
                text.push_str(&format!("{address}\t{name}\n"));
            }
        }
        if let Some(address) = self.address {
            let full = if self.domainname.is_empty() {
                self.hostname.to_owned()
            } else {
                format!("{}.{} {}", self.hostname, self.domainname, self.hostname)
            };
            text.push_str(&format!("{address}\t{full}\n"));
        }
        text
    }

    fn resolv_conf(&self, host: &str) -> String {
        let words = |keyword: &str| -> Vec<String> {
            host.lines()
                .filter_map(|line| line.trim().strip_prefix(keyword))
                .filter(|rest| rest.starts_with([' ', '\t']))
                .map(|rest| rest.trim().to_owned())
                .collect()
        };
        let mut servers = self.host.dns.clone();
        if servers.is_empty() {
            servers = words("nameserver");
            if !self.host_network {
                // A server on the host's loopback is not the container's.
                servers.retain(|server| !server.starts_with("127.") && server != "::1");
            }
        }
        if servers.is_empty() {
            servers = PUBLIC_SERVERS.map(str::to_owned).to_vec();
        }
        let search = match &self.host.dns_search[..] {
            [] => words("search").pop().unwrap_or_default(),
            // `--dns-search .` asks for none.
            [dot] if dot == "." => String::new(),
            list => list.join(" "),
        };
        let options = match &self.host.dns_options[..] {
            [] => words("options").pop().unwrap_or_default(),
            list => list.join(" "),
        };
        let mut text = String::new();
        for server in servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        for (keyword, value) in [("search", search), ("options", options)] {
            if !value.is_empty() {
                text.push_str(&format!("{keyword} {value}\n"));
            }
        }
        text
    }
}

/// Every user of the container reads these, whatever the daemon's umask.
fn write(path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}

/// Entries of `--add-host` and `--dns` go into files line by line.
///
/// # Errors
/// 400 for an entry that would become more than one line, or is not readable.
pub(crate) fn check(host: &HostConfig) -> crate::error::Result<()> {
    use crate::error::EngineError;
    for entry in host.extra_hosts.iter().flatten() {
        let fine = entry.split_once(':').is_some_and(|(name, address)| {
            let address = address.trim_matches(['[', ']']);
            !name.is_empty()
                && !name.contains(char::is_whitespace)
                && (address == "host-gateway" || address.parse::<std::net::IpAddr>().is_ok())
        });
        if !fine {
            return Err(EngineError::bad(format!(
                "bad format for add-host: \"{entry}\""
            )));
        }
    }
    for server in &host.dns {
        if server.parse::<std::net::IpAddr>().is_err() {
            return Err(EngineError::bad(format!(
                "invalid DNS server address: \"{server}\""
            )));
        }
    }
    for word in host.dns_search.iter().chain(&host.dns_options) {
        if word.contains(char::is_whitespace) || word.contains(char::is_control) {
            return Err(EngineError::bad(format!("invalid DNS option: \"{word}\"")));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "files/tests.rs"]
mod tests;
