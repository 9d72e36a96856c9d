//! Which names the serving certificate of a service is for, and when it is made anew.
//!
//! Every pod of a service presents one certificate. Making it anew costs every client a look at it, so it is kept
//! until it is due or somebody could not be reached under it; pods that come in quick succession cause one new
//! certificate, not one each.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;
use weir_api::names::{ChildNames, label, value};

use crate::{ServiceIdentity, items, present, text};

/// Seconds that a certificate is kept at least when only addresses of pods are missing from it.
pub const CERTIFICATE_REST_SECONDS: i64 = 30;

/// What a certificate is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// Host names.
    pub dns: BTreeSet<String>,
    /// Addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Addresses that are put in when a certificate is made, but are no reason to make one: those of Services,
    /// which have names, and come into being after the first certificate.
    pub more: BTreeSet<IpAddr>,
}

/// What is known of the certificate that a service has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveCertificate {
    /// Host names that it is for.
    pub dns: BTreeSet<String>,
    /// Addresses that it is for.
    pub addresses: BTreeSet<IpAddr>,
    /// When it became valid, in seconds since 1970.
    pub not_before: i64,
    /// Until when it is valid, in seconds since 1970.
    pub not_after: i64,
    /// When it is to be renewed, in seconds since 1970; `None` when nothing readable says.
    pub expiration: Option<i64>,
}

/// What is to happen with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateVerdict {
    /// It stays.
    Keep,
    /// It stays for now, and is looked at again after so many seconds.
    Later(i64),
    /// A new one is made.
    Renew,
}

/// What the certificate of a service has to be for: its Services by name, its pods by address.
///
/// `pods` and `services` are objects of the service's namespace; those of other services are passed over. `picker`
/// is the Service of the picker where the effective spec does not name it.
#[must_use]
pub fn certificate_names<'a>(
    service: &ServiceIdentity,
    spec: &Value,
    domain: &str,
    picker: Option<&str>,
    pods: impl IntoIterator<Item = &'a Value>,
    services: impl IntoIterator<Item = &'a Value>,
) -> CertificateNames {
    let names = ChildNames::new(&service.name);
    let mut hosts = vec![names.workload_service()];
    if present(spec, "/prefill") {
        hosts.push(names.prefill_service());
    }
    let scheduler = "/router/scheduler";
    if present(spec, scheduler) {
        let named = text(
            spec,
            &format!("{scheduler}/pool/spec/endpointPickerRef/name"),
        );
        let named = Some(named).filter(|name| !name.is_empty()).or(picker);
        hosts.extend(named.map(str::to_owned));
        if present(spec, &format!("{scheduler}/tokenizer")) {
            hosts.push(names.tokenizer());
        }
    }
    let mut found = CertificateNames {
        dns: BTreeSet::from(["localhost".to_owned()]),
        addresses: BTreeSet::from([IpAddr::V4(Ipv4Addr::LOCALHOST)]),
        more: BTreeSet::new(),
    };
    for host in hosts {
        let host = format!("{host}.{}.svc", service.namespace);
        found.dns.insert(format!("{host}.{domain}"));
        found.dns.insert(host);
    }
    let pods = pods.into_iter().filter(|pod| is_of(service, pod));
    for pod in pods.filter(|pod| !is_picker(pod)) {
        let many = items(pod, "/status/podIPs")
            .iter()
            .map(|ip| text(ip, "/ip"));
        let all = many.chain([text(pod, "/status/podIP")]);
        found.addresses.extend(all.filter_map(address));
    }
    for service in services.into_iter().filter(|other| is_of(service, other)) {
        let many = items(service, "/spec/clusterIPs");
        let all = many.iter().filter_map(Value::as_str);
        let all = all.chain([text(service, "/spec/clusterIP")]);
        found.more.extend(all.filter_map(address));
    }
    found
}

/// An address, if the text is one: pods that wait have none, and headless Services have `None`.
fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

fn is_of(service: &ServiceIdentity, object: &Value) -> bool {
    let labels = &object["metadata"]["labels"];
    labels[label::NAME] == service.name.as_str() && labels[label::PART_OF] == value::PART_OF
}

fn is_picker(pod: &Value) -> bool {
    pod["metadata"]["labels"][label::COMPONENT] == value::COMPONENT_SCHEDULER
}

/// What is to happen with a live certificate at `now`, in seconds since 1970.
#[must_use]
pub fn certificate_verdict(
    live: &LiveCertificate,
    wanted: &CertificateNames,
    now: i64,
) -> CertificateVerdict {
    let due = live.expiration.is_some_and(|due| due <= now);
    if due || live.not_after <= now || !wanted.dns.is_subset(&live.dns) {
        return CertificateVerdict::Renew;
    }
    if wanted.addresses.is_subset(&live.addresses) {
        return CertificateVerdict::Keep;
    }
    // A clock that went back does not stop a renewal.
    let age = now.saturating_sub(live.not_before);
    let rest = CERTIFICATE_REST_SECONDS.saturating_sub(age);
    if (1..=CERTIFICATE_REST_SECONDS).contains(&rest) {
        CertificateVerdict::Later(rest)
    } else {
        CertificateVerdict::Renew
    }
}
