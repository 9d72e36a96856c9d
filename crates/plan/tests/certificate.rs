//! For whom a certificate is, and when it is made anew.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};
use weir_plan::{
    CERTIFICATE_REST_SECONDS, CertificateNames, CertificateVerdict, LiveCertificate,
    ServiceIdentity, certificate_names, certificate_verdict,
};

fn service() -> ServiceIdentity {
    ServiceIdentity {
        name: "m".to_owned(),
        namespace: "ns".to_owned(),
        ..ServiceIdentity::default()
    }
}

fn object(name: &str, component: &str, rest: &Value) -> Value {
    let mut object = json!({"metadata": {"labels": {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/part-of": "llminferenceservice",
        "app.kubernetes.io/component": component,
    }}});
    object
        .as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    object
}

fn names(spec: &Value, pods: &[Value], services: &[Value]) -> CertificateNames {
    certificate_names(
        &service(),
        spec,
        "cluster.local",
        Some("live-epp"),
        pods,
        services,
    )
}

fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn hosts_are_the_services_of_the_spec() {
    let picker = json!({"pool": {"spec": {"endpointPickerRef": {"name": "m-epp-service"}}}});
    let table = [
        (json!({}), vec!["m-kserve-workload-svc"]),
        (
            json!({"prefill": {}}),
            vec!["m-kserve-prefill-svc", "m-kserve-workload-svc"],
        ),
        (
            json!({"router": {"scheduler": picker}}),
            vec!["m-epp-service", "m-kserve-workload-svc"],
        ),
        (
            json!({"router": {"scheduler": {"pool": {"ref": {"name": "p"}}}}}),
            vec!["live-epp", "m-kserve-workload-svc"],
        ),
        (
            json!({"router": {"scheduler": {"tokenizer": {}}}}),
            vec!["live-epp", "m-kserve-workload-svc", "m-tokenizer"],
        ),
    ];
    for (spec, hosts) in table {
        let mut wanted = BTreeSet::from(["localhost".to_owned()]);
        for host in hosts {
            wanted.insert(format!("{host}.ns.svc"));
            wanted.insert(format!("{host}.ns.svc.cluster.local"));
        }
        assert_eq!(names(&spec, &[], &[]).dns, wanted, "{spec}");
    }
}

#[test]
fn addresses_are_those_of_pods_that_have_one() {
    let workload = "llminferenceservice-workload";
    let pods = [
        object(
            "m",
            workload,
            &json!({"status": {"podIP": "10.9.8.7", "podIPs": [{"ip": "10.9.8.7"}, {"ip": "fd00::7"}]}}),
        ),
        object(
            "m",
            workload,
            &json!({"status": {"phase": "Pending", "podIP": ""}}),
        ),
        object("m", "tokenizer", &json!({"status": {"podIP": "10.0.0.2"}})),
        object(
            "m",
            "llminferenceservice-router-scheduler",
            &json!({"status": {"podIP": "10.0.0.3"}}),
        ),
        object("other", workload, &json!({"status": {"podIP": "10.0.0.4"}})),
    ];
    let services = [
        object(
            "m",
            workload,
            &json!({"spec": {"clusterIP": "10.1.0.1", "clusterIPs": ["10.1.0.1", "fd01::1"]}}),
        ),
        object(
            "m",
            workload,
            &json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}}),
        ),
        object(
            "other",
            workload,
            &json!({"spec": {"clusterIP": "10.1.0.2"}}),
        ),
    ];
    let found = names(&json!({}), &pods, &services);
    assert_eq!(
        found.addresses,
        addresses(&["127.0.0.1", "10.9.8.7", "fd00::7", "10.0.0.2"])
    );
    assert_eq!(found.more, addresses(&["10.1.0.1", "fd01::1"]));
}

#[test]
fn a_certificate_stays_until_it_is_due_or_somebody_is_not_named() {
    use CertificateVerdict::{Keep, Later, Renew};
    let wanted = names(&json!({}), &[], &[]);
    let good = LiveCertificate {
        dns: wanted.dns.clone(),
        addresses: addresses(&["127.0.0.1", "10.0.0.1"]),
        not_before: 1_000,
        not_after: 100_000,
        expiration: Some(50_000),
    };
    let rest = CERTIFICATE_REST_SECONDS;
    let pod = addresses(&["127.0.0.1", "10.0.0.9"]);
    let spelled = addresses(&["127.0.0.1", "0a00:0:0::1"]);
    type Change<'a> = &'a dyn Fn(&mut LiveCertificate, &mut CertificateNames);
    let table: [(&str, i64, Change<'_>, CertificateVerdict); 12] = [
        ("as it should be", 2_000, &|_, _| {}, Keep),
        ("just before it is due", 49_999, &|_, _| {}, Keep),
        ("due", 50_000, &|_, _| {}, Renew),
        (
            "nothing says when it is due",
            99_999,
            &|live, _| live.expiration = None,
            Keep,
        ),
        (
            "no longer valid",
            100_000,
            &|live, _| live.expiration = None,
            Renew,
        ),
        (
            "a host is missing",
            1_001,
            &|_, wanted| wanted.dns = BTreeSet::from(["x".to_owned()]),
            Renew,
        ),
        (
            "more hosts than needed",
            2_000,
            &|live, _| live.dns.extend(["x".to_owned()]),
            Keep,
        ),
        (
            "a Service's address is missing",
            2_000,
            &|_, wanted| wanted.more = pod.clone(),
            Keep,
        ),
        (
            "a pod is missing",
            2_000,
            &|_, wanted| wanted.addresses = pod.clone(),
            Renew,
        ),
        (
            "a pod soon after the last one",
            1_010,
            &|_, wanted| wanted.addresses = pod.clone(),
            Later(rest - 10),
        ),
        (
            "the clock went back",
            900,
            &|_, wanted| wanted.addresses = pod.clone(),
            Renew,
        ),
        (
            "the same address spelled otherwise",
            2_000,
            &|live, wanted| {
                wanted.addresses = spelled.clone();
                live.addresses = addresses(&["127.0.0.1", "a00::1"]);
            },
            Keep,
        ),
    ];
    for (name, now, change, verdict) in table {
        let (mut live, mut wanted) = (good.clone(), wanted.clone());
        change(&mut live, &mut wanted);
        assert_eq!(certificate_verdict(&live, &wanted, now), verdict, "{name}");
    }
}
