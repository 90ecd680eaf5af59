//! A run's output as one viewer gets it, byte by byte: nothing may be missing, doubled or mixed.

use promptroom_protocol::{Epoch, Offset, RecordsFrame, RunCursor};

#[derive(Clone, Debug)]
pub struct Watched {
    pub cursor: RunCursor,
    pub bytes: Vec<u8>,
    pub ended: bool,
    /// Seen as a seam.
    pub rewinds: u32,
}

impl Watched {
    pub fn from_the_start() -> Watched {
        Watched { cursor: RunCursor::START, bytes: Vec::new(), ended: false, rewinds: 0 }
    }

    pub fn records(&mut self, frame: &RecordsFrame) -> Result<(), String> {
        self.goes_on()?;
        if frame.epoch != self.cursor.epoch || frame.offset != self.cursor.offset {
            let (epoch, offset) = (frame.epoch.0, frame.offset.0);
            return Err(format!("2: records at {epoch}:{offset} for a viewer at {}", self.cursor));
        }
        for (_, _, bytes) in &frame.records {
            if bytes.is_empty() || std::str::from_utf8(bytes).is_err() {
                return Err(format!("2: a record at {} is empty or cuts a character", self.cursor));
            }
            self.bytes.extend_from_slice(bytes);
        }
        self.cursor.offset = Offset(self.bytes.len() as u64);
        Ok(())
    }

    pub fn rewind(&mut self, epoch: Epoch, offset: Offset) -> Result<(), String> {
        self.goes_on()?;
        if epoch <= self.cursor.epoch || offset > self.cursor.offset {
            return Err(format!("2: rewound from {} to {}:{}", self.cursor, epoch.0, offset.0));
        }
        self.bytes.truncate(offset.0 as usize);
        self.cursor = RunCursor { epoch, offset };
        self.rewinds += 1;
        Ok(())
    }

    pub fn end(&mut self, epoch: Epoch, offset: Offset) -> Result<(), String> {
        self.goes_on()?;
        if epoch != self.cursor.epoch || offset != self.cursor.offset {
            return Err(format!(
                "2: the end is told at {}:{} to a viewer at {}",
                epoch.0, offset.0, self.cursor
            ));
        }
        self.ended = true;
        Ok(())
    }

    fn goes_on(&self) -> Result<(), String> {
        if self.ended { Err(format!("2: something came after the end at {}", self.cursor)) } else { Ok(()) }
    }
}
