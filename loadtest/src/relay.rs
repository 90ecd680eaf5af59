//! The bare relay: the same bytes through tokio-tungstenite without any product code.
//!
//! It is what a room costs at the very least, so it is written to be fast: one thread, small buffers, no delay,
//! and messages that wait together leave in one write.

use crate::{socket::small_buffers, tasks::Tasks};
use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::broadcast::{self, error::RecvError},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
    },
};

/// Messages that a room keeps for readers that are behind; one that is further behind is closed.
const ROOM_MESSAGES_MAX: usize = 128;
/// Messages that leave in one write at most.
const BATCH_MESSAGES_MAX: usize = 64;
const AWARENESS: u8 = 1;

/// A running relay; dropping it closes everything.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    _tasks: Tasks,
}

type Rooms = Arc<Mutex<HashMap<String, broadcast::Sender<Relayed>>>>;

#[derive(Clone, Debug)]
struct Relayed {
    from: u64,
    bytes: Bytes,
}

impl Relay {
    pub async fn start(address: SocketAddr) -> Result<Relay> {
        let listener = TcpListener::bind(address).await.context("the relay cannot listen")?;
        let address = listener.local_addr()?;
        let mut tasks = Tasks::default();
        tasks.start(accept(listener, Rooms::default()));
        Ok(Relay { address, _tasks: tasks })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, rooms: Rooms) {
    let mut members = Tasks::default();
    for number in 0.. {
        members.sweep();
        let Ok((stream, _)) = listener.accept().await else { continue };
        let rooms = Arc::clone(&rooms);
        members.start(async move {
            // A member that goes away in whatever manner is simply gone.
            let _ = serve(stream, number, rooms).await;
        });
    }
}

#[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
async fn serve(stream: TcpStream, number: u64, rooms: Rooms) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut path = String::new();
    let note_path = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        request.uri().path().clone_into(&mut path);
        Ok(response)
    };
    let socket =
        tokio_tungstenite::accept_hdr_async_with_config(stream, note_path, Some(small_buffers())).await?;
    let room = {
        let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.entry(path).or_insert_with(|| broadcast::Sender::new(ROOM_MESSAGES_MAX)).clone()
    };
    relay(socket, number, room).await
}

async fn relay(
    mut socket: WebSocketStream<TcpStream>,
    number: u64,
    room: broadcast::Sender<Relayed>,
) -> Result<()> {
    let mut inbox = room.subscribe();
    loop {
        tokio::select! {
            message = socket.next() => match message.transpose()? {
                Some(Message::Binary(message)) => {
                    // A message may be a slice of the read buffer, which must not be kept alive by it.
                    let bytes = Bytes::copy_from_slice(&message);
                    // Without any other member there is nobody to tell.
                    let _ = room.send(Relayed { from: number, bytes });
                }
                Some(Message::Close(_)) | None => return Ok(()),
                Some(_) => {}
            },
            relayed = inbox.recv() => match relayed {
                Ok(relayed) => {
                    feed(&mut socket, number, relayed).await?;
                    for _ in 1..BATCH_MESSAGES_MAX {
                        let Ok(relayed) = inbox.try_recv() else { break };
                        feed(&mut socket, number, relayed).await?;
                    }
                    socket.flush().await?;
                }
                Err(RecvError::Lagged(_) | RecvError::Closed) => return Ok(()),
            },
        }
    }
}

/// Presence comes back to its sender too, as in the product: stock clients live on it.
async fn feed(socket: &mut WebSocketStream<TcpStream>, number: u64, relayed: Relayed) -> Result<()> {
    if relayed.from != number || relayed.bytes.first() == Some(&AWARENESS) {
        socket.feed(Message::Binary(relayed.bytes)).await?;
    }
    Ok(())
}
