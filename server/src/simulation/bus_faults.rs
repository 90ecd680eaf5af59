//! The bus between the nodes as its contract allows it to be: notes are lost, late, doubled and out of order.

use super::{dice::Dice, history::History, scheduler::Scheduler};
use crate::bus::{Carrier, Local, Note, Topic};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::time::sleep;

/// How the bus is now; shared by all nodes.
#[derive(Clone)]
pub struct Network(Arc<Mutex<Weather>>);

#[derive(Debug)]
struct Weather {
    dice: Dice,
    lost_permille: u64,
    late_permille: u64,
    doubled_permille: u64,
    /// Nothing gets through, as when Redis is dead.
    down: bool,
}

impl Network {
    pub fn new(dice: Dice) -> Network {
        let weather = Weather { dice, lost_permille: 0, late_permille: 0, doubled_permille: 0, down: false };
        Network(Arc::new(Mutex::new(weather)))
    }

    /// From now on so many in a thousand are lost, late, or come twice.
    pub fn storm(&self, lost: u64, late: u64, doubled: u64) {
        let mut weather = self.0.lock();
        (weather.lost_permille, weather.late_permille, weather.doubled_permille) = (lost, late, doubled);
    }

    pub fn go_down(&self) {
        self.0.lock().down = true;
    }

    pub fn come_back(&self) {
        self.0.lock().down = false;
    }

    /// The way out of one node.
    pub fn carrier(&self, scheduler: &Scheduler, history: &Arc<History>) -> Box<dyn Carrier> {
        Box::new(Way { network: self.clone(), scheduler: scheduler.clone(), history: history.clone() })
    }
}

struct Way {
    network: Network,
    scheduler: Scheduler,
    history: Arc<History>,
}

impl Carrier for Way {
    fn carry(&self, to: Arc<Local>, topic: Topic, note: &Note) {
        let copies: Vec<u64> = {
            let weather = &mut *self.network.0.lock();
            if weather.down || weather.dice.permille(weather.lost_permille) {
                self.history.note(|| format!("lost: {}", name(note)));
                return;
            }
            let copies = 1 + u64::from(weather.dice.permille(weather.doubled_permille));
            let late = weather.late_permille;
            let dice = &mut weather.dice;
            (0..copies).map(|_| if dice.permille(late) { dice.within(1..1_500) } else { 0 }).collect()
        };
        for delay_ms in copies {
            if delay_ms == 0 {
                to.hear(topic, note);
                continue;
            }
            let (to, note) = (Arc::downgrade(&to), note.clone());
            self.scheduler.spawn(None, async move {
                sleep(std::time::Duration::from_millis(delay_ms)).await;
                if let Some(to) = to.upgrade() {
                    to.hear(topic, &note);
                }
            });
        }
    }
}

fn name(note: &Note) -> &'static str {
    match note {
        Note::Rows { .. } => "rows",
        Note::Presence { .. } => "presence",
        Note::WhoIsHere => "who is here",
        Note::Run(_) => "a run",
        Note::Output { .. } => "output",
        Note::Cancel { .. } => "a cancel",
        Note::Rights => "rights",
    }
}
