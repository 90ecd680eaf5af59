//! A WebSocket without a network: messages go through two bounded queues of the same process.

use axum::extract::ws::Message;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::mpsc;

/// One side of it; the other side has the same in reverse.
pub(crate) struct Line {
    outgoing: mpsc::Sender<Message>,
    incoming: mpsc::Receiver<Message>,
    cut: Cut,
}

/// Cuts the line: what is under way in it arrives nowhere.
#[derive(Clone, Default)]
pub(crate) struct Cut(Arc<AtomicBool>);

impl Cut {
    pub(crate) fn cut(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_cut(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Line {
    /// Both sides, with room for so many messages each way.
    pub(crate) fn pair(messages: usize) -> (Line, Line, Cut) {
        let (there, at_other) = mpsc::channel(messages);
        let (back, at_one) = mpsc::channel(messages);
        let cut = Cut::default();
        let one = Line { outgoing: there, incoming: at_one, cut: cut.clone() };
        let other = Line { outgoing: back, incoming: at_other, cut: cut.clone() };
        (one, other, cut)
    }

    /// The two directions apart.
    pub(crate) fn split(self) -> (mpsc::Sender<Message>, mpsc::Receiver<Message>) {
        (self.outgoing, self.incoming)
    }

    pub(super) async fn recv(&mut self) -> Option<Result<Message, axum::Error>> {
        let message = self.incoming.recv().await;
        message.filter(|_| !self.cut.is_cut()).map(Ok)
    }

    pub(super) async fn send(&mut self, message: Message) -> Result<(), axum::Error> {
        let gone = || axum::Error::new(io::Error::from(io::ErrorKind::BrokenPipe));
        if self.cut.is_cut() {
            return Err(gone());
        }
        self.outgoing.send(message).await.map_err(|_| gone())
    }
}
