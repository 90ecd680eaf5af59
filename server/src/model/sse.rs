//! Server-sent events out of bytes, however the bytes are cut.

use std::collections::VecDeque;

/// The data of one event may not grow beyond this.
pub(super) const FRAME_BYTES_MAX: usize = 1 << 20;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// An event grew beyond `FRAME_BYTES_MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameTooLarge;

/// Keeps what is not yet a whole event; lines end in CR, LF or CRLF.
///
/// Only `data` is kept: the providers write the type of an event inside it as well.
#[derive(Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    data: Option<String>,
    /// The last line ended in CR, so that an LF right after it belongs to it.
    after_cr: bool,
    begun: bool,
}

impl Parser {
    /// Appends the data of each event that is now whole.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        events: &mut VecDeque<String>,
    ) -> Result<(), FrameTooLarge> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                self.line.extend_from_slice(bytes);
                return self.check_size(0);
            };
            self.after_cr = bytes[end] == b'\r';
            self.line.extend_from_slice(&bytes[..end]);
            self.end_line(events)?;
            bytes = &bytes[end + 1..];
        }
        Ok(())
    }

    /// The event that the end of the stream left without its empty line, if there is one.
    ///
    /// The standard drops it; some servers end with `data: [DONE]` and nothing after it.
    pub(super) fn finish(&mut self, events: &mut VecDeque<String>) -> Result<(), FrameTooLarge> {
        if !self.line.is_empty() {
            self.end_line(events)?;
        }
        events.extend(self.data.take());
        Ok(())
    }

    fn end_line(&mut self, events: &mut VecDeque<String>) -> Result<(), FrameTooLarge> {
        self.check_size(0)?;
        let mut line = std::mem::take(&mut self.line);
        let text = if std::mem::replace(&mut self.begun, true) {
            &line[..]
        } else {
            line.strip_prefix(BOM).unwrap_or(&line)
        };
        if text.is_empty() {
            events.extend(self.data.take());
        } else if let Some(value) = data_value(text) {
            self.check_size(value.len())?;
            // Whole lines only, so a character is never cut in two by the network.
            let value = String::from_utf8_lossy(value);
            match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(&value);
                }
                None => self.data = Some(value.into_owned()),
            }
        }
        line.clear();
        self.line = line;
        Ok(())
    }

    fn check_size(&self, more: usize) -> Result<(), FrameTooLarge> {
        let held = self.line.len().max(more) + self.data.as_ref().map_or(0, String::len);
        if held > FRAME_BYTES_MAX { Err(FrameTooLarge) } else { Ok(()) }
    }
}

fn data_value(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"data")?;
    if rest.is_empty() {
        return Some(rest);
    }
    let value = rest.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\u{FEFF}: hello\r\nevent: a\r\ndata: {\"x\":\"é👩‍💻\"}\r\n\r\ndata:no space\ndata:  two\n\n:\rdata: cr\r\rid: 7\ndatabase: no\ndata\n\nevent: lonely\n\ndata: [DONE]\r\n\r\n";
    const EVENTS: [&str; 5] = ["{\"x\":\"é👩‍💻\"}", "no space\n two", "cr", "", "[DONE]"];

    fn events_of(pieces: &[&[u8]]) -> Vec<String> {
        let mut parser = Parser::default();
        let mut events = VecDeque::new();
        for piece in pieces {
            parser.feed(piece, &mut events).unwrap();
        }
        events.into()
    }

    #[test]
    fn a_sample_is_the_same_wherever_it_is_cut() {
        let bytes = SAMPLE.as_bytes();
        assert_eq!(events_of(&[bytes]), EVENTS);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(events_of(&pieces), EVENTS, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_sample_is_the_same_byte_by_byte() {
        let pieces: Vec<&[u8]> = SAMPLE.as_bytes().chunks(1).collect();
        assert_eq!(events_of(&pieces), EVENTS);
    }

    #[test]
    fn an_event_without_its_empty_line_is_found_at_the_end() {
        for ending in ["data: [DONE]", "data: [DONE]\n", "data: [DONE]\r"] {
            let mut parser = Parser::default();
            let mut events = VecDeque::new();
            parser.feed(ending.as_bytes(), &mut events).unwrap();
            assert!(events.is_empty());
            parser.finish(&mut events).unwrap();
            assert_eq!(events, ["[DONE]"], "{ending:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_become_replacement_characters() {
        assert_eq!(events_of(&[b"data: a\xFFb\n\n"]), ["a\u{FFFD}b"]);
    }

    #[test]
    fn an_endless_line_and_an_endless_event_are_refused() {
        let piece = [b'x'; 4096];
        let mut parser = Parser::default();
        let mut events = VecDeque::new();
        let fed = (0..1000).map_while(|_| parser.feed(&piece, &mut events).ok()).count();
        assert!(fed * piece.len() <= FRAME_BYTES_MAX && fed > 200);

        let mut parser = Parser::default();
        let line = [b"data:", &piece[..], b"\n"].concat();
        let fed = (0..1000).map_while(|_| parser.feed(&line, &mut events).ok()).count();
        assert!(fed * piece.len() <= FRAME_BYTES_MAX && fed > 200);
        assert!(events.is_empty());
    }

    #[test]
    fn many_events_of_a_megabyte_each_pass() {
        let event = [b"data: ", &vec![b'y'; FRAME_BYTES_MAX - 16][..], b"\n\n"].concat();
        assert_eq!(events_of(&[&event, &event]).len(), 2);
    }
}
