//! The self-signed certificate that pods of a service present: read, kept while it serves, made anew.
//!
//! What it is for and when it is due is decided by `weir_plan`; here are the formats. A new one is announced by the
//! Secret alone: engines, sidecars and pickers reload it without a restart.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType, date_time_ymd,
};
use serde_json::Value;
use weir_plan::{
    Certificate, CertificateNames, CertificateVerdict, LiveCertificate, certificate_verdict,
};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

use crate::Error;

/// Days until the certificate is renewed: eight years.
const RENEW_DAYS: i64 = 8 * 365 + 2;
/// Days that it is valid: twelve years.
const VALID_DAYS: i64 = 12 * 365 + 3;
/// Certificates that [`Memory`] holds at most.
const REMEMBERED: usize = 16_384;

/// What was read of each Secret, by its uid and version: parsing a key is the dearest part of a pass.
#[derive(Default)]
pub(crate) struct Memory(Mutex<HashMap<String, Seen>>);

/// One Secret: the version that was read, and what it held.
struct Seen {
    version: String,
    stored: Option<Arc<Stored>>,
}

/// A certificate out of a Secret.
struct Stored {
    live: LiveCertificate,
    certificate: Certificate,
}

impl Memory {
    fn read(&self, secret: &Value, annotations: &[String]) -> Option<Arc<Stored>> {
        let text = |pointer| secret.pointer(pointer).and_then(Value::as_str);
        let uid = text("/metadata/uid").unwrap_or_default();
        let version = text("/metadata/resourceVersion").unwrap_or_default();
        let version = format!("{version} {annotations:?}");
        let mut known = self.0.lock();
        if let Some(seen) = known.get(uid).filter(|seen| seen.version == version) {
            return seen.stored.clone();
        }
        let stored = read(secret, annotations).map(Arc::new);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        let seen = Seen {
            version,
            stored: stored.clone(),
        };
        known.insert(uid.to_owned(), seen);
        stored
    }
}

/// The certificate of a service: the live one while it serves, else a new one. Also answers after how long to look
/// again, where a new one is held back.
///
/// # Errors
/// When no certificate can be made.
pub(crate) fn ensure(
    memory: &Memory,
    wanted: &CertificateNames,
    live: Option<&Value>,
    annotations: &[String],
) -> Result<(Certificate, Option<Duration>), Error> {
    let now = Timestamp::now();
    if let Some(stored) = live.and_then(|live| memory.read(live, annotations)) {
        match certificate_verdict(&stored.live, wanted, now.as_second()) {
            CertificateVerdict::Keep => return Ok((stored.certificate.clone(), None)),
            CertificateVerdict::Later(seconds) => {
                let wait = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
                return Ok((stored.certificate.clone(), Some(wait)));
            }
            CertificateVerdict::Renew => {}
        }
    }
    Ok((issue(wanted, annotations, now)?, None))
}

/// Reads the certificate of a Secret; none where a part is missing, unreadable, or not of the others.
fn read(secret: &Value, annotations: &[String]) -> Option<Stored> {
    let part = |key: &str| {
        let part = secret.get("data")?.get(key)?.as_str()?;
        (!part.is_empty()).then(|| part.to_owned())
    };
    let decoded = |part: &str| STANDARD.decode(part).ok();
    let (certificate, key) = (part("tls.crt")?, part("tls.key")?);
    let pair = KeyPair::from_pem(&String::from_utf8(decoded(&key)?).ok()?).ok()?;
    let pem = decoded(&certificate)?;
    let (_, pem) = parse_x509_pem(&pem).ok()?;
    let parsed = pem.parse_x509().ok()?;
    if parsed.public_key().subject_public_key.data.as_ref() != pair.der_bytes() {
        return None;
    }
    let (mut dns, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for name in &parsed.subject_alternative_name().ok()??.value.general_names {
        match name {
            GeneralName::DNSName(name) => drop(dns.insert((*name).to_owned())),
            GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
            _ => {}
        }
    }
    // The first annotation that is there decides, even if nobody can read it.
    let written = annotations.iter().find_map(|key| {
        let value = secret
            .pointer("/metadata/annotations")?
            .get(key)?
            .as_str()?;
        Some((key.clone(), value.to_owned()))
    });
    let expiration = written
        .as_ref()
        .and_then(|(_, value)| value.parse::<Timestamp>().ok());
    Some(Stored {
        live: LiveCertificate {
            dns,
            addresses,
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            expiration: expiration.map(Timestamp::as_second),
        },
        certificate: Certificate {
            ca: part("ca.crt"),
            certificate,
            key,
            expiration: written,
        },
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

fn issue(
    wanted: &CertificateNames,
    annotations: &[String],
    now: Timestamp,
) -> Result<Certificate, Error> {
    let mut params = CertificateParams::new(wanted.dns.iter().cloned().collect::<Vec<_>>())?;
    let addresses: BTreeSet<_> = wanted.addresses.union(&wanted.more).copied().collect();
    let addresses = addresses.into_iter().map(SanType::IpAddress);
    params.subject_alt_names.extend(addresses);
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Kserve Self Signed");
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    params.not_before = date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    params.not_after = params.not_before + days(VALID_DAYS).unsigned_abs();
    let key = KeyPair::generate()?;
    let certificate = STANDARD.encode(params.self_signed(&key)?.pem());
    let expiration = now.saturating_add(days(RENEW_DAYS)).unwrap_or(now);
    let expiration = expiration.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    Ok(Certificate {
        ca: Some(certificate.clone()),
        certificate,
        key: STANDARD.encode(key.serialize_pem()),
        expiration: annotations.first().map(|key| (key.clone(), expiration)),
    })
}

fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count * 24)
}

#[cfg(test)]
mod tests;
