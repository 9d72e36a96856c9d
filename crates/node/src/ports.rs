//! Ports that a container wants and another program holds.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};

use serde_json::Value;

use crate::sockets;

/// A message when a TCP port of `container` on `ip` is taken; the holder is named where it can be read.
pub fn conflict(container: &Value, ip: Ipv4Addr) -> Option<String> {
    let ports = container["ports"].as_array()?;
    let tcp = ports
        .iter()
        .filter(|port| port["protocol"].as_str().is_none_or(|p| p == "TCP"));
    let taken = tcp
        .filter_map(|port| u16::try_from(port["containerPort"].as_u64()?).ok())
        .find(|port| {
            TcpListener::bind((ip, *port)).is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
        })?;
    let holder = holder(taken)
        .map(|(pid, name)| format!(" by {name} (pid {pid})"))
        .unwrap_or_default();
    Some(format!(
        "port {taken} is in use on every address of this machine or on {ip}{holder}; stop that program"
    ))
}

/// The process that listens on `port`, as far as this user may see.
fn holder(port: u16) -> Option<(u32, String)> {
    let wanted: Vec<String> = sockets::listening("self")
        .into_iter()
        .filter(|socket| socket.address.port() == port)
        .map(|socket| socket.link)
        .collect();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let holds = sockets::links(pid).any(|link| wanted.contains(&link));
        if holds {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some((pid, name.trim().to_owned()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_taken_port_is_told_with_its_holder() {
        let ip = Ipv4Addr::LOCALHOST;
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let container = json!({"ports": [{"containerPort": port}]});
        let message = conflict(&container, ip).unwrap();
        assert!(
            message.contains(&format!("pid {}", std::process::id())),
            "{message}"
        );
        drop(listener);
        assert_eq!(conflict(&container, ip), None);
    }
}
