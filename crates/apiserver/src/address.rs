//! Cluster addresses of Services: the upper half of the instance's own block.

use std::collections::HashSet;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::meta;

/// The addresses 127.A.128.0 to 127.A.255.254 and which of them are taken.
pub(crate) struct Addresses {
    block: u8,
    taken: Mutex<HashSet<u16>>,
}

impl Addresses {
    pub(crate) fn new(block: u8) -> Self {
        Self {
            block,
            taken: Mutex::new(HashSet::new()),
        }
    }

    /// Marks the addresses of a stored Service as taken.
    pub(crate) fn adopt(&self, service: &Value) {
        if let Some(index) = self.index(meta::text(service, "/spec/clusterIP")) {
            self.taken.lock().insert(index);
        }
    }

    /// Gives back the address of a removed Service.
    pub(crate) fn release(&self, service: &Value) {
        if let Some(index) = self.index(meta::text(service, "/spec/clusterIP")) {
            self.taken.lock().remove(&index);
        }
    }

    /// Fills in the address of a new Service; the refusal is a (reason, message, field).
    pub(crate) fn assign(&self, service: &mut Value) -> Result<(), (String, String, String)> {
        let kind = meta::text(service, "/spec/type");
        if kind == "ExternalName" {
            return Ok(());
        }
        let asked = meta::text(service, "/spec/clusterIP").to_owned();
        if asked != "None" {
            let mut taken = self.taken.lock();
            let index = if asked.is_empty() {
                let free = (0x8001..0xFFFE_u16).find(|i| i & 0xFF != 0 && !taken.contains(i));
                free.ok_or_else(|| fault("no cluster address is free", &asked))?
            } else {
                let index = self
                    .index(&asked)
                    .ok_or_else(|| fault("provided IP is not in the valid range", &asked))?;
                if taken.contains(&index) {
                    return Err(fault("provided IP is already allocated", &asked));
                }
                index
            };
            taken.insert(index);
            let [high, low] = index.to_be_bytes();
            let spec = meta::child(service, "spec");
            spec.insert(
                "clusterIP".to_owned(),
                json!(format!("127.{}.{high}.{low}", self.block)),
            );
        }
        let spec = meta::child(service, "spec");
        let address = spec.get("clusterIP").cloned().unwrap_or_default();
        spec.insert("clusterIPs".to_owned(), json!([address]));
        Ok(())
    }

    fn index(&self, address: &str) -> Option<u16> {
        let address: std::net::Ipv4Addr = address.parse().ok()?;
        let [net, block, high, low] = address.octets();
        (net == 127 && block == self.block && high >= 128).then(|| u16::from_be_bytes([high, low]))
    }
}

fn fault(why: &str, asked: &str) -> (String, String, String) {
    let message = format!("Invalid value: \"{asked}\": failed to allocate IP {asked}: {why}");
    (
        "FieldValueInvalid".to_owned(),
        message,
        "spec.clusterIPs[0]".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_given_once_and_come_back() {
        let addresses = Addresses::new(77);
        let mut a = json!({"spec": {}});
        let mut b = json!({"spec": {}});
        addresses.assign(&mut a).unwrap();
        addresses.assign(&mut b).unwrap();
        assert_eq!(a["spec"]["clusterIP"], "127.77.128.1");
        assert_eq!(b["spec"]["clusterIP"], "127.77.128.2");
        assert!(addresses.assign(&mut a.clone()).is_err());
        addresses.release(&a);
        assert!(addresses.assign(&mut a).is_ok());
    }
}
