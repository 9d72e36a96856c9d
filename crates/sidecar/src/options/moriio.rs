//! Settings of AMD's MoRI-IO, by flags only.

use std::time::Duration;

use super::{Error, invalid};
use crate::flags::Given;

/// AMD's MoRI-IO, whose parameters travel with requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moriio {
    /// Prefill pushes blocks to decode.
    pub write_mode: bool,
    /// Address of this pod, for the prefill leg.
    pub local_pod_ip: String,
    /// Notify port of the decode pod.
    pub decode_notify_port: i64,
    /// Handshake port of the decode pod.
    pub decode_handshake_port: i64,
    /// Notify port of the prefill pod.
    pub prefill_notify_port: i64,
    /// Handshake port of the prefill pod.
    pub prefill_handshake_port: i64,
    /// Both legs at once.
    pub parallel: bool,
    /// Longest wait for prefill in parallel dispatch.
    pub wait: Duration,
    /// Tensor parallelism, echoed.
    pub tp_size: i64,
    /// Data parallelism, echoed.
    pub dp_size: i64,
    /// Ranks of one pod.
    pub dp_size_local: i64,
    /// Prefill-side pods.
    pub remote_hosts: Vec<String>,
    /// Decode-side pods.
    pub decode_hosts: Vec<String>,
}

impl Moriio {
    /// Reads the flags; `pod_ip` is what the environment says of this pod.
    pub(super) fn new(given: &Given, pod_ip: Option<&str>) -> Self {
        let number = |name, default| given.number(name).unwrap_or(default);
        let list = |name| {
            let list = given.list(name).unwrap_or_default().iter();
            list.map(|host| host.trim().to_owned())
                .filter(|host| !host.is_empty())
                .collect()
        };
        let wait = given
            .duration("moriio-parallel-decode-wait-timeout")
            .and_then(|nanoseconds| u64::try_from(nanoseconds).ok())
            .filter(|nanoseconds| *nanoseconds > 0)
            .map_or(Duration::from_secs(30), Duration::from_nanos);
        Self {
            write_mode: given.switch("moriio-write-mode").unwrap_or(false),
            local_pod_ip: given
                .text("moriio-local-pod-ip")
                .filter(|address| !address.is_empty())
                .or(pod_ip)
                .unwrap_or_default()
                .to_owned(),
            decode_notify_port: number("moriio-decode-notify-port", 61_005),
            decode_handshake_port: number("moriio-decode-handshake-port", 6301),
            prefill_notify_port: number("moriio-prefill-notify-port", 61_005),
            prefill_handshake_port: number("moriio-prefill-handshake-port", 6301),
            parallel: given.switch("moriio-parallel-dispatch").unwrap_or(false),
            wait,
            tp_size: number("moriio-tp-size", 1),
            dp_size: number("moriio-dp-size", 1),
            dp_size_local: number("moriio-dp-size-local", 0),
            remote_hosts: list("moriio-remote-hosts"),
            decode_hosts: list("moriio-decode-hosts"),
        }
    }

    /// Says what does not go together.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.write_mode && self.local_pod_ip.is_empty() {
            return invalid(
                "--moriio-write-mode requires --moriio-local-pod-ip (or the POD_IP env var) set to decode's routable pod IP",
            );
        }
        if self.parallel && !self.write_mode {
            return invalid("--moriio-parallel-dispatch requires --moriio-write-mode");
        }
        for (name, hosts) in [
            ("--moriio-remote-hosts", &self.remote_hosts),
            ("--moriio-decode-hosts", &self.decode_hosts),
        ] {
            let count = hosts.len();
            let (size, local) = (self.dp_size, self.dp_size_local);
            if count <= 1 {
                continue;
            }
            if local <= 0 {
                return invalid(format!(
                    "{name} has {count} entries but --moriio-dp-size-local is {local}; Wide-EP multi-pod requires dp-size-local > 0 so vLLM can compute pod_idx = dp_rank / dp_size_local"
                ));
            }
            if size % local != 0 {
                return invalid(format!(
                    "--moriio-dp-size ({size}) must be divisible by --moriio-dp-size-local ({local}) for Wide-EP multi-pod ({name})"
                ));
            }
            if size / local != i64::try_from(count).unwrap_or(i64::MAX) {
                return invalid(format!(
                    "{name} has {count} entries but dp-size/dp-size-local = {}; the count of hosts must match the number of pods so the per-rank pod_idx mapping covers every DP rank",
                    size / local
                ));
            }
        }
        Ok(())
    }
}
