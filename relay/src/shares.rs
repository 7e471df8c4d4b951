//! How much of something one address may hold, so that a peer that takes and never gives back
//! leaves room for everybody else.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The shares of one thing: a session's exchanges, a relay's handshakes.
#[derive(Debug)]
pub struct Shares {
    most: usize,
    // A lock and not a task: held for one lookup.
    by_address: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

/// A place in an address's share, given back when dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    address: IpAddr,
    permit: Option<OwnedSemaphorePermit>,
}

impl Shares {
    /// `most` places for each address.
    pub fn new(most: usize) -> Shares {
        Shares {
            most,
            by_address: Mutex::default(),
        }
    }

    /// Waits for a place of this address.
    pub async fn take(self: &Arc<Self>, address: IpAddr) -> Share {
        // The share is made first: if the waiting is given up, its drop cleans up.
        let (mut share, places) = self.share(address);
        // The semaphore is never closed.
        share.permit = places.acquire_owned().await.ok();
        share
    }

    /// A place of this address, if one is free.
    pub fn try_take(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        let (mut share, places) = self.share(address);
        share.permit = Some(places.try_acquire_owned().ok()?);
        Some(share)
    }

    fn share(self: &Arc<Self>, address: IpAddr) -> (Share, Arc<Semaphore>) {
        let address = network(address);
        let mut by_address = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let places = by_address
            .entry(address)
            .or_insert_with(|| Arc::new(Semaphore::new(self.most)));
        let share = Share {
            shares: Arc::clone(self),
            address,
            permit: None,
        };
        (share, Arc::clone(places))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.permit = None;
        let mut by_address = self
            .shares
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let unused = by_address
            .get(&self.address)
            .is_some_and(|places| Arc::strong_count(places) == 1);
        if unused {
            by_address.remove(&self.address);
        }
    }
}

/// Who an address is: an IPv6 host has a whole /64 to choose from (RFC 4291, 2.5.1).
pub fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_address_waits_and_another_does_not() {
        let shares = Arc::new(Shares::new(3));
        let (here, there) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(shares.take(here).await);
        }
        let mut waiting = Box::pin(shares.take(here));
        let first = futures_now(&mut waiting);
        assert!(first.is_none(), "one more waits");
        assert!(shares.try_take(here).is_none());
        drop(shares.take(there).await);
        held.pop();
        drop(waiting.await);
        drop(held);
        assert!(shares.by_address.lock().unwrap().is_empty());
    }

    fn futures_now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn an_ipv6_host_is_its_network() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
    }
}
