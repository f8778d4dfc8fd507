//! The files that a sandbox sees instead of the image's: name servers, hosts,
//! host name.

use std::{fmt::Write, net::IpAddr};

/// Name servers when the host has none that a sandbox can reach: Google's, as
/// Docker uses.
const FALLBACK: &str = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n";

/// The host's resolver files, the first that names a reachable server counts.
/// The second is where systemd-resolved keeps the real ones.
pub(crate) const HOST_FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// A resolv.conf for a sandbox with its own loopback: the host's without the
/// servers that only the host can reach. `None` when none is left.
pub(crate) fn usable(host: &str) -> Option<String> {
    let mut text = String::new();
    let mut servers = 0;
    for line in host.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                // Sandboxes have IPv4 only.
                if address.is_some_and(|a| !a.is_loopback() && a.is_ipv4()) {
                    servers += 1;
                    let _ = writeln!(text, "{line}");
                }
            }
            Some("search" | "domain" | "options") => {
                let _ = writeln!(text, "{line}");
            }
            _ => {}
        }
    }
    (servers > 0).then_some(text)
}

/// What a sandbox gets, from the host's files in order.
pub(crate) fn resolv_conf<'a>(host: impl Iterator<Item = &'a str>) -> String {
    let mut usable = host.filter_map(usable);
    usable.next().unwrap_or_else(|| FALLBACK.to_owned())
}

/// The hosts file of a sandbox called `hostname`.
pub(crate) fn hosts(hostname: &str, address: Option<IpAddr>, extra: &[(String, IpAddr)]) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
        fe00::\tip6-localnet\nff00::\tip6-mcastprefix\n\
        ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
        .to_owned();
    for (name, address) in extra {
        let _ = writeln!(text, "{address}\t{name}");
    }
    if let Some(address) = address {
        let _ = writeln!(text, "{address}\t{hostname}");
    }
    text
}

#[cfg(test)]
#[path = "resolv/tests.rs"]
mod tests;
