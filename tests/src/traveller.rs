//! A member who goes from node to node, as a page does whose connection breaks: they keep their document, get what they
//! lack, and send again what is not saved yet.

use crate::Document;
use anyhow::{Context, Result, bail, ensure};
use promptroom_loadtest::client::{Client, ConnectOptions, Create};
use promptroom_protocol::{ClientFrame, LineageId, Seq, ServerFrame, SyncStep};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

const ROOT: &str = "load";
const ERASABLE: char = '~';
const PATIENCE: Duration = Duration::from_secs(8);

/// Keeps everything but the connection when that breaks.
#[derive(Debug)]
pub struct Traveller {
    prompt: String,
    token: String,
    document: Document,
    line: Option<Line>,
    lineage: Option<LineageId>,
    /// The newest row of which they have it and all before it.
    have: Option<Seq>,
    /// Markers that nobody has acknowledged yet, with the frame that carried them last.
    unsaved: Vec<(u64, String)>,
    acknowledged: Vec<String>,
    last_join: Option<Welcome>,
}

#[derive(Debug)]
struct Line {
    client: Client,
    /// SyncStep2 and Update frames sent on it.
    frames: u64,
}

/// How a node let them in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// Rows after the newest one they had, or nothing at all.
    Rows { bytes: usize },
    /// One difference against what they had.
    Difference { bytes: usize },
}

impl Traveller {
    /// Somebody with an empty document, who is nowhere yet.
    pub fn new(prompt: &str, token: &str) -> Traveller {
        Traveller {
            prompt: prompt.to_owned(),
            token: token.to_owned(),
            document: Document::empty(),
            line: None,
            lineage: None,
            have: None,
            unsaved: Vec::new(),
            acknowledged: Vec::new(),
            last_join: None,
        }
    }

    /// Joined at `base` and caught up.
    pub async fn join(base: &str, prompt: &str, token: &str) -> Result<Traveller> {
        let mut traveller = Traveller::new(prompt, token);
        traveller.arrive(base).await?;
        Ok(traveller)
    }

    pub fn document(&self) -> &Document {
        &self.document
    }

    pub fn text(&self) -> String {
        self.document.text(ROOT)
    }

    /// The markers that they were told are saved.
    pub fn acknowledged(&self) -> &[String] {
        &self.acknowledged
    }

    pub fn has_unsaved(&self) -> bool {
        !self.unsaved.is_empty()
    }

    pub fn is_connected(&self) -> bool {
        self.line.is_some()
    }

    pub fn last_join(&self) -> Option<Welcome> {
        self.last_join
    }

    /// The socket, for what is not about the document; frames that are read on it here do not reach the document.
    pub fn client(&mut self) -> Result<&mut Client> {
        Ok(&mut self.line.as_mut().context("not connected")?.client)
    }

    /// Breaks the connection without a word.
    pub fn leave(&mut self) {
        self.line = None;
    }

    /// Connects to the node at `base` with all that they have, and is caught up afterwards.
    pub async fn arrive(&mut self, base: &str) -> Result<()> {
        self.leave();
        let create = if self.lineage.is_none() { Create::IfMissing } else { Create::Never };
        let options = ConnectOptions { patience: PATIENCE, create, ..ConnectOptions::page(&self.token) };
        let client = Client::connect(base, &self.prompt, &options).await?;
        let mut line = Line { client, frames: 0 };
        let is_hello = |frame: &ServerFrame<'_>| match frame {
            ServerFrame::Hello(hello) => Some(hello.lineage),
            _ => None,
        };
        let lineage = line.client.wait_for("hello", is_hello).await?;
        ensure!(self.lineage.is_none_or(|known| known == lineage), "the room has another history now");
        self.lineage = Some(lineage);
        let state_vector = self.document.state_vector();
        let join = ClientFrame::Join { lineage, have: self.have, state_vector: &state_vector };
        line.client.send(&join).await?;
        let asked = self.catch_up(&mut line.client).await?;
        // Deletions are in no state vector, so a difference always holds all of them.
        let lacking = self.document.diff(&asked)?;
        line.client.send(&ClientFrame::Sync(SyncStep::Step2(&lacking))).await?;
        line.frames = 1;
        self.unsaved.iter_mut().for_each(|(frame, _)| *frame = 1);
        self.line = Some(line);
        Ok(())
    }

    /// Reads what they lack; returns what the server said that it has.
    async fn catch_up(&mut self, client: &mut Client) -> Result<Vec<u8>> {
        let mut asked = None;
        let mut welcome = Welcome::Rows { bytes: 0 };
        loop {
            let frame = client.next().await?;
            match frame.decode()? {
                ServerFrame::Sync(SyncStep::Step1(state_vector)) => asked = Some(state_vector.to_vec()),
                ServerFrame::Sync(SyncStep::Step2(update)) => {
                    self.document.apply(update)?;
                    welcome = Welcome::Difference { bytes: update.len() };
                }
                ServerFrame::Sync(SyncStep::Update(update)) => {
                    self.document.apply(update)?;
                    if let Welcome::Rows { bytes } = &mut welcome {
                        *bytes += update.len();
                    }
                }
                ServerFrame::Saved { head, .. } => {
                    self.have = Some(head);
                    self.last_join = Some(welcome);
                    return asked.context("the server never said what it has");
                }
                _ => {}
            }
        }
    }

    /// Puts a marker between two others, `choice` says where; it counts as written whether or not it can be sent.
    pub async fn write_at(&mut self, choice: usize, marker: &str) -> Result<()> {
        let update = self.document.insert_between(ROOT, choice, &format!("<{marker}>{ERASABLE}"));
        self.unsaved.push((u64::MAX, marker.to_owned()));
        let frame = self.send(&update).await?;
        if let Some((last, _)) = self.unsaved.last_mut() {
            *last = frame;
        }
        Ok(())
    }

    /// Puts a marker at the start.
    pub async fn write(&mut self, marker: &str) -> Result<()> {
        self.write_at(0, marker).await
    }

    /// Takes away one of the characters that are there to be taken away.
    pub async fn erase(&mut self, choice: usize) -> Result<()> {
        if let Some(update) = self.document.erase(ROOT, choice, ERASABLE) {
            self.send(&update).await?;
        }
        Ok(())
    }

    /// Writes, and is told that it is saved.
    pub async fn write_saved(&mut self, marker: &str) -> Result<()> {
        self.write(marker).await?;
        self.until_saved().await
    }

    async fn send(&mut self, update: &[u8]) -> Result<u64> {
        let line = self.line.as_mut().context("not connected")?;
        line.frames += 1;
        line.client.send(&ClientFrame::Sync(SyncStep::Update(update))).await?;
        Ok(line.frames)
    }

    /// Takes whatever comes until `deadline`. An error is the end of the connection, or of the test.
    pub async fn read_until(&mut self, deadline: Instant) -> Result<()> {
        while let Ok(taken) = timeout_at(deadline, self.read_one()).await {
            taken?;
        }
        Ok(())
    }

    /// Takes the next frame, however long it takes. Cancel-safe.
    pub async fn read_one(&mut self) -> Result<()> {
        let line = self.line.as_mut().context("not connected")?;
        let frame = line.client.receive().await?;
        match frame.decode()? {
            ServerFrame::Sync(SyncStep::Update(update) | SyncStep::Step2(update)) => {
                self.document.apply(update)?;
            }
            ServerFrame::Saved { frames, head } => {
                self.have = self.have.max(Some(head));
                let saved = self.unsaved.extract_if(.., |(frame, _)| *frame <= frames);
                self.acknowledged.extend(saved.map(|(_, marker)| marker));
            }
            _ => {}
        }
        Ok(())
    }

    pub async fn until_saved(&mut self) -> Result<()> {
        self.until("the saved mark", |traveller| !traveller.has_unsaved()).await
    }

    /// Reads until the marker has come, from wherever.
    pub async fn until_seen(&mut self, marker: &str) -> Result<()> {
        let wanted = format!("<{marker}>");
        self.until(marker, |traveller| traveller.text().contains(&wanted)).await
    }

    /// Reads for both until they have the same: what one has just written may still be on its way to the other.
    pub async fn until_same_as(&mut self, other: &mut Traveller) -> Result<()> {
        let deadline = Instant::now() + crate::PATIENCE;
        while !self.document().is_same(other.document()) {
            let one_more = async {
                tokio::select! {
                    here = self.read_one() => here,
                    there = other.read_one() => there,
                }
            };
            match timeout_at(deadline, one_more).await {
                Ok(taken) => taken?,
                Err(_) => bail!("waited {:?} in vain for both to have the same", crate::PATIENCE),
            }
        }
        Ok(())
    }

    /// Reads until something is true.
    pub async fn until(&mut self, what: &str, mut is_true: impl FnMut(&Traveller) -> bool) -> Result<()> {
        let deadline = Instant::now() + crate::PATIENCE;
        while !is_true(self) {
            match timeout_at(deadline, self.read_one()).await {
                Ok(taken) => taken?,
                Err(_) => bail!("waited {:?} in vain for {what}", crate::PATIENCE),
            }
        }
        Ok(())
    }
}
