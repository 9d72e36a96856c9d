//! Candidates: the pool, or what a gateway's hint leaves of it.

use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use crate::endpoint::Snapshot;

/// Endpoints that a request may go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidates {
    /// All of them.
    All,
    /// These positions of the snapshot.
    Some(Vec<u32>),
}

impl Candidates {
    /// The endpoints that a hint names by `ip` or `ip:port`. The port is not looked at: one address admits every rank
    /// of its pod. An item may itself be a list with commas.
    #[must_use]
    pub fn from_hint<'a>(snapshot: &Snapshot, hint: impl IntoIterator<Item = &'a str>) -> Self {
        let addresses: SmallVec<[IpAddr; 8]> = hint
            .into_iter()
            .flat_map(|item| item.split(','))
            .filter_map(|item| address(item.trim()))
            .collect();
        let positions = (0..)
            .zip(snapshot.endpoints())
            .filter(|(_, endpoint)| addresses.contains(&endpoint.address.ip()))
            .map(|(at, _)| at)
            .collect();
        Self::Some(positions)
    }

    /// The positions; `count` is the length of the snapshot, and what lies beyond it is left out.
    pub fn positions(&self, count: usize) -> impl Iterator<Item = u32> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let (all, some) = match self {
            Self::All => (count, [].as_slice()),
            Self::Some(some) => (0, some.as_slice()),
        };
        let known = some.iter().copied().filter(move |at| *at < count);
        (0..all).chain(known)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self, snapshot: &Snapshot) -> bool {
        match self {
            Self::All => snapshot.is_empty(),
            Self::Some(some) => some.is_empty(),
        }
    }
}

/// The address in `ip`, `[ip]`, `ip:port` or `[ip]:port`.
fn address(item: &str) -> Option<IpAddr> {
    let bare = item
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(item);
    bare.parse::<IpAddr>()
        .or_else(|_| item.parse::<SocketAddr>().map(|socket| socket.ip()))
        .ok()
        // The port may be anything: it is not looked at.
        .or_else(|| item.rsplit_once(':')?.0.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::endpoint::{Endpoint, Labels};

    #[test]
    fn a_hint_admits_by_address() {
        let addresses = [
            "10.0.0.1:8000",
            "10.0.0.1:8001",
            "10.0.0.2:8000",
            "[fd00::1]:8000",
        ];
        let endpoints = addresses.iter().enumerate().map(|(index, address)| {
            let name = format!("p{index}");
            Arc::new(Endpoint::new(
                "n",
                &name,
                None,
                address.parse().unwrap(),
                Labels::default(),
            ))
        });
        let snapshot = Snapshot::new(endpoints.collect());
        for (hint, expected) in [
            (&["10.0.0.1:8000"][..], &[0, 1][..]),
            (&["10.0.0.1:9999"], &[0, 1]),
            (&["10.0.0.2"], &[2]),
            (&["10.0.0.2, 10.0.0.1:1"], &[0, 1, 2]),
            (&["fd00::1"], &[3]),
            (&["[fd00::1]"], &[3]),
            (&["[fd00:0::1]:8000"], &[3]),
            (&["10.0.0.2:http"], &[2]),
            (&["10.0.0.9:8000"], &[]),
            (&[], &[]),
            (&["", "x", ":"], &[]),
        ] {
            let found = Candidates::from_hint(&snapshot, hint.iter().copied());
            let positions: Vec<u32> = found.positions(4).collect();
            assert_eq!(positions, expected, "{hint:?}");
        }
        assert_eq!(Candidates::All.positions(4).count(), 4);
        // Of another snapshot: nothing breaks.
        assert_eq!(
            Candidates::Some(vec![9, 1])
                .positions(4)
                .collect::<Vec<_>>(),
            [1]
        );
    }
}
