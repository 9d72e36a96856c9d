//! Filters: which candidates stay.

mod label;
mod load;
mod prefix;

use std::net::{IpAddr, SocketAddr};

use crate::config::settings::Work;
use crate::context::Context;
use crate::endpoint::Role;
use crate::random::Random;
use crate::session;

pub(crate) use label::{ContextRange, Ranges};
pub(crate) use load::{Concurrency, Saturation, Utilization, float};

/// A filter of a profile.
#[derive(Debug)]
pub(crate) enum Filter {
    Role(Work),
    Label(LabelMask),
    ContextLength(Ranges),
    PrefixAffinity(Affinity),
    SloHeadroom { epsilon: f64 },
    Utilization(Conditions),
    UtilizationDetector(Utilization),
    ConcurrencyDetector(Concurrency),
    Session(session::Affinity),
    HeaderTest,
}

pub(crate) use label::LabelMask;
pub(crate) use load::Conditions;
pub(crate) use prefix::Affinity;

/// Header that names the endpoints to take, in conformance tests.
const TEST_HEADER: &str = "test-epp-endpoint-selection";

impl Filter {
    /// Removes from `candidates` what does not pass. `spare` is a buffer.
    pub(crate) fn apply(
        &self,
        context: &Context<'_>,
        candidates: &mut Vec<u32>,
        spare: &mut Vec<u32>,
        random: &mut Random,
    ) {
        match self {
            Self::Role(work) => candidates.retain(|at| does(context.endpoint(*at).role(), *work)),
            Self::Label(mask) => mask.apply(context.snapshot, candidates),
            Self::ContextLength(ranges) => {
                let length = context.prompt_tokens;
                ranges.retain(context.snapshot, candidates, |range| match range {
                    ContextRange::Missing => true,
                    ContextRange::Malformed => false,
                    ContextRange::Between(least, most) => (*least..=*most).contains(&length),
                });
            }
            Self::PrefixAffinity(affinity) => affinity.apply(context, candidates, spare, random),
            Self::SloHeadroom { epsilon } => {
                prefix::slo_headroom(context, *epsilon, candidates, spare, random);
            }
            Self::Utilization(conditions) => conditions.apply(context, candidates, spare),
            Self::UtilizationDetector(detector) => detector.filter(context, candidates, spare),
            Self::ConcurrencyDetector(detector) => detector.filter(context, candidates),
            Self::Session(session) => {
                if let Some(bound) = session.endpoint(context)
                    && candidates.contains(&bound)
                {
                    candidates.clear();
                    candidates.push(bound);
                }
            }
            Self::HeaderTest => header_test(context, candidates, spare),
        }
    }
}

fn does(role: Role, work: Work) -> bool {
    match work {
        Work::Decode => role.decodes(),
        Work::Prefill => role.prefills(),
        Work::Encode => role.encodes(),
    }
}

/// Keeps what the header names, in its order and the first of each address.
fn header_test(context: &Context<'_>, candidates: &mut Vec<u32>, spare: &mut Vec<u32>) {
    spare.clear();
    let named = context.request.headers.header(TEST_HEADER).unwrap_or("");
    let mut seen: Vec<IpAddr> = Vec::new();
    for item in named.split(',').map(str::trim) {
        let (address, port) = match (item.parse::<IpAddr>(), item.parse::<SocketAddr>()) {
            (Ok(address), _) => (address, None),
            (_, Ok(socket)) => (socket.ip(), Some(socket.port())),
            _ => continue,
        };
        if seen.contains(&address) {
            continue;
        }
        let found = candidates.iter().find(|at| {
            let own = context.endpoint(**at).address;
            own.ip() == address && port.is_none_or(|port| port == own.port())
        });
        if let Some(found) = found {
            seen.push(address);
            spare.push(*found);
        }
    }
    std::mem::swap(candidates, spare);
}
