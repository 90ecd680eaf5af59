//! Whoever comes back with the head it was told lacks exactly what it is sent, whatever happened meanwhile.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const AUTHOR: SocketId = SocketId(0);

#[derive(Clone, Debug)]
enum Step {
    /// Somebody here edits; the first reader is the author if so said.
    Edit { by_reader: bool },
    /// One of our own frames.
    Frame,
    /// The keeper's commit lands in the database.
    Commit { bytes_max: usize },
    /// The room is told of it.
    Written,
    /// The commit was in doubt and is made once more before the room is told.
    CommitAgain,
    /// Another node's rows land in the database.
    Others { rows: u8 },
    /// A row that comes next reaches us, ours among them.
    Row,
    /// A reader takes some entries.
    Read { reader: usize, count: usize },
    /// It is told of the head, as far as that is right.
    Tell { reader: usize },
    /// It comes back with what it was told, and with nothing else.
    Return { reader: usize },
    /// One comes from another node, which told it of a row.
    Arrive { reader: usize, behind: u64 },
}

#[derive(Default)]
struct Reader {
    cursor: Position,
    holds: BTreeSet<u32>,
    told: Seq,
}

/// A node's log, the database that it shares with others, and its readers.
struct World {
    log: Log,
    /// Row n holds the edit `rows[n - 1]`.
    rows: Vec<u32>,
    /// All edits that the node's document holds.
    here: BTreeSet<u32>,
    edits: u32,
    committed: Option<(Vec<u32>, Position, Seq)>,
    readers: Vec<Reader>,
}

impl World {
    fn new(entries: usize) -> World {
        let limits = LogLimits { entries, bytes: 1 << 20, unwritten_bytes: 1 << 20 };
        World {
            log: Log::new(limits, Seq(0)),
            rows: Vec::new(),
            here: BTreeSet::new(),
            edits: 0,
            committed: None,
            readers: (0..3).map(|_| Reader::default()).collect(),
        }
    }

    fn edit(&mut self) -> u32 {
        self.edits += 1;
        self.edits
    }

    fn up_to(&self, seq: Seq) -> BTreeSet<u32> {
        self.rows[..seq.0 as usize].iter().copied().collect()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Edit { by_reader } => {
                let edit = self.edit();
                self.here.insert(edit);
                self.log.append_update(&edit.to_be_bytes(), by_reader.then_some(AUTHOR));
                if by_reader {
                    self.readers[0].holds.insert(edit);
                }
            }
            Step::Frame => drop(self.log.append_frame(Bytes::from_static(b"run"))),
            Step::Commit { bytes_max } if self.committed.is_none() => {
                let Some((updates, last)) = self.log.unwritten(bytes_max) else { return };
                let first = Seq(self.rows.len() as u64 + 1);
                let edits: Vec<u32> = updates.iter().map(read).collect();
                self.rows.extend(&edits);
                self.committed = Some((edits, last, first));
            }
            Step::Commit { .. } => {}
            Step::CommitAgain => {
                if let Some((edits, _, first)) = &mut self.committed {
                    *first = Seq(self.rows.len() as u64 + 1);
                    self.rows.extend(edits.iter());
                }
            }
            Step::Written => {
                if let Some((_, last, first)) = self.committed.take() {
                    self.log.written(last, first).expect("few stretches");
                }
            }
            Step::Others { rows } => {
                for _ in 0..rows {
                    let edit = self.edit();
                    self.rows.push(edit);
                }
            }
            Step::Row => {
                let next = self.log.head_seq().0 as usize;
                if let Some(edit) = self.rows.get(next) {
                    self.here.insert(*edit);
                    self.log.append_row(&edit.to_be_bytes(), Seq(next as u64 + 1)).expect("the next row");
                }
            }
            Step::Read { reader, count } => self.read(reader, count),
            Step::Tell { reader } => self.tell(reader),
            Step::Return { reader } => self.return_with(reader, self.readers[reader].told),
            Step::Arrive { reader, behind } => {
                self.return_with(reader, Seq((self.rows.len() as u64).saturating_sub(behind)));
            }
        }
        self.check();
    }

    fn read(&mut self, number: usize, count: usize) {
        let reader = &mut self.readers[number];
        let Ok(entries) = self.log.since(reader.cursor, false, count) else {
            return self.return_with(number, self.readers[number].told);
        };
        for (position, entry) in entries {
            reader.cursor = position;
            if entry.audience == Audience::AllBut(None)
                || number != 0 && entry.audience == Audience::AllBut(Some(AUTHOR))
            {
                reader.holds.insert(content(&entry.frame));
            }
        }
    }

    fn tell(&mut self, number: usize) {
        if self.readers[number].cursor < self.log.head_position() {
            return;
        }
        let head = self.log.head_seq();
        let rows = self.up_to(head);
        let reader = &mut self.readers[number];
        assert!(rows.is_subset(&reader.holds), "told of rows that it was not sent");
        reader.told = head;
    }

    /// Holding what is in the rows up to `have`, and nothing else.
    fn return_with(&mut self, number: usize, have: Seq) {
        let mut holds = self.up_to(have);
        match self.log.rows_after(have) {
            Some(frames) => {
                let sent: Vec<u32> = frames.iter().map(|frame| content(frame)).collect();
                let rows_of: BTreeMap<u32, usize> =
                    self.rows.iter().enumerate().map(|(index, edit)| (*edit, index + 1)).collect();
                let untold = self.committed.iter().flat_map(|(edits, ..)| edits).collect::<BTreeSet<_>>();
                for edit in sent.iter().filter(|edit| !untold.contains(edit)) {
                    let newest = rows_of.get(edit).copied().unwrap_or(usize::MAX);
                    assert!(newest as u64 > have.0, "it was sent a row that it has");
                }
                holds.extend(sent);
            }
            // The difference to its state vector.
            None => holds.extend(&self.here),
        }
        assert!(self.here.is_subset(&holds), "it lacks something that was not sent");
        let told = self.log.head_seq().max(have);
        self.readers[number] = Reader { cursor: self.log.head(), holds, told };
    }

    fn check(&self) {
        let rows = self.up_to(self.log.head_seq());
        assert!(rows.is_subset(&self.here), "the head is ahead of what is here");
        assert!(self.log.durable() <= self.log.head());
    }
}

fn read(update: &Bytes) -> u32 {
    u32::from_be_bytes(update[..].try_into().expect("four bytes"))
}

fn content(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[frame.len() - 4..].try_into().expect("four bytes"))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(|by_reader| Step::Edit { by_reader }),
        1 => Just(Step::Frame),
        3 => (1..20_usize).prop_map(|bytes_max| Step::Commit { bytes_max }),
        3 => Just(Step::Written),
        1 => Just(Step::CommitAgain),
        2 => (1..4_u8).prop_map(|rows| Step::Others { rows }),
        5 => Just(Step::Row),
        5 => (0..3_usize, 1..5_usize).prop_map(|(reader, count)| Step::Read { reader, count }),
        3 => (0..3_usize).prop_map(|reader| Step::Tell { reader }),
        2 => (0..3_usize).prop_map(|reader| Step::Return { reader }),
        1 => (0..3_usize, 0..9_u64).prop_map(|(reader, behind)| Step::Arrive { reader, behind }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_reader_that_was_told_of_a_head_has_all_rows_up_to_it_and_gets_what_it_lacks(
        entries in 1..9_usize,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(entries);
        for step in steps {
            world.step(step);
        }
        // In the end everything comes, and all nodes have the same.
        world.step(Step::Written);
        while world.log.has_unwritten() {
            world.step(Step::Commit { bytes_max: 8 });
            world.step(Step::Written);
        }
        while (world.log.head_seq().0 as usize) < world.rows.len() {
            world.step(Step::Row);
        }
        assert_eq!(world.log.durable(), world.log.head());
        assert_eq!(world.here, world.rows.iter().copied().collect());
    }
}
