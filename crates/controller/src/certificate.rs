//! The self-signed certificate that pods of a service present.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use serde_json::Value;
use weir_api::names::ChildNames;
use weir_plan::{CERTIFICATE_EXPIRATION, Certificate, ServiceIdentity};

use crate::Error;

/// Years until the certificate is renewed.
const RENEW_YEARS: i16 = 8;
/// Years it is valid.
const VALID_YEARS: i16 = 12;

/// The live certificate while it is whole and not due, else a new one.
pub(crate) fn ensure(
    service: &ServiceIdentity,
    domain: &str,
    live: Option<&Value>,
) -> Result<Certificate, Error> {
    live.and_then(reuse)
        .map_or_else(|| issue(service, domain), Ok)
}

fn reuse(secret: &Value) -> Option<Certificate> {
    let part = |key: &str| {
        secret
            .get("data")?
            .get(key)?
            .as_str()
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
    };
    let expiration = secret
        .pointer("/metadata/annotations")?
        .get(CERTIFICATE_EXPIRATION)?
        .as_str()?
        .to_owned();
    if expiration
        .parse::<jiff::Timestamp>()
        .is_ok_and(|due| due <= jiff::Timestamp::now())
    {
        return None;
    }
    let certificate = part("tls.crt")?;
    Some(Certificate {
        ca: part("ca.crt").unwrap_or_else(|| certificate.clone()),
        certificate,
        key: part("tls.key")?,
        expiration,
    })
}

fn issue(service: &ServiceIdentity, domain: &str) -> Result<Certificate, Error> {
    let host = format!(
        "{}.{}.svc",
        ChildNames::new(&service.name).workload_service(),
        service.namespace
    );
    let names = vec![
        format!("{host}.{domain}"),
        host,
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
    ];
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Kserve Self Signed");
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let today = jiff::Zoned::now()
        .with_time_zone(jiff::tz::TimeZone::UTC)
        .date();
    let month = today.month().unsigned_abs();
    params.not_before = rcgen::date_time_ymd(i32::from(today.year()), month, 1);
    params.not_after = rcgen::date_time_ymd(i32::from(today.year() + VALID_YEARS), month, 1);
    let key = KeyPair::generate()?;
    let certificate = STANDARD.encode(params.self_signed(&key)?.pem());
    Ok(Certificate {
        ca: certificate.clone(),
        certificate,
        key: STANDARD.encode(key.serialize_pem()),
        expiration: format!("{:04}-{month:02}-01T00:00:00Z", today.year() + RENEW_YEARS),
    })
}
