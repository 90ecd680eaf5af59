//! What is given back when a socket ends, however it ends.

use crate::live::member::Member;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// One of the node's sockets, for as long as it lives.
pub struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub fn new(sockets: &Arc<AtomicUsize>) -> Self {
        sockets.fetch_add(1, Ordering::Relaxed);
        Counted(sockets.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// However the socket ends, its seat is known to be empty.
pub struct Seat(pub Arc<Member>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.leave();
    }
}
