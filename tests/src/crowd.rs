//! People who type in one room from wherever they are let in, whatever happens to the nodes; and the proof, afterwards,
//! that nothing of it was lost, doubled or seen differently.

use crate::{Traveller, is_away, markers_in, yjs_text};
use anyhow::{Context, Result, bail, ensure};
use promptroom_loadtest::tasks::Tasks;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

const ARRIVE_LIMIT: Duration = Duration::from_secs(10);
const BETWEEN_TRIES: Duration = Duration::from_millis(50);
/// After everything is healed.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// Where they are.
#[derive(Clone, Debug)]
pub struct Place {
    pub doors: Vec<String>,
    pub prompt: String,
    pub token: String,
}

/// They type until they are told to settle.
#[derive(Debug)]
pub struct Crowd {
    place: Place,
    people: Tasks<Result<Traveller>>,
    stop: watch::Sender<bool>,
    acknowledged: Arc<AtomicUsize>,
}

impl Crowd {
    /// `people` of them, dealt out to the doors; who loses the connection goes through any door.
    pub async fn gather(place: &Place, people: usize, random: &mut StdRng) -> Result<Crowd> {
        let stop = watch::Sender::new(false);
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let mut tasks = Tasks::default();
        for number in 0..people {
            let door = &place.doors[number % place.doors.len()];
            let traveller = Traveller::join(door, &place.prompt, &place.token).await?;
            let person = Person {
                traveller,
                name: number.to_string(),
                written: 0,
                told: 0,
                doors: place.doors.clone(),
                random: StdRng::seed_from_u64(random.random()),
                acknowledged: Arc::clone(&acknowledged),
            };
            tasks.start(person.type_until(stop.subscribe()));
        }
        Ok(Crowd { place: place.clone(), people: tasks, stop, acknowledged })
    }

    /// How many edits were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Relaxed)
    }

    /// Everybody stops typing and comes to rest; nothing may be broken any more. Everything that was written stands once,
    /// all have the same, and so has a newcomer at each door and a replay in real Yjs. Returns how many edits there were.
    pub async fn settle(self) -> Result<usize> {
        self.stop.send_replace(true);
        let mut people = self.people.all().await?;
        let deadline = Instant::now() + SETTLE_LIMIT;
        while !is_settled(&people) {
            ensure!(Instant::now() < deadline, "not at rest: {}", differences(&people));
            for (number, traveller) in people.iter_mut().enumerate() {
                come_to_rest(traveller, &self.place.doors[number % self.place.doors.len()]).await?;
            }
        }
        let reference = people.first().context("an empty crowd")?;
        for door in &self.place.doors {
            let mut newcomer = Traveller::new(&self.place.prompt, &self.place.token);
            // Sent away for a moment it comes back, as every client does.
            while !newcomer.is_connected() {
                ensure!(Instant::now() < deadline, "a newcomer is not let in");
                come_to_rest(&mut newcomer, door).await?;
            }
            let same = |newcomer: &Traveller| newcomer.document().is_same(reference.document());
            newcomer.until("what all others have", same).await?;
        }
        let text = reference.text();
        let found = markers_in(&text);
        let mut written = 0;
        for marker in people.iter().flat_map(Traveller::acknowledged) {
            written += 1;
            let times = found.get(marker.as_str()).copied().unwrap_or_default();
            ensure!(times == 1, "{marker} was acknowledged and stands {times} times");
        }
        ensure!(found.len() == written, "{} markers, {written} of them acknowledged", found.len());
        let replay = yjs_text(&reference.document().encoded(), "load")?;
        ensure!(replay == text, "a replay in Yjs differs");
        Ok(written)
    }
}

async fn come_to_rest(traveller: &mut Traveller, door: &str) -> Result<()> {
    let rested = async {
        if !traveller.is_connected() {
            traveller.arrive(door).await?;
        }
        traveller.read_until(Instant::now() + LOOK).await
    };
    match rested.await {
        Err(error) if is_away(&error) => {
            traveller.leave();
            sleep(BETWEEN_TRIES).await;
            Ok(())
        }
        rested => rested,
    }
}

fn is_settled(people: &[Traveller]) -> bool {
    let Some(first) = people.first() else { return true };
    people.iter().all(|traveller| !traveller.has_unsaved() && traveller.document().is_same(first.document()))
}

fn differences(people: &[Traveller]) -> String {
    let of = |traveller: &Traveller| {
        let clocks: u64 = traveller.document().clocks().values().map(|clock| u64::from(*clock)).sum();
        format!("{clocks} characters ever, unsaved: {}", traveller.has_unsaved())
    };
    people.iter().map(of).collect::<Vec<_>>().join("; ")
}

#[derive(Debug)]
struct Person {
    traveller: Traveller,
    name: String,
    written: usize,
    /// How many acknowledgements are counted.
    told: usize,
    doors: Vec<String>,
    random: StdRng,
    acknowledged: Arc<AtomicUsize>,
}

impl Person {
    async fn type_until(mut self, stop: watch::Receiver<bool>) -> Result<Traveller> {
        while !*stop.borrow() {
            let lived = if self.traveller.is_connected() { self.live().await } else { self.arrive().await };
            self.acknowledged.fetch_add(self.traveller.acknowledged().len() - self.told, Relaxed);
            self.told = self.traveller.acknowledged().len();
            match lived {
                Ok(()) => {}
                Err(error) if is_away(&error) => {
                    self.traveller.leave();
                    sleep(BETWEEN_TRIES).await;
                }
                Err(error) => bail!(error.context(format!("person {}", self.name))),
            }
        }
        Ok(self.traveller)
    }

    async fn arrive(&mut self) -> Result<()> {
        let door = self.doors[self.random.random_range(0..self.doors.len())].clone();
        match timeout(ARRIVE_LIMIT, self.traveller.arrive(&door)).await {
            Ok(arrived) => arrived,
            Err(_) => {
                self.traveller.leave();
                Ok(())
            }
        }
    }

    /// One edit, seldom a deletion, seldom a change of nodes; then a pause in which others are read.
    async fn live(&mut self) -> Result<()> {
        let choice = self.random.random_range(0..10_000);
        match self.random.random_range(0..100) {
            0 => self.traveller.leave(),
            1..=15 => self.traveller.erase(choice).await?,
            _ => {
                let marker = format!("{}.{} 😀", self.name, self.written);
                self.written += 1;
                self.traveller.write_at(choice, &marker).await?;
            }
        }
        if !self.traveller.is_connected() {
            return Ok(());
        }
        let pause = Duration::from_millis(self.random.random_range(1..120));
        self.traveller.read_until(Instant::now() + pause).await
    }
}
