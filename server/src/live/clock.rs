//! The only clock and the only dice: milliseconds since the Unix epoch, and ids that nobody else gives.
//!
//! In the simulation each node has a clock of its own, and one seed decides every id.

use uuid::Uuid;

#[allow(clippy::disallowed_methods, reason = "this is the clock that everything else asks")]
pub fn now_ms() -> u64 {
    #[cfg(test)]
    if let Some(now_ms) = simulated::with(|clock| clock.now_ms()) {
        return now_ms;
    }
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// A new id; later ones sort behind earlier ones of the same node.
pub fn new_id() -> Uuid {
    #[cfg(test)]
    if let Some(id) = simulated::with(|clock| clock.new_id()) {
        return id;
    }
    Uuid::now_v7()
}

pub fn random() -> u64 {
    #[cfg(test)]
    if let Some(number) = simulated::with(|clock| clock.random()) {
        return number;
    }
    rand::random()
}

/// What a thread that simulates nodes has instead of the system's clock and dice.
#[cfg(test)]
pub(crate) mod simulated {
    use std::{cell::RefCell, rc::Rc};
    use uuid::Uuid;

    pub(crate) trait Clock {
        fn now_ms(&self) -> u64;
        fn random(&self) -> u64;

        fn new_id(&self) -> Uuid {
            let mut bytes = [0; 10];
            bytes[..8].copy_from_slice(&self.random().to_le_bytes());
            uuid::Builder::from_unix_timestamp_millis(self.now_ms(), &bytes).into_uuid()
        }
    }

    thread_local! {
        static CLOCK: RefCell<Option<Rc<dyn Clock>>> = const { RefCell::new(None) };
    }

    /// From now on this thread asks `clock`; `None` gives it the system's back.
    pub(crate) fn set(clock: Option<Rc<dyn Clock>>) {
        CLOCK.set(clock);
    }

    pub(super) fn with<T>(ask: impl FnOnce(&dyn Clock) -> T) -> Option<T> {
        CLOCK.with_borrow(|clock| clock.as_deref().map(ask))
    }
}
