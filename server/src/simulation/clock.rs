//! Wall clocks of the nodes, each of which may be wrong and may jump; beside them the one time that really passes.

use super::{
    dice::Dice,
    scheduler::{Home, current_home},
};
use crate::live::clock::simulated;
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};
use tokio::time::Instant;

/// When every schedule begins: 13 September 2020.
const BEGIN_MS: u64 = 1_600_000_000_000;

pub struct Clocks {
    start: Instant,
    dice: RefCell<Dice>,
    skews_ms: RefCell<BTreeMap<Home, i64>>,
}

thread_local! {
    static CLOCKS: RefCell<Option<Rc<Clocks>>> = const { RefCell::new(None) };
}

/// For as long as this lives, its thread has simulated clocks.
pub struct Installed;

impl Clocks {
    pub fn install(dice: Dice) -> Installed {
        let clocks =
            Rc::new(Clocks { start: Instant::now(), dice: RefCell::new(dice), skews_ms: RefCell::default() });
        simulated::set(Some(clocks.clone()));
        CLOCKS.set(Some(clocks));
        Installed
    }
}

/// The node's wall clock goes wrong by so much from now on.
pub fn jump(home: Home, skew_ms: i64) {
    CLOCKS.with_borrow(|clocks| {
        if let Some(clocks) = clocks {
            clocks.skews_ms.borrow_mut().insert(home, skew_ms);
        }
    });
}

impl simulated::Clock for Clocks {
    fn now_ms(&self) -> u64 {
        let skew_ms = current_home().and_then(|home| self.skews_ms.borrow().get(&home).copied());
        let now_ms = BEGIN_MS + self.start.elapsed().as_millis() as u64;
        now_ms.saturating_add_signed(skew_ms.unwrap_or_default())
    }

    fn random(&self) -> u64 {
        self.dice.borrow_mut().next()
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        simulated::set(None);
        CLOCKS.set(None);
    }
}
