//! Frames made at random: no bytes whatever upset the codec, and whatever it reads it writes again.

use bytes::Bytes;
use promptroom_protocol::{
    BlockKind, ClientFrame, Epoch, LineageId, Offset, RecordsFrame, RunCursor, RunId, Seq, ServerFrame,
    SyncStep,
};
use proptest::{collection::vec, prelude::*};
use uuid::Uuid;

/// Types that exist, so that random bytes get past the first one.
const TYPES: [u8; 18] = [0, 1, 2, 3, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 32, 33, 34, 35];

proptest! {
    #[test]
    fn no_bytes_upset_the_codec(bytes in vec(any::<u8>(), 0..2_048)) {
        reads_again_what_it_writes(&bytes)?;
    }

    #[test]
    fn no_bytes_after_a_real_type_upset_the_codec(
        kind in prop::sample::select(TYPES.as_slice()),
        rest in vec(prop_oneof![0u8..8, any::<u8>()], 0..128),
    ) {
        let mut bytes = vec![kind];
        bytes.extend(rest);
        reads_again_what_it_writes(&bytes)?;
    }

    #[test]
    fn a_document_frame_survives_the_wire(payload in vec(any::<u8>(), 0..512), step in 0..3) {
        let step = match step {
            0 => SyncStep::Step1(&payload),
            1 => SyncStep::Step2(&payload),
            _ => SyncStep::Update(&payload),
        };
        client_survives(&ClientFrame::Sync(step))?;
        server_survives(&ServerFrame::Sync(step))?;
    }

    #[test]
    fn a_join_survives_the_wire(
        lineage in any::<u128>(),
        have in prop::option::of(0..u64::MAX),
        state_vector in vec(any::<u8>(), 0..64),
    ) {
        let lineage = LineageId(Uuid::from_u128(lineage));
        let frame = ClientFrame::Join { lineage, have: have.map(Seq), state_vector: &state_vector };
        client_survives(&frame)?;
    }

    #[test]
    fn a_watch_survives_the_wire(run in any::<u128>(), epoch in any::<u32>(), offset in any::<u64>()) {
        let run = RunId(Uuid::from_u128(run));
        let frame = ClientFrame::Watch { run, cursor: RunCursor { epoch: Epoch(epoch), offset: Offset(offset) } };
        client_survives(&frame)?;
    }

    #[test]
    fn records_survive_the_wire(
        epoch in any::<u32>(),
        offset in any::<u64>(),
        records in vec((any::<u32>(), 0u8..3, ".{1,40}"), 0..20),
    ) {
        let records = records
            .into_iter()
            .map(|(block, kind, text)| {
                let kind = BlockKind::from_byte(kind).expect("three kinds exist");
                (block, kind, Bytes::from(text))
            })
            .collect();
        let run = RunId(Uuid::from_u128(1));
        let frame = ServerFrame::Records(RecordsFrame { run, epoch: Epoch(epoch), offset: Offset(offset), records });
        server_survives(&frame)?;
    }
}

fn reads_again_what_it_writes(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(frame) = ClientFrame::decode(bytes) {
        client_survives(&frame)?;
    }
    if let Ok(frame) = ServerFrame::decode(bytes) {
        server_survives(&frame)?;
    }
    Ok(())
}

fn client_survives(frame: &ClientFrame<'_>) -> Result<(), TestCaseError> {
    let sent = frame.encode();
    prop_assert_eq!(&ClientFrame::decode(&sent), &Ok(frame.clone()));
    Ok(())
}

fn server_survives(frame: &ServerFrame<'_>) -> Result<(), TestCaseError> {
    let sent = frame.encode();
    prop_assert_eq!(&ServerFrame::decode(&sent), &Ok(frame.clone()));
    Ok(())
}
