//! A WebSocket with small buffers over a TCP connection whose source address can be chosen.

use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as WebSocketError,
        client::IntoClientRequest,
        http::{HeaderValue, Request, header},
        protocol::WebSocketConfig,
    },
};

const READ_BUFFER_BYTES: usize = 4096;
const WRITE_BUFFER_BYTES: usize = 4096;
const UNSENT_BYTES_MAX: usize = 64 << 10;
const MESSAGE_BYTES_MAX: usize = 64 << 20;

pub type Socket = WebSocketStream<TcpStream>;

/// How a socket proves who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credential {
    #[default]
    None,
    /// `Authorization: Bearer`
    Header(String),
    /// `promptroom, token.<token>`, as a browser that cannot set headers does it.
    Subprotocol(String),
}

/// The same on both sides, so that neither the relay nor the generator is a strawman.
pub fn small_buffers() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(UNSENT_BYTES_MAX + MESSAGE_BYTES_MAX)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
}

/// Connects with no delay, from `source` if given; a small receive buffer makes a stalled reader felt soon.
pub async fn connect_tcp(
    address: SocketAddr,
    source: Option<Ipv4Addr>,
    receive_buffer_bytes: Option<u32>,
) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(source) = source {
        socket.bind(SocketAddr::from((source, 0)))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Opens a WebSocket on `stream` for `url`, with `credential`.
pub async fn open(stream: TcpStream, url: &str, credential: &Credential) -> Result<Socket, WebSocketError> {
    let request = request(url, credential)?;
    let (socket, _) =
        tokio_tungstenite::client_async_with_config(request, stream, Some(small_buffers())).await?;
    Ok(socket)
}

fn request(url: &str, credential: &Credential) -> Result<Request<()>, WebSocketError> {
    let mut request = url.into_client_request()?;
    let (name, value) = match credential {
        Credential::None => return Ok(request),
        Credential::Header(token) => (header::AUTHORIZATION, format!("Bearer {token}")),
        Credential::Subprotocol(token) => {
            (header::SEC_WEBSOCKET_PROTOCOL, format!("promptroom, token.{token}"))
        }
    };
    let value = HeaderValue::from_str(&value).map_err(|error| WebSocketError::HttpFormat(error.into()))?;
    request.headers_mut().insert(name, value);
    Ok(request)
}

/// Source addresses of loopback, one after the other, so that no address runs out of ports.
pub fn source(index: usize) -> Ipv4Addr {
    const HOSTS: usize = 250;
    Ipv4Addr::new(
        127,
        1 + (index / (HOSTS * HOSTS) % HOSTS) as u8,
        (index / HOSTS % HOSTS) as u8,
        2 + (index % HOSTS) as u8,
    )
}
