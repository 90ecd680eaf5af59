//! A member who types: unique markers, and knowledge of which of them are saved.

use crate::Document;
use anyhow::Result;
use promptroom_loadtest::client::{Client, ConnectOptions};
use promptroom_protocol::{ClientFrame, SyncStep};
use std::collections::BTreeMap;

/// One socket of one writer. Every edit is one marker, so that a lost or doubled one is seen.
#[derive(Debug)]
pub struct Member {
    client: Client,
    document: Document,
    /// Markers in order of their frame's number.
    written: Vec<(u64, String)>,
}

impl Member {
    /// Connects as our page does and is caught up afterwards.
    pub async fn join(base: &str, prompt: &str, token: &str) -> Result<Member> {
        let mut client = Client::connect(base, prompt, &ConnectOptions::page(token)).await?;
        let joined = client.join().await?;
        let document = Document::of(joined.updates.iter().map(AsRef::as_ref))?;
        Ok(Member { client, document, written: Vec::new() })
    }

    /// Joins and leaves something in the first message that a model can answer.
    pub async fn join_to_run(base: &str, prompt: &str, token: &str) -> Result<Member> {
        let mut member = Member::join(base, prompt, token).await?;
        member.type_into_message("Write about tea and 😀.").await?;
        Ok(member)
    }

    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Types a marker; returns the number of its frame.
    pub async fn write(&mut self, marker: &str) -> Result<u64> {
        let frame = self.client.edit(&format!("<{marker}>")).await?;
        self.written.push((frame, marker.to_owned()));
        Ok(frame)
    }

    /// Appends to the first message, as somebody who edits the prompt does; sends one update.
    pub async fn type_into_message(&mut self, text: &str) -> Result<()> {
        let update = self.document.type_into_message(text)?;
        Ok(self.client.send(&ClientFrame::Sync(SyncStep::Update(&update))).await?)
    }

    pub async fn write_saved(&mut self, marker: &str) -> Result<()> {
        let frame = self.write(marker).await?;
        Ok(self.client.wait_saved(frame).await?)
    }

    /// The markers that this member was told are saved.
    pub fn acknowledged(&self) -> Vec<String> {
        let saved = self.client.saved();
        self.written.iter().filter(|(frame, _)| *frame <= saved).map(|(_, marker)| marker.clone()).collect()
    }

    /// Closes the socket as a tab that is closed does.
    pub async fn close(self) -> Result<()> {
        Ok(self.client.close().await?)
    }

    pub fn written(&self) -> usize {
        self.written.len()
    }
}

/// How often each marker stands in a text.
pub fn markers_in(text: &str) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for piece in text.split('<').skip(1) {
        if let Some((marker, _)) = piece.split_once('>') {
            *counts.entry(marker).or_insert(0) += 1;
        }
    }
    counts
}
