//! The rule by which a component binds its address.
//!
//! On one machine every pod is a group of processes on an address of its own. A component that
//! binds an unspecified address would collide with every other pod, so it binds the pod's address,
//! which the node gives in `WEIR_POD_IP`.

use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpListener;

/// Environment variable that holds the pod's own address on one machine.
pub const POD_IP: &str = "WEIR_POD_IP";

/// Why an address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct Error {
    /// The address that was asked for, after the pod's address was put in.
    pub address: SocketAddr,
    /// The cause.
    #[source]
    pub source: std::io::Error,
}

/// Returns `address` with an unspecified host replaced by the pod's address when there is one.
pub fn effective(address: SocketAddr, pod_ip: Option<IpAddr>) -> SocketAddr {
    match pod_ip {
        Some(ip) if address.ip().is_unspecified() => SocketAddr::new(ip, address.port()),
        _ => address,
    }
}

/// Binds a listener by the rule of this module.
///
/// # Errors
/// When the address is taken or not allowed.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    let pod_ip = std::env::var(POD_IP)
        .ok()
        .and_then(|text| text.parse().ok());
    let address = effective(address, pod_ip);
    TcpListener::bind(address)
        .await
        .map_err(|source| Error { address, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unspecified_host_is_replaced() {
        let pod = Some("127.77.1.3".parse().unwrap());
        let rows = [
            ("0.0.0.0:8000", pod, "127.77.1.3:8000"),
            ("[::]:8000", pod, "127.77.1.3:8000"),
            ("127.0.0.1:9", pod, "127.0.0.1:9"),
            ("0.0.0.0:8000", None, "0.0.0.0:8000"),
        ];
        for (asked, pod_ip, bound) in rows {
            assert_eq!(
                effective(asked.parse().unwrap(), pod_ip).to_string(),
                bound,
                "{asked}"
            );
        }
    }
}
