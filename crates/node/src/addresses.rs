//! Pod addresses that are not in use.

use std::net::Ipv4Addr;
use std::sync::Mutex;

/// Hands out 127.A.1.0 to 127.A.127.255 in turn, so that an address rests before it is used again.
pub(crate) struct Addresses {
    block: u8,
    next: Mutex<(u32, std::collections::HashSet<u32>)>,
}

const COUNT: u32 = 127 * 256;

impl Addresses {
    pub(crate) fn new(block: u8) -> Self {
        Self {
            block,
            next: Mutex::new((1, std::collections::HashSet::new())),
        }
    }

    pub(crate) fn take(&self) -> Option<Ipv4Addr> {
        let mut state = self.next.lock().ok()?;
        for _ in 0..COUNT {
            let number = state.0;
            state.0 = (number + 1) % COUNT;
            if number != 0 && state.1.insert(number) {
                let [high, low] = u16::try_from(number).ok()?.to_be_bytes();
                return Some(Ipv4Addr::new(127, self.block, high + 1, low));
            }
        }
        None
    }

    pub(crate) fn give_back(&self, address: Ipv4Addr) {
        let [_, _, high, low] = address.octets();
        if let Ok(mut state) = self.next.lock() {
            state
                .1
                .remove(&(u32::from(high.saturating_sub(1)) * 256 + u32::from(low)));
        }
    }
}
