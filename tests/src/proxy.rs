//! A TCP proxy between a client and a server, which can stop reading and can cut.

use anyhow::Result;
use promptroom_loadtest::tasks::Tasks;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

const PIECE_BYTES: usize = 4096;

/// What the line does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    flow: Flow,
    /// How often everything was cut; a connection ends when this moves.
    cuts: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Open,
    /// Bytes stay where they are; the connection looks alive.
    Stalled,
}

/// Passes connections on to one address.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    line: watch::Sender<Line>,
    _tasks: Tasks,
}

impl FaultProxy {
    pub async fn before(server: SocketAddr) -> Result<FaultProxy> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (line, state) = watch::channel(Line { flow: Flow::Open, cuts: 0 });
        let mut tasks = Tasks::default();
        tasks.start(accept(listener, server, state));
        Ok(FaultProxy { address, line, _tasks: tasks })
    }

    pub fn ws(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub fn http(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Nothing passes in either direction until `open`.
    pub fn stall(&self) {
        self.line.send_modify(|line| line.flow = Flow::Stalled);
    }

    pub fn open(&self) {
        self.line.send_modify(|line| line.flow = Flow::Open);
    }

    /// Ends all connections; those made afterwards pass.
    pub fn cut(&self) {
        self.line.send_modify(|line| line.cuts += 1);
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, line: watch::Receiver<Line>) {
    let mut connections = Tasks::default();
    while let Ok((client, _)) = listener.accept().await {
        connections.sweep();
        let line = line.clone();
        connections.start(async move {
            // A connection that fails is what the test sees on its own end.
            let _ = pass(client, server, line).await;
        });
    }
}

async fn pass(client: TcpStream, server: SocketAddr, mut line: watch::Receiver<Line>) -> Result<()> {
    let cuts = line.borrow().cuts;
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let (up, down) = (line.clone(), line.clone());
    tokio::select! {
        result = copy(client_read, server_write, up) => result,
        result = copy(server_read, client_write, down) => result,
        _ = line.wait_for(|line| line.cuts != cuts) => Ok(()),
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut line: watch::Receiver<Line>,
) -> Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        line.wait_for(|line| line.flow == Flow::Open).await?;
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return Ok(());
        }
        line.wait_for(|line| line.flow == Flow::Open).await?;
        to.write_all(&piece[..length]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PATIENCE;
    use tokio::time::timeout;

    async fn echo() -> (FaultProxy, TcpStream, Tasks) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let proxy = FaultProxy::before(listener.local_addr().unwrap()).await.unwrap();
        let mut tasks = Tasks::default();
        tasks.start(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let stream = TcpStream::connect(proxy.address).await.unwrap();
        (proxy, stream, tasks)
    }

    #[tokio::test]
    async fn what_is_held_back_by_a_stall_arrives_afterwards() {
        let (proxy, mut stream, _tasks) = echo().await;
        let mut answer = [0; 3];
        stream.write_all(b"one").await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();

        proxy.stall();
        stream.write_all(b"two").await.unwrap();
        let early = timeout(std::time::Duration::from_millis(100), stream.read_exact(&mut answer)).await;
        assert!(early.is_err(), "nothing passes while the line is stalled");

        proxy.open();
        timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"two");
    }

    #[tokio::test]
    async fn a_cut_ends_the_connection() {
        let (proxy, mut stream, _tasks) = echo().await;
        let mut answer = [0; 3];
        stream.write_all(b"one").await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        proxy.cut();
        let read = timeout(PATIENCE, stream.read(&mut answer)).await.unwrap();
        assert!(matches!(read, Ok(0) | Err(_)));
    }
}
