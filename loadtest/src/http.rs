//! A small HTTP client for the API: JSON in and out, and a streamed body.

use crate::{socket, tasks::Tasks};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming, client::conn::http1::SendRequest, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::{net::SocketAddr, time::Duration};
use tokio::time::timeout;

const HEAD_PATIENCE: Duration = Duration::from_secs(15);
const CONNECTION_PATIENCE: Duration = Duration::from_secs(5);

/// Where the API is and who asks.
#[derive(Clone, Debug)]
pub struct Api {
    pub address: SocketAddr,
    pub token: Option<String>,
}

impl Api {
    pub async fn get(&self, path: &str) -> Result<Value> {
        json(self.request(Method::GET, path, &[], None).await?).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        json(self.request(Method::POST, path, &[], Some(body)).await?).await
    }

    /// Sends a request on a connection of its own and returns once the head of the answer is there.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer> {
        let mut connection = self.connect().await?;
        let answer = connection.request(method, path, headers, body).await?;
        Ok(Answer { _connection: Some(connection), ..answer })
    }

    pub async fn connect(&self) -> Result<Connection> {
        let connecting = socket::connect_tcp(self.address, None, None);
        let stream = timeout(CONNECTION_PATIENCE, connecting).await.context("no connection in time")??;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut tasks = Tasks::default();
        tasks.start(async move {
            // An error of the connection is also an error of the body, where it is reported.
            let _ = connection.await;
        });
        Ok(Connection { api: self.clone(), sender, _tasks: tasks })
    }
}

/// A connection for one request after the other; each answer must be read to its end before the next.
#[derive(Debug)]
pub struct Connection {
    api: Api,
    sender: SendRequest<Full<Bytes>>,
    _tasks: Tasks,
}

impl Connection {
    pub async fn request(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer> {
        let host = self.api.address.to_string();
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
        if let Some(token) = &self.api.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut bytes = Bytes::new();
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json");
            bytes = Bytes::from(serde_json::to_vec(body)?);
        }
        let answering = async {
            self.sender.ready().await?;
            self.sender.send_request(request.body(Full::new(bytes))?).await.context("no answer")
        };
        let response = timeout(HEAD_PATIENCE, answering).await.context("no answer in time")??;
        Ok(Answer { response, _connection: None })
    }
}

/// An answer whose body is still to be read; dropping it closes a connection that is its own.
#[derive(Debug)]
pub struct Answer {
    response: Response<Incoming>,
    _connection: Option<Connection>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The next piece of the body; `None` at its end. Cancel-safe.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.response.body_mut().frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    pub async fn bytes(mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

async fn json(answer: Answer) -> Result<Value> {
    let status = answer.status();
    let body = answer.bytes().await?;
    ensure!((200..300).contains(&status), "status {status}: {}", String::from_utf8_lossy(&body));
    Ok(serde_json::from_slice(&body)?)
}
