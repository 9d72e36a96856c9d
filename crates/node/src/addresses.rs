//! Addresses of pods: 127.A.1.0 to 127.A.127.255.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

const FIRST: u16 = 0x0100;
const LAST: u16 = 0x7fff;

/// The addresses of one instance.
#[derive(Debug)]
pub struct Addresses {
    block: u8,
    used: BTreeSet<u16>,
    next: u16,
}

impl Addresses {
    /// All addresses of block 127.`block`.0.0 are free.
    pub fn new(block: u8) -> Self {
        Self {
            block,
            used: BTreeSet::new(),
            next: FIRST,
        }
    }

    /// Takes `wanted` when it is free and of this block, else the next free one; addresses given back
    /// are not given out again soon.
    pub fn claim(&mut self, wanted: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        if let Some([127, block, high, low]) = wanted.map(|ip| ip.octets()) {
            let number = u16::from_be_bytes([high, low]);
            if block == self.block && (FIRST..=LAST).contains(&number) && self.used.insert(number) {
                return Some(self.address(number));
            }
        }
        for _ in FIRST..=LAST {
            let number = self.next;
            self.next = if number == LAST { FIRST } else { number + 1 };
            if self.used.insert(number) {
                return Some(self.address(number));
            }
        }
        None
    }

    /// Gives an address back.
    pub fn release(&mut self, ip: Ipv4Addr) {
        let [_, _, high, low] = ip.octets();
        self.used.remove(&u16::from_be_bytes([high, low]));
    }

    fn address(&self, number: u16) -> Ipv4Addr {
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(127, self.block, high, low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unique_and_kept_across_starts() {
        let mut addresses = Addresses::new(64);
        let kept = Ipv4Addr::new(127, 64, 1, 1);
        assert_eq!(addresses.claim(Some(kept)), Some(kept));
        assert_eq!(
            addresses.claim(Some(kept)),
            Some(Ipv4Addr::new(127, 64, 1, 0))
        );
        assert_eq!(
            addresses.claim(Some(Ipv4Addr::new(127, 65, 1, 9))),
            Some(Ipv4Addr::new(127, 64, 1, 2))
        );
        addresses.release(kept);
        assert_eq!(addresses.claim(Some(kept)), Some(kept));
    }
}
