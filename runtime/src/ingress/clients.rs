//! How many connections are open, in all and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The open connections.
#[derive(Debug)]
pub struct Clients {
    total: usize,
    per_address: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    of: HashMap<IpAddr, usize>,
}

/// One open connection; dropping it makes room for another.
#[derive(Debug)]
pub struct Connection {
    clients: Arc<Clients>,
    from: IpAddr,
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    #[error("as many connections are open as may be")]
    Total,
    #[error("as many connections of this client are open as may be")]
    Address,
}

impl Clients {
    /// At most `total` connections, of them at most `per_address` from one address.
    #[must_use]
    pub fn new(total: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            per_address,
            open: Mutex::default(),
        })
    }

    /// Counts one more connection.
    ///
    /// # Errors
    /// As [`Full`] says; the connection is not counted then.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Connection, Full> {
        let from = network(address);
        let mut open = self.lock();
        if open.total >= self.total {
            return Err(Full::Total);
        }
        let of_address = open.of.entry(from).or_default();
        if *of_address >= self.per_address {
            return Err(Full::Address);
        }
        *of_address += 1;
        open.total += 1;
        Ok(Connection {
            clients: self.clone(),
            from,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.clients.lock();
        open.total -= 1;
        if let Some(count) = open.of.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                open.of.remove(&self.from);
            }
        }
    }
}

/// What one client has: an IPv4 address, or the /64 of an IPv6 address, in which it can take any.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_cannot_take_all_and_all_cannot_take_more() {
        let clients = Clients::new(3, 2);
        let address = |text: &str| text.parse::<IpAddr>().expect(text);
        let first = clients.admit(address("10.0.0.1")).expect("room");
        let _second = clients.admit(address("::ffff:10.0.0.1")).expect("room");
        assert_eq!(
            clients.admit(address("10.0.0.1")).expect_err("two"),
            Full::Address
        );
        let third = clients.admit(address("fe80::1")).expect("room");
        assert_eq!(
            clients.admit(address("10.0.0.2")).expect_err("three"),
            Full::Total
        );
        drop(first);
        let _fourth = clients.admit(address("fe80::2")).expect("room");
        drop(third);
        let _fifth = clients.admit(address("10.0.0.1")).expect("room");
        assert_eq!(clients.lock().of.len(), 2);
    }
}
