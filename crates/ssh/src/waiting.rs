//! The waiting room: connections that have not signed in.
//!
//! It never is full for a newcomer: the oldest of their own network goes, else the oldest of all.
//! Who signs in at once gets in, however many others only sit there.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::leash::Cut;

/// Those who wait, oldest first.
#[derive(Debug)]
pub(crate) struct Waiting {
    most: usize,
    most_per_network: usize,
    seats: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    taken: VecDeque<Taken>,
    next: u64,
}

#[derive(Debug)]
struct Taken {
    number: u64,
    network: IpAddr,
    cut: Arc<Mutex<Cut>>,
}

/// A place in the waiting room; it is given up when this is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    room: Arc<Waiting>,
    number: u64,
}

impl Waiting {
    pub(crate) fn new(most: usize, most_per_network: usize) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            most_per_network: most_per_network.max(1),
            seats: Mutex::default(),
        })
    }

    /// Seats a newcomer, cutting off whoever must go for them.
    pub(crate) fn enter(self: &Arc<Self>, peer: SocketAddr, cut: Arc<Mutex<Cut>>) -> Seat {
        let network = network(peer.ip());
        let mut seats = self.lock();
        let own = seats.taken.iter().filter(|t| t.network == network).count();
        let goes = if own >= self.most_per_network {
            seats.taken.iter().position(|t| t.network == network)
        } else if seats.taken.len() >= self.most {
            Some(0)
        } else {
            None
        };
        if let Some(gone) = goes.and_then(|at| seats.taken.remove(at)) {
            gone.cut
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .now();
        }
        let number = seats.next;
        seats.next += 1;
        seats.taken.push_back(Taken {
            number,
            network,
            cut,
        });
        Seat {
            room: Arc::clone(self),
            number,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.room.lock();
        seats.taken.retain(|taken| taken.number != self.number);
    }
}

/// One host, or what one host can well have of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let bits = v6.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn come(room: &Arc<Waiting>, from: &str) -> (Seat, tokio::sync::oneshot::Receiver<()>) {
        let (sender, told) = tokio::sync::oneshot::channel();
        let cut = Arc::new(Mutex::new(Cut::of(sender)));
        (room.enter(from.parse().unwrap(), cut), told)
    }

    fn is_cut(told: &mut tokio::sync::oneshot::Receiver<()>) -> bool {
        told.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn the_oldest_of_the_same_network_goes_first() {
        let room = Waiting::new(3, 2);
        let mut far = come(&room, "[2001:db8::1]:1");
        let mut first = come(&room, "10.0.0.1:1");
        let mut second = come(&room, "[::ffff:10.0.0.1]:2");
        let mut third = come(&room, "10.0.0.1:3");
        assert!(is_cut(&mut first.1));
        assert!(!is_cut(&mut far.1) && !is_cut(&mut second.1) && !is_cut(&mut third.1));
        // The room is full: whoever has waited longest goes.
        let mut other = come(&room, "10.0.0.2:1");
        assert!(is_cut(&mut far.1) && !is_cut(&mut second.1) && !is_cut(&mut other.1));
        // The seats of those who were sent away are free again once they have gone.
        drop((far, first, second));
        assert_eq!(room.lock().taken.len(), 2);
        // The control: with room enough, nobody goes.
        let wide = Waiting::new(9, 9);
        let mut all: Vec<_> = (1..9)
            .map(|n| come(&wide, &format!("10.0.0.1:{n}")))
            .collect();
        assert!(all.iter_mut().all(|(_, told)| !is_cut(told)));
    }

    #[test]
    fn addresses_of_one_network_of_64_bits_count_as_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
