//! Plain TCP fan-out with one `write(2)` a message and reader: what the kernel alone costs.
//!
//! A member first sends its room's name and a line feed; then every frame is its length in two bytes (big
//! endian) and its bytes, both ways. Nothing is queued: a member whose socket is full is dropped, which the
//! measurement sees as lost messages.

use crate::tasks::Tasks;
use anyhow::{Context, Result, ensure};
use bytes::{Buf, Bytes, BytesMut};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
};

const NAME_BYTES_MAX: usize = 200;
const READ_BUFFER_BYTES: usize = 4096;

#[derive(Debug)]
pub struct RawRelay {
    address: SocketAddr,
    _tasks: Tasks,
}

type Member = (u64, OwnedWriteHalf);

#[derive(Clone, Debug, Default)]
struct Rooms(Arc<Mutex<HashMap<Bytes, Vec<Member>>>>);

impl RawRelay {
    pub async fn start(address: SocketAddr) -> Result<RawRelay> {
        let listener = TcpListener::bind(address).await.context("the raw relay cannot listen")?;
        let address = listener.local_addr()?;
        let mut tasks = Tasks::default();
        tasks.start(accept(listener));
        Ok(RawRelay { address, _tasks: tasks })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The next whole frame of `buffer`, its length included.
pub fn take_frame(buffer: &mut BytesMut) -> Option<BytesMut> {
    let length = usize::from(u16::from_be_bytes([*buffer.first()?, *buffer.get(1)?]));
    (buffer.len() >= length + 2).then(|| buffer.split_to(length + 2))
}

async fn accept(listener: TcpListener) {
    let rooms = Rooms::default();
    let mut members = Tasks::default();
    for number in 0.. {
        members.sweep();
        let Ok((stream, _)) = listener.accept().await else { continue };
        let rooms = rooms.clone();
        members.start(async move {
            // A member that goes away in whatever manner is simply gone.
            let _ = serve(stream, number, rooms).await;
        });
    }
}

async fn serve(stream: TcpStream, number: u64, rooms: Rooms) -> Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, writer) = stream.into_split();
    let mut buffer = BytesMut::with_capacity(READ_BUFFER_BYTES);
    let room = room_name(&mut reader, &mut buffer).await?;
    rooms.lock().entry(room.clone()).or_default().push((number, writer));
    let gone = relay(&mut reader, &mut buffer, number, &room, &rooms).await;
    if let Some(members) = rooms.lock().get_mut(&room) {
        members.retain(|(member, _)| *member != number);
    }
    gone
}

async fn room_name(reader: &mut OwnedReadHalf, buffer: &mut BytesMut) -> Result<Bytes> {
    loop {
        if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let name = buffer.split_to(end).freeze();
            buffer.advance(1);
            return Ok(name);
        }
        ensure!(buffer.len() < NAME_BYTES_MAX, "the room's name is too long");
        ensure!(reader.read_buf(buffer).await? > 0, "gone before it joined");
    }
}

async fn relay(
    reader: &mut OwnedReadHalf,
    buffer: &mut BytesMut,
    number: u64,
    room: &Bytes,
    rooms: &Rooms,
) -> Result<()> {
    loop {
        while let Some(frame) = take_frame(buffer) {
            if let Some(members) = rooms.lock().get_mut(room) {
                members.retain(|(member, writer)| *member == number || writes_all(writer, &frame));
            }
        }
        if reader.read_buf(buffer).await? == 0 {
            return Ok(());
        }
    }
}

fn writes_all(writer: &OwnedWriteHalf, frame: &[u8]) -> bool {
    writer.try_write(frame).is_ok_and(|written| written == frame.len())
}

impl Rooms {
    fn lock(&self) -> MutexGuard<'_, HashMap<Bytes, Vec<Member>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
