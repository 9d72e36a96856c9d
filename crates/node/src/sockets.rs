//! Listening sockets, from the tables of the kernel.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::processes::descendants;

/// A listening TCP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    /// As the links in `/proc/PID/fd` have it.
    pub(crate) link: String,
}

/// The listening sockets that process `pid` sees, whoever holds them.
pub(crate) fn listening(pid: &str) -> Vec<Listening> {
    ["tcp", "tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok())
        .flat_map(|table| table.lines().skip(1).filter_map(line).collect::<Vec<_>>())
        .collect()
}

/// What process `pid` holds open, as far as this user may see it.
pub(crate) fn links(pid: u32) -> impl Iterator<Item = String> {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|file| {
            fs::read_link(file.path())
                .ok()?
                .into_os_string()
                .into_string()
                .ok()
        })
}

/// Where process `root` and those below it listen for other machines.
pub(crate) fn beyond_loopback(root: u32) -> Vec<SocketAddr> {
    let wide: Vec<Listening> = listening(&root.to_string())
        .into_iter()
        .filter(|socket| !socket.address.ip().to_canonical().is_loopback())
        .collect();
    if wide.is_empty() {
        return Vec::new();
    }
    let mut tree = descendants(root);
    tree.push(root);
    let held: HashSet<String> = tree.into_iter().flat_map(links).collect();
    let mut found: Vec<SocketAddr> = wide
        .into_iter()
        .filter(|socket| held.contains(&socket.link))
        .map(|socket| socket.address)
        .collect();
    found.sort();
    found.dedup();
    found
}

/// A line of a table, where it is of a listening socket.
fn line(line: &str) -> Option<Listening> {
    let mut fields = line.split_whitespace().skip(1);
    let local = fields.next()?;
    if fields.nth(1)? != "0A" {
        return None;
    }
    let inode = fields.nth(5)?;
    Some(Listening {
        address: address(local)?,
        link: format!("socket:[{inode}]"),
    })
}

/// Words of four bytes in the machine's own order, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| {
        let digits = ip.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.as_flattened().try_into().ok()?;
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_the_tables_are_read() {
        let rows = [
            ("0100007F:1F40", "0A", Some("127.0.0.1:8000")),
            ("00000000:0050", "0A", Some("0.0.0.0:80")),
            ("00000000:0050", "01", None),
            (
                "00000000000000000000000000000000:0050",
                "0A",
                Some("[::]:80"),
            ),
            (
                "00000000000000000000000001000000:0050",
                "0A",
                Some("[::1]:80"),
            ),
            (
                "0000000000000000FFFF00000100007F:0050",
                "0A",
                Some("[::ffff:127.0.0.1]:80"),
            ),
            ("odd", "0A", None),
            ("é0000000:0050", "0A", None),
        ];
        for (local, state, wanted) in rows {
            let text = format!(
                "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  0  0 4711 1 0"
            );
            let found = line(&text);
            let shown = found.as_ref().map(|socket| socket.address.to_string());
            assert_eq!(shown.as_deref(), wanted, "{text}");
            assert!(found.is_none_or(|socket| socket.link == "socket:[4711]"));
        }
    }

    #[test]
    fn only_sockets_for_other_machines_are_found() {
        let wide = TcpListener::bind("0.0.0.0:0").unwrap();
        let own = TcpListener::bind("127.0.0.1:0").unwrap();
        let found = beyond_loopback(std::process::id());
        assert!(found.contains(&wide.local_addr().unwrap()), "{found:?}");
        assert!(!found.contains(&own.local_addr().unwrap()), "{found:?}");
        // A process that holds neither.
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let others = beyond_loopback(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(others, Vec::new());
    }
}
