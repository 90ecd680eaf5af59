//! The connection that hears: everything wanted is subscribed on it, again after each loss, and then the listener is
//! told that it may have missed something.

use super::{
    Redis,
    envelope::{self, Opened},
    link::{Link, Push},
    standing::{Part, Pause},
};
use crate::bus::Heard;
use redis::{PushInfo, PushKind, RedisResult, Value};
use std::{
    convert::Infallible,
    future,
    io::{Error, ErrorKind},
    sync::Arc,
};
use tokio::{
    sync::{Notify, mpsc::error::TrySendError},
    time::{MissedTickBehavior, interval},
};

impl Redis {
    pub(super) async fn keep_listening(self: &Arc<Self>) -> Infallible {
        let mut pause = Pause::default();
        loop {
            let error = match self.listen(&mut pause).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            self.topics.lost();
            self.standing.away(Part::Listening, &error);
            pause.wait().await;
        }
    }

    /// Tells the listener that something was missed, as soon as there is room for saying so.
    pub(super) async fn keep_telling(&self) -> Infallible {
        loop {
            self.missed.notified().await;
            let Ok(place) = self.ears.reserve().await else { return future::pending().await };
            metrics::counter!("promptroom_bus_missed_total").increment(1);
            place.send(Heard::Missed);
        }
    }

    async fn listen(self: &Arc<Self>, pause: &mut Pause) -> RedisResult<Infallible> {
        let down = Arc::new(Notify::new());
        let mut link = Link::open(&self.address, Some(self.ear(down.clone()))).await?;
        self.settle(&mut link).await?;
        *pause = Pause::default();
        self.topics.up();
        self.standing.up(Part::Listening);
        self.missed.notify_one();
        let mut ping = interval(super::PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = down.notified() => return Err(Error::from(ErrorKind::ConnectionReset).into()),
                () = self.topics.changed.notified() => self.settle(&mut link).await?,
                _ = ping.tick() => link.ping().await?,
            }
        }
    }

    /// Subscribes and unsubscribes until what is confirmed is what is wanted.
    async fn settle(&self, link: &mut Link) -> RedisResult<()> {
        while let Some(step) = self.topics.step() {
            let names =
                |topics: &[_]| topics.iter().map(|topic| self.channels.name(*topic)).collect::<Vec<_>>();
            if !step.join.is_empty() {
                link.subscribe(&names(&step.join)).await?;
                if self.topics.joined(&step.join) {
                    self.missed.notify_one();
                }
            }
            if !step.leave.is_empty() {
                link.unsubscribe(&names(&step.leave)).await?;
            }
        }
        Ok(())
    }

    /// Runs within the connection and so never waits. `down` is rung when the connection is no longer of use.
    fn ear(self: &Arc<Self>, down: Arc<Notify>) -> Push {
        let redis = self.clone();
        Arc::new(move |push: PushInfo| -> Result<(), Infallible> {
            match push.kind {
                PushKind::Message | PushKind::SMessage => redis.hear(&push.data),
                PushKind::Disconnection => down.notify_one(),
                // The shard gave the topic away, or the server took the right to hear it.
                PushKind::Unsubscribe | PushKind::SUnsubscribe if redis.is_taken_away(&push.data) => {
                    down.notify_one();
                }
                _ => {}
            }
            Ok(())
        })
    }

    fn is_taken_away(&self, data: &[Value]) -> bool {
        let Some(Value::BulkString(channel)) = data.first() else { return false };
        self.channels.topic(channel).is_some_and(|topic| self.topics.is_confirmed(topic))
    }

    pub(super) fn hear(&self, data: &[Value]) {
        let [Value::BulkString(channel), Value::BulkString(bytes)] = data else { return };
        let Some(topic) = self.channels.topic(channel).filter(|topic| self.topics.is_wanted(*topic)) else {
            return;
        };
        match envelope::open(self.node, bytes) {
            Opened::Own => {}
            Opened::NotUnderstood => metrics::counter!("promptroom_bus_not_understood_total").increment(1),
            Opened::Other(note) => {
                if let Err(TrySendError::Full(_)) = self.ears.try_send(Heard::Note { topic, note }) {
                    self.missed.notify_one();
                }
            }
        }
    }
}
