//! A TCP proxy between two processes, which can hold bytes back, slow them down and cut.

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use promptroom_loadtest::tasks::Tasks;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

const PIECE_BYTES: usize = 4096;
/// Between reading and writing, which a delay sets apart.
const PIECES_WAITING: usize = 64;

/// A direction, as seen from the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToClient,
}

/// What the line does at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Line {
    to_server: Flow,
    to_client: Flow,
    /// How much later everything arrives.
    delay: Duration,
    door: Door,
    /// How often everything was cut; a connection ends when this moves.
    cuts: u64,
}

/// One direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flow {
    gate: Gate,
    /// After so many more bytes all connections are cut.
    bytes_left: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Gate {
    #[default]
    Open,
    /// Bytes stay where they are; the connection looks alive.
    Held,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Door {
    #[default]
    Open,
    /// A new connection is closed at once.
    Shut,
}

impl Line {
    fn flow(&mut self, way: Way) -> &mut Flow {
        match way {
            Way::ToServer => &mut self.to_server,
            Way::ToClient => &mut self.to_client,
        }
    }
}

/// Passes connections on to one address.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    line: Arc<watch::Sender<Line>>,
    _tasks: Tasks,
}

impl FaultProxy {
    pub async fn before(server: SocketAddr) -> Result<FaultProxy> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let line = Arc::new(watch::Sender::new(Line::default()));
        let mut tasks = Tasks::default();
        tasks.start(accept(listener, server, Arc::clone(&line)));
        Ok(FaultProxy { address, line, _tasks: tasks })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn ws(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub fn http(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Nothing passes in either direction until `open`.
    pub fn stall(&self) {
        self.hold(Way::ToServer);
        self.hold(Way::ToClient);
    }

    /// Nothing passes in this direction until `open`; the other one goes on.
    pub fn hold(&self, way: Way) {
        self.line.send_modify(|line| line.flow(way).gate = Gate::Held);
    }

    /// Everything arrives this much later.
    pub fn delay(&self, delay: Duration) {
        self.line.send_modify(|line| line.delay = delay);
    }

    /// Ends all connections; those made afterwards pass.
    pub fn cut(&self) {
        self.line.send_modify(|line| line.cuts += 1);
    }

    /// Ends all connections once so many more bytes have passed in this direction, in mid-message as likely as not.
    pub fn cut_after(&self, way: Way, bytes: u64) {
        self.line.send_modify(|line| line.flow(way).bytes_left = Some(bytes));
    }

    /// Ends all connections, and new ones at once, until `open`.
    pub fn shut(&self) {
        self.line.send_modify(|line| {
            line.door = Door::Shut;
            line.cuts += 1;
        });
    }

    /// Whatever was wrong with the line is over.
    pub fn open(&self) {
        self.line.send_modify(|line| *line = Line { cuts: line.cuts, ..Line::default() });
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, line: Arc<watch::Sender<Line>>) {
    let mut connections = Tasks::default();
    while let Ok((client, _)) = listener.accept().await {
        connections.sweep();
        if line.borrow().door == Door::Shut {
            continue;
        }
        let line = Arc::clone(&line);
        connections.start(async move {
            // A connection that fails is what the test sees on its own end.
            let _ = pass(client, server, line).await;
        });
    }
}

async fn pass(client: TcpStream, server: SocketAddr, line: Arc<watch::Sender<Line>>) -> Result<()> {
    let mut state = line.subscribe();
    let cuts = state.borrow().cuts;
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    tokio::select! {
        result = copy(client_read, server_write, &line, Way::ToServer) => result,
        result = copy(server_read, client_write, &line, Way::ToClient) => result,
        _ = state.wait_for(|line| line.cuts != cuts) => Ok(()),
    }
}

/// One direction of one connection, until its end has been passed on.
async fn copy(from: OwnedReadHalf, to: OwnedWriteHalf, line: &watch::Sender<Line>, way: Way) -> Result<()> {
    let (pieces, waiting) = mpsc::channel(PIECES_WAITING);
    tokio::try_join!(take(from, pieces, line, way), give(to, waiting, line, way))?;
    Ok(())
}

async fn take(
    mut from: OwnedReadHalf,
    pieces: mpsc::Sender<(Instant, Bytes)>,
    line: &watch::Sender<Line>,
    way: Way,
) -> Result<()> {
    let mut state = line.subscribe();
    let mut buffer = BytesMut::new();
    loop {
        state.wait_for(|line| is_open(*line, way)).await?;
        buffer.reserve(PIECE_BYTES);
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let due = Instant::now() + state.borrow().delay;
        if pieces.send((due, buffer.split().freeze())).await.is_err() {
            return Ok(());
        }
    }
}

async fn give(
    mut to: OwnedWriteHalf,
    mut waiting: mpsc::Receiver<(Instant, Bytes)>,
    line: &watch::Sender<Line>,
    way: Way,
) -> Result<()> {
    let mut state = line.subscribe();
    while let Some((due, piece)) = waiting.recv().await {
        sleep_until(due).await;
        state.wait_for(|line| is_open(*line, way)).await?;
        let spent = spend(line, way, piece.len());
        to.write_all(&piece[..spent.allowed]).await?;
        if spent.is_last {
            line.send_modify(|line| line.cuts += 1);
        }
    }
    Ok(())
}

fn is_open(mut line: Line, way: Way) -> bool {
    line.flow(way).gate == Gate::Open
}

/// How many of some bytes may pass, and whether the connections are to be cut after them.
#[derive(Clone, Copy, Debug)]
struct Spent {
    allowed: usize,
    is_last: bool,
}

fn spend(line: &watch::Sender<Line>, way: Way, bytes: usize) -> Spent {
    let mut spent = Spent { allowed: bytes, is_last: false };
    line.send_if_modified(|line| {
        let left = &mut line.flow(way).bytes_left;
        match *left {
            None => {}
            Some(rest) if rest > bytes as u64 => *left = Some(rest - bytes as u64),
            Some(rest) => {
                spent = Spent { allowed: rest as usize, is_last: true };
                *left = None;
            }
        }
        false
    });
    spent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PATIENCE;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_millis(100);

    async fn echo() -> (FaultProxy, TcpStream, Tasks) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let proxy = FaultProxy::before(listener.local_addr().unwrap()).await.unwrap();
        let mut tasks = Tasks::default();
        tasks.start(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            }
        });
        let stream = TcpStream::connect(proxy.address).await.unwrap();
        (proxy, stream, tasks)
    }

    async fn says(stream: &mut TcpStream, text: &[u8; 3]) {
        stream.write_all(text).await.unwrap();
        let mut answer = [0; 3];
        timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, text);
    }

    async fn is_over(stream: &mut TcpStream) -> bool {
        matches!(timeout(PATIENCE, stream.read(&mut [0; 3])).await.unwrap(), Ok(0) | Err(_))
    }

    #[tokio::test]
    async fn what_is_held_back_in_either_direction_arrives_afterwards() {
        let (proxy, mut stream, _tasks) = echo().await;
        says(&mut stream, b"one").await;
        for way in [Way::ToServer, Way::ToClient] {
            proxy.hold(way);
            let early = timeout(SOON, says(&mut stream, b"two")).await;
            assert!(early.is_err(), "nothing passes while the line is held");
            proxy.open();
            let mut answer = [0; 3];
            timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
            assert_eq!(&answer, b"two");
        }
    }

    #[tokio::test]
    async fn a_cut_ends_the_connection_and_a_new_one_passes() {
        let (proxy, mut stream, _tasks) = echo().await;
        says(&mut stream, b"one").await;
        proxy.cut();
        assert!(is_over(&mut stream).await);
        says(&mut TcpStream::connect(proxy.address).await.unwrap(), b"two").await;
    }

    #[tokio::test]
    async fn a_cut_after_bytes_lets_exactly_those_pass() {
        let (proxy, mut stream, _tasks) = echo().await;
        says(&mut stream, b"one").await;
        proxy.cut_after(Way::ToClient, 5);
        stream.write_all(b"two").await.unwrap();
        stream.write_all(b"three").await.unwrap();
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
        assert_eq!(rest, b"twoth");
    }

    #[tokio::test]
    async fn a_shut_door_opens_again() {
        let (proxy, mut stream, _tasks) = echo().await;
        proxy.shut();
        assert!(is_over(&mut stream).await);
        assert!(is_over(&mut TcpStream::connect(proxy.address).await.unwrap()).await);
        proxy.open();
        says(&mut TcpStream::connect(proxy.address).await.unwrap(), b"two").await;
    }

    #[tokio::test]
    async fn a_delay_adds_to_both_directions() {
        let (proxy, mut stream, _tasks) = echo().await;
        proxy.delay(SOON);
        let started = Instant::now();
        says(&mut stream, b"one").await;
        assert!(started.elapsed() >= 2 * SOON);
    }
}
