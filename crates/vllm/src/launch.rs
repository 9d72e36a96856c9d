//! What the start of an engine takes from the pod it finds itself in: its first data-parallel rank, the
//! address of its leader, the network devices.
//!
//! Everything is decided from facts that the caller read; nothing here looks at the machine. The rules
//! for devices are those of KServe's start script, which users know by its variables.

use std::collections::BTreeMap;

/// Stands in the words for the first rank of the pod.
pub const START_RANK: &str = "$(WEIR_START_RANK)";
/// What a GID's kind must contain, unless [`PATTERN`] says otherwise.
pub const ROCE_V2: &str = "RoCE v2";
/// Variable: what a GID's kind must contain.
pub const PATTERN: &str = "KSERVE_INFER_IB_GID_INDEX_GREP";
/// Variable: how often the leader's name is looked up, [`ATTEMPTS`] by default.
pub const ATTEMPTS_ENV: &str = "DP_ADDRESS_RESOLVE_ATTEMPTS";
/// How often the leader's name is looked up.
pub const ATTEMPTS: u32 = 30;
/// Longest that a variable can make the launcher try.
const MOST_ATTEMPTS: u32 = 3600;

/// The index that virtual functions usually have; it wins a tie.
const USUAL_INDEX: u32 = 3;

/// Port 1 of a network device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Name, `mlx5_0`.
    pub name: String,
    /// State, `4: ACTIVE`.
    pub state: String,
    /// Its addresses, by index.
    pub gids: BTreeMap<u32, Gid>,
}

/// One address of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gid {
    /// `IB/RoCE v1` or `RoCE v2`.
    pub kind: String,
    /// Eight groups of hexadecimal digits.
    pub value: String,
}

/// The first rank of the worker `index` when each node has `per_node`.
///
/// # Errors
/// When `index` is not a number, or the rank is beyond any.
pub fn start_rank(index: &str, per_node: u32) -> Result<u64, String> {
    let number: u32 = index
        .parse()
        .map_err(|_| format!("worker index {index:?} is not a number"))?;
    Ok(u64::from(number) * u64::from(per_node))
}

/// A word with `rank` in place of [`START_RANK`], and with `address` where the word, or the value of
/// the flag that it is, is the leader's name.
pub fn filled(word: &str, rank: Option<u64>, leader: Option<(&str, &str)>) -> String {
    let word = match rank {
        Some(rank) => word.replace(START_RANK, &rank.to_string()),
        None => word.to_owned(),
    };
    let Some((name, address)) = leader.filter(|(name, _)| !name.is_empty()) else {
        return word;
    };
    if word == name {
        return address.to_owned();
    }
    match word.split_once('=') {
        Some((flag, value)) if flag.starts_with("--") && value == name => {
            format!("{flag}={address}")
        }
        _ => word,
    }
}

/// How often the leader's name is looked up, from the variable [`ATTEMPTS_ENV`].
pub fn attempts(variable: Option<&str>) -> u32 {
    let asked = variable.and_then(|text| text.parse().ok());
    asked.unwrap_or(ATTEMPTS).clamp(1, MOST_ATTEMPTS)
}

/// Variables of NCCL, NVSHMEM and UCX for the devices that are up and speak RoCE; `set` tells what is
/// set already, which stays. `pattern` is what a GID's kind must contain.
pub fn device_variables(
    devices: &[Device],
    pattern: &str,
    set: impl Fn(&str) -> Option<String>,
) -> Vec<(&'static str, String)> {
    let up: Vec<&Device> = devices
        .iter()
        .filter(|device| device.name.starts_with("mlx5_") && device.state.contains("ACTIVE"))
        .filter(|device| device.gids.values().any(|gid| gid.kind.contains(pattern)))
        .collect();
    if up.is_empty() {
        return Vec::new();
    }
    let joined = |suffix: &str| -> String {
        let names: Vec<String> = up
            .iter()
            .map(|device| format!("{}{suffix}", device.name))
            .collect();
        names.join(",")
    };
    let mut variables = vec![
        ("NCCL_IB_HCA", joined("")),
        ("NVSHMEM_HCA_LIST", joined(":1")),
        ("UCX_NET_DEVICES", joined(":1")),
    ];
    let chosen = set("NCCL_IB_GID_INDEX").filter(|index| !index.is_empty());
    if let Some(index) = chosen.or_else(|| usual_index(&up, pattern).map(|i| i.to_string())) {
        for name in [
            "NCCL_IB_GID_INDEX",
            "NVSHMEM_IB_GID_INDEX",
            "UCX_IB_GID_INDEX",
        ] {
            variables.push((name, index.clone()));
        }
    }
    variables.retain(|(name, _)| set(name).is_none_or(|value| value.is_empty()));
    variables
}

/// The index of the first fitting IPv4 address, that most devices have.
fn usual_index(devices: &[&Device], pattern: &str) -> Option<u32> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for device in devices {
        let mut fitting = device
            .gids
            .iter()
            .filter(|(_, gid)| gid.kind.contains(pattern) && is_ipv4(&gid.value));
        if let Some((index, _)) = fitting.next() {
            *counts.entry(*index).or_default() += 1;
        }
    }
    let most = counts.values().max()?;
    if counts.get(&USUAL_INDEX) == Some(most) {
        return Some(USUAL_INDEX);
    }
    counts
        .iter()
        .find(|(_, count)| *count == most)
        .map(|(index, _)| *index)
}

/// Whether a GID stands for an IPv4 address.
fn is_ipv4(gid: &str) -> bool {
    gid.parse::<std::net::Ipv6Addr>()
        .is_ok_and(|address| address.to_ipv4_mapped().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "0000:0000:0000:0000:0000:ffff:0a00:0001";
    const LOCAL: &str = "fe80:0000:0000:0000:0ac0:ebff:fe12:ffff";

    fn device(name: &str, state: &str, gids: &[(u32, &str, &str)]) -> Device {
        let gids = gids.iter().map(|(index, kind, value)| {
            let gid = Gid {
                kind: (*kind).to_owned(),
                value: (*value).to_owned(),
            };
            (*index, gid)
        });
        Device {
            name: name.to_owned(),
            state: state.to_owned(),
            gids: gids.collect(),
        }
    }

    #[test]
    fn ranks_and_leaders_in_words() {
        assert_eq!(start_rank("3", 8), Ok(24));
        assert!(start_rank("x", 8).is_err());
        let leader = Some(("s-0.s.n", "10.0.0.7"));
        let rows = [
            ("$(WEIR_START_RANK)", Some(8), leader, "8"),
            ("--r=$(WEIR_START_RANK)", Some(8), None, "--r=8"),
            ("$(WEIR_START_RANK)", None, None, "$(WEIR_START_RANK)"),
            ("s-0.s.n", None, leader, "10.0.0.7"),
            (
                "--master-addr=s-0.s.n",
                None,
                leader,
                "--master-addr=10.0.0.7",
            ),
            ("http://s-0.s.n/x", None, leader, "http://s-0.s.n/x"),
            ("a=s-0.s.n", None, leader, "a=s-0.s.n"),
            ("", None, Some(("", "10.0.0.7")), ""),
        ];
        for (word, rank, leader, wanted) in rows {
            assert_eq!(filled(word, rank, leader), wanted, "{word}");
        }
        let rows = [(None, 30), (Some("5"), 5), (Some("0"), 1), (Some("x"), 30)];
        for (variable, wanted) in rows {
            assert_eq!(attempts(variable), wanted, "{variable:?}");
        }
    }

    #[test]
    fn devices_that_are_up_and_their_index() {
        let v2 = |index| (index, ROCE_V2, V4);
        let up = |name: &str, indices: &[u32]| {
            let gids: Vec<_> = indices.iter().map(|index| v2(*index)).collect();
            device(name, "4: ACTIVE", &gids)
        };
        let rows: [(&str, Vec<Device>, &str, &str); 8] = [
            ("none", vec![], "", ""),
            (
                "down, of another kind, of another maker",
                vec![
                    device("mlx5_0", "1: DOWN", &[v2(3)]),
                    device("mlx5_1", "4: ACTIVE", &[(3, "IB/RoCE v1", V4)]),
                    up("bnxt_0", &[3]),
                ],
                "",
                "",
            ),
            (
                "two",
                vec![up("mlx5_0", &[3]), up("mlx5_1", &[3])],
                "",
                "NCCL_IB_HCA=mlx5_0,mlx5_1 NVSHMEM_HCA_LIST=mlx5_0:1,mlx5_1:1 \
                 UCX_NET_DEVICES=mlx5_0:1,mlx5_1:1 \
                 NCCL_IB_GID_INDEX=3 NVSHMEM_IB_GID_INDEX=3 UCX_IB_GID_INDEX=3",
            ),
            (
                "the most frequent",
                vec![
                    up("mlx5_0", &[5]),
                    up("mlx5_1", &[1]),
                    up("mlx5_2", &[5, 7]),
                ],
                "NCCL_IB_HCA NVSHMEM_HCA_LIST UCX_NET_DEVICES",
                "NCCL_IB_GID_INDEX=5 NVSHMEM_IB_GID_INDEX=5 UCX_IB_GID_INDEX=5",
            ),
            (
                "3 wins a tie",
                vec![up("mlx5_0", &[1]), up("mlx5_1", &[3])],
                "NCCL_IB_HCA NVSHMEM_HCA_LIST UCX_NET_DEVICES",
                "NCCL_IB_GID_INDEX=3 NVSHMEM_IB_GID_INDEX=3 UCX_IB_GID_INDEX=3",
            ),
            (
                "the first that is IPv4",
                vec![device(
                    "mlx5_0",
                    "4: ACTIVE",
                    &[
                        (0, "IB/RoCE v1", LOCAL),
                        (1, ROCE_V2, LOCAL),
                        (2, "IB/RoCE v1", V4),
                        v2(4),
                    ],
                )],
                "NCCL_IB_HCA NVSHMEM_HCA_LIST UCX_NET_DEVICES",
                "NCCL_IB_GID_INDEX=4 NVSHMEM_IB_GID_INDEX=4 UCX_IB_GID_INDEX=4",
            ),
            (
                "no IPv4",
                vec![device("mlx5_0", "4: ACTIVE", &[(1, ROCE_V2, LOCAL)])],
                "NVSHMEM_HCA_LIST",
                "NCCL_IB_HCA=mlx5_0 UCX_NET_DEVICES=mlx5_0:1",
            ),
            (
                "a given index is taken for the others",
                vec![up("mlx5_0", &[3])],
                "NCCL_IB_HCA NVSHMEM_HCA_LIST UCX_NET_DEVICES NCCL_IB_GID_INDEX",
                "NVSHMEM_IB_GID_INDEX=set UCX_IB_GID_INDEX=set",
            ),
        ];
        for (row, devices, set, wanted) in rows {
            let is_set = |name: &str| {
                set.split(' ')
                    .any(|own| own == name)
                    .then(|| "set".to_owned())
            };
            let found: Vec<String> = device_variables(&devices, ROCE_V2, is_set)
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            assert_eq!(found.join(" "), wanted, "{row}");
        }
    }
}
