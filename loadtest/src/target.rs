//! What load is put on, behind one kind of member: the product, the relay, or plain TCP.

use crate::{
    client::{Client, ConnectOptions},
    raw_relay::take_frame,
    socket,
};
use anyhow::Result;
use bytes::{BufMut, Bytes, BytesMut};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const READ_BUFFER_BYTES: usize = 4096;

/// One of the things that are compared.
#[derive(Clone, Debug)]
pub enum Target {
    /// Members are dealt out to its nodes in turn.
    Promptroom {
        bases: Vec<String>,
        token: String,
        members: Members,
    },
    Relay(SocketAddr),
    Raw(SocketAddr),
}

/// Which protocol the members of a room speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Members {
    /// Our page's: saved marks and run states come with it.
    Page,
    /// Plain y-websocket.
    Stock,
}

/// A member of a room of any target.
#[derive(Debug)]
pub enum Member {
    Socket(Box<Client>),
    Raw { stream: TcpStream, buffer: BytesMut },
}

impl Target {
    pub fn name(&self) -> &'static str {
        match self {
            Target::Promptroom { .. } => "promptroom",
            Target::Relay(_) => "relay",
            Target::Raw(_) => "raw write(2)",
        }
    }

    pub fn nodes(&self) -> usize {
        match self {
            Target::Promptroom { bases, .. } => bases.len(),
            Target::Relay(_) | Target::Raw(_) => 1,
        }
    }

    /// The node that this member is on.
    pub fn node_of(&self, index: usize) -> usize {
        index % self.nodes()
    }

    /// Connects and joins; `index` spreads the members over source addresses.
    pub async fn join(&self, room: &str, index: usize) -> Result<Member> {
        let source = socket::source(index);
        match self {
            Target::Promptroom { bases, token, members } => {
                let base = &bases[self.node_of(index)];
                let options = match members {
                    Members::Page => ConnectOptions::page(token),
                    Members::Stock => ConnectOptions::stock(token),
                };
                let mut client = Client::connect(base, room, &options.from(source)).await?;
                client.join().await?;
                Ok(Member::Socket(Box::new(client)))
            }
            Target::Relay(address) => {
                let options = ConnectOptions::stock("none").from(source);
                Ok(Member::Socket(Box::new(Client::connect(&address.to_string(), room, &options).await?)))
            }
            Target::Raw(address) => {
                let mut stream = socket::connect_tcp(*address, Some(source), None).await?;
                stream.write_all(format!("{room}\n").as_bytes()).await?;
                Ok(Member::Raw { stream, buffer: BytesMut::with_capacity(READ_BUFFER_BYTES) })
            }
        }
    }
}

impl Member {
    pub async fn send(&mut self, frame: Bytes) -> Result<()> {
        match self {
            Member::Socket(client) => client.send_bytes(frame).await?,
            Member::Raw { stream, .. } => {
                let mut framed = BytesMut::with_capacity(frame.len() + 2);
                framed.put_u16(u16::try_from(frame.len())?);
                framed.put_slice(&frame);
                stream.write_all(&framed).await?;
            }
        }
        Ok(())
    }

    /// The next frame. Cancel-safe.
    pub async fn receive(&mut self) -> Result<Bytes> {
        match self {
            Member::Socket(client) => Ok(client.receive().await?.0),
            Member::Raw { stream, buffer } => loop {
                if let Some(frame) = take_frame(buffer) {
                    return Ok(frame.freeze().slice(2..));
                }
                anyhow::ensure!(stream.read_buf(buffer).await? > 0, "the raw relay dropped this member");
            },
        }
    }

    /// How many of this member's document frames are durable; only the product's page members know.
    pub fn saved(&self) -> u64 {
        match self {
            Member::Socket(client) => client.saved(),
            Member::Raw { .. } => 0,
        }
    }
}
