//! Certificates that were made are read back, and kept.

use serde_json::json;

use super::*;

const ANNOTATION: &str = "certificates.kserve.io/expiration";

fn wanted() -> CertificateNames {
    CertificateNames {
        dns: BTreeSet::from(["localhost".to_owned(), "m.ns.svc".to_owned()]),
        addresses: BTreeSet::from([IpAddr::from([127, 0, 0, 1])]),
        more: BTreeSet::from([IpAddr::from([10, 0, 0, 1])]),
    }
}

fn secret(certificate: &Certificate, version: &str) -> Value {
    let annotations = certificate.expiration.iter().cloned();
    let annotations: serde_json::Map<_, _> = annotations.map(|(k, v)| (k, json!(v))).collect();
    json!({
        "metadata": {"uid": "u", "resourceVersion": version, "annotations": annotations},
        "data": {
            "ca.crt": certificate.ca,
            "tls.crt": certificate.certificate,
            "tls.key": certificate.key,
        },
    })
}

fn made(live: Option<&Value>, wanted: &CertificateNames) -> Certificate {
    let annotations = [ANNOTATION.to_owned()];
    let made = ensure(&Memory::default(), wanted, live, &annotations);
    made.expect("a certificate").0
}

#[test]
fn a_new_certificate_is_for_everything_and_is_kept() {
    let first = made(None, &wanted());
    let live = secret(&first, "1");
    let stored = read(&live, &[ANNOTATION.to_owned()]).expect("reads back");
    assert_eq!(stored.live.dns, wanted().dns);
    let all: BTreeSet<_> = wanted().addresses.union(&wanted().more).copied().collect();
    assert_eq!(stored.live.addresses, all);
    let years = (stored.live.not_after - stored.live.not_before) / (365 * 24 * 3600);
    assert_eq!(years, 12);
    let due = stored.live.expiration.expect("says when it is due");
    assert_eq!((due - stored.live.not_before) / (365 * 24 * 3600), 8);
    assert_eq!(made(Some(&live), &wanted()), first);
    let key = STANDARD.decode(&first.key).expect("base64");
    assert!(key.starts_with(b"-----BEGIN PRIVATE KEY-----"));
    assert_eq!(first.ca.as_ref(), Some(&first.certificate));
}

#[test]
fn what_cannot_serve_is_made_anew() {
    let first = made(None, &wanted());
    let other = made(None, &wanted());
    let table = [
        ("no key", json!({"data": {"tls.key": null}})),
        ("no certificate", json!({"data": {"tls.crt": null}})),
        ("an empty key", json!({"data": {"tls.key": ""}})),
        (
            "a key that is none",
            json!({"data": {"tls.key": STANDARD.encode("x")}}),
        ),
        (
            "a certificate that is none",
            json!({"data": {"tls.crt": STANDARD.encode("x")}}),
        ),
        (
            "somebody else's key",
            json!({"data": {"tls.key": other.key}}),
        ),
        (
            "due",
            json!({"metadata": {"annotations": {ANNOTATION: "2020-01-01T00:00:00Z"}}}),
        ),
    ];
    for (name, patch) in table {
        let mut live = secret(&first, "1");
        merge(&mut live, &patch);
        assert_ne!(
            made(Some(&live), &wanted()).certificate,
            first.certificate,
            "{name}"
        );
    }
    let mut more = wanted();
    more.dns.insert("x.ns.svc".to_owned());
    let live = secret(&first, "1");
    assert_ne!(made(Some(&live), &more).certificate, first.certificate);
}

#[test]
fn what_others_wrote_on_the_secret_is_no_reason() {
    let first = made(None, &wanted());
    let table = [
        (
            "a foreign annotation",
            json!({"metadata": {"annotations": {"x": "y"}}}),
        ),
        ("no expiration", json!({"metadata": {"annotations": null}})),
        (
            "an expiration that is none",
            json!({"metadata": {"annotations": {ANNOTATION: "soon"}}}),
        ),
        ("no authority", json!({"data": {"ca.crt": null}})),
    ];
    for (name, patch) in table {
        let mut live = secret(&first, "1");
        merge(&mut live, &patch);
        assert_eq!(
            made(Some(&live), &wanted()).certificate,
            first.certificate,
            "{name}"
        );
    }
}

#[test]
fn the_first_annotation_that_is_there_decides_and_stays() {
    let first = made(None, &wanted());
    let mut live = secret(&first, "1");
    merge(
        &mut live,
        &json!({"metadata": {"annotations": {ANNOTATION: null, "old": "2999-01-01T00:00:00Z"}}}),
    );
    let annotations = ["new".to_owned(), "old".to_owned(), ANNOTATION.to_owned()];
    let kept = ensure(&Memory::default(), &wanted(), Some(&live), &annotations);
    let (kept, _) = kept.expect("kept");
    let expiration = Some(("old".to_owned(), "2999-01-01T00:00:00Z".to_owned()));
    assert_eq!(kept.expiration, expiration);
}

#[test]
fn pods_that_come_soon_after_the_last_certificate_wait() {
    let first = made(None, &wanted());
    let live = secret(&first, "1");
    let mut more = wanted();
    more.addresses.insert(IpAddr::from([10, 0, 0, 9]));
    let memory = Memory::default();
    let (kept, wait) = ensure(&memory, &more, Some(&live), &[ANNOTATION.to_owned()]).expect("kept");
    assert_eq!(kept, first);
    assert!(
        wait.is_some_and(|wait| wait <= Duration::from_secs(30)),
        "{wait:?}"
    );
}

#[test]
fn a_secret_that_changed_is_read_again() {
    let (first, second) = (made(None, &wanted()), made(None, &wanted()));
    let memory = Memory::default();
    for (certificate, version) in [(&first, "1"), (&second, "2"), (&first, "3")] {
        let live = secret(certificate, version);
        let (kept, _) = ensure(&memory, &wanted(), Some(&live), &[]).expect("kept");
        assert_eq!(kept.certificate, certificate.certificate, "{version}");
    }
}

fn merge(object: &mut Value, patch: &Value) {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    object.remove(key);
                } else {
                    merge(object.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (object, patch) => *object = patch.clone(),
    }
}
