//! A member against a scripted server: what it sends, and what it makes of the answers.

use super::{Client, ClientError, ConnectOptions};
use crate::{edits::EMPTY_UPDATE, run_reader::RunReader, socket::Socket, tasks::Tasks};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use promptroom_protocol::{
    BlockKind, ClientFrame, Epoch, Hello, Limits, LineageId, MemberId, Offset, Person, PromptId,
    RecordsFrame, RequestId, Role, RunCursor, RunId, Seq, ServerFrame, SyncStep, VERSION,
};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};
use uuid::Uuid;

const RUN: RunId = RunId(Uuid::from_u128(4));

fn hello() -> ServerFrame<'static> {
    let me =
        Person { id: MemberId(Uuid::from_u128(3)), name: "Load".into(), role: Role::Owner, client: None };
    ServerFrame::Hello(Box::new(Hello {
        version: VERSION,
        prompt: PromptId(Uuid::from_u128(1)),
        slug: "room".into(),
        lineage: LineageId(Uuid::from_u128(2)),
        head: Seq(1),
        me,
        rights: Role::Owner.rights(),
        request_id: RequestId(Uuid::from_u128(5)),
        limits: Limits { message_bytes: 1, document_bytes: 1, awareness_bytes: 1, watched_runs: 8 },
        runs: Vec::new(),
    }))
}

async fn say(socket: &mut Socket, frame: &ServerFrame<'_>) {
    socket.send(Message::Binary(frame.encode())).await.unwrap();
}

async fn hear(socket: &mut Socket) -> Bytes {
    socket.next().await.unwrap().unwrap().into_data()
}

async fn room(mut socket: Socket) {
    say(&mut socket, &hello()).await;
    let join = hear(&mut socket).await;
    assert!(matches!(ClientFrame::decode(&join), Ok(ClientFrame::Join { have: None, .. })));
    say(&mut socket, &ServerFrame::Sync(SyncStep::Step2(EMPTY_UPDATE))).await;
    say(&mut socket, &ServerFrame::Sync(SyncStep::Step1(&[0]))).await;
    say(&mut socket, &ServerFrame::Saved { frames: 0, head: Seq(1) }).await;
    let step = hear(&mut socket).await;
    assert!(matches!(ClientFrame::decode(&step), Ok(ClientFrame::Sync(SyncStep::Step2(_)))));
    let edit = hear(&mut socket).await;
    assert!(matches!(ClientFrame::decode(&edit), Ok(ClientFrame::Sync(SyncStep::Update(_)))));
    say(&mut socket, &ServerFrame::Saved { frames: 2, head: Seq(2) }).await;
    let watch = hear(&mut socket).await;
    assert_eq!(ClientFrame::decode(&watch), Ok(ClientFrame::Watch { run: RUN, cursor: RunCursor::START }));
    let records = vec![(0, BlockKind::Text, Bytes::from_static(b"hello"))];
    let frame = RecordsFrame { run: RUN, epoch: Epoch(1), offset: Offset(0), records };
    say(&mut socket, &ServerFrame::Records(frame)).await;
    say(&mut socket, &ServerFrame::End { run: RUN, epoch: Epoch(1), offset: Offset(5) }).await;
    let goodbye = CloseFrame { code: 4503.into(), reason: "going away".into() };
    socket.close(Some(goodbye)).await.unwrap();
}

#[tokio::test]
async fn a_page_member_joins_edits_watches_and_is_told_why_it_was_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = Tasks::default();
    tasks.start(async move {
        let (stream, _) = listener.accept().await.unwrap();
        room(tokio_tungstenite::accept_async(stream).await.unwrap()).await;
    });
    let options = ConnectOptions::page("token").from("127.9.8.7".parse().unwrap());
    let mut client = Client::connect(&format!("ws://{address}"), "room", &options).await.unwrap();
    assert_eq!(client.join().await.unwrap().hello.unwrap().slug, "room");
    let frames = client.edit("x").await.unwrap();
    client.wait_saved(frames).await.unwrap();
    assert_eq!((frames, client.saved(), client.head()), (2, 2, Seq(2)));
    client.watch(RUN, RunCursor::START).await.unwrap();
    let mut reader = RunReader::new(RUN);
    client.read_to_end(&mut reader).await.unwrap();
    assert_eq!(reader.bytes(), b"hello");
    let closed = client.next().await.unwrap_err();
    assert!(matches!(closed, ClientError::Closed { code: 4503, reason } if reason == "going away"));
    tasks.next().await.unwrap().unwrap();
}
