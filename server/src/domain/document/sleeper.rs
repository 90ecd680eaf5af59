//! A document that is kept as its encoded bytes while nobody needs it: an open room in which nothing happens.

use super::{Broken, Document};

/// Larger ones stay as they are, so that waking up never takes longer than people notice.
const ASLEEP_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
thread_local! {
    /// How often a document of this thread was put to rest: the simulation looks whether that happens in it at all.
    pub static RESTED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

pub struct Sleeper {
    state: State,
    /// Whether somebody needed it since it was last asked to rest.
    used: bool,
    /// Whether it would not read back as it is.
    sleepless: bool,
}

enum State {
    Awake(Box<Document>),
    Asleep { bytes: Box<[u8]>, client_id: u64, bytes_max: usize },
}

impl Sleeper {
    pub fn new(document: Document) -> Sleeper {
        Sleeper { state: State::Awake(Box::new(document)), used: true, sleepless: false }
    }

    /// The document itself, built again if it rests.
    pub fn wake(&mut self) -> Result<&mut Document, Broken> {
        self.used = true;
        if let State::Asleep { bytes, client_id, bytes_max } = &self.state {
            let mut document = Document::load(*client_id, Some(bytes), std::iter::empty())?;
            document.limit_bytes(*bytes_max);
            self.state = State::Awake(Box::new(document));
        }
        match &mut self.state {
            State::Awake(document) => Ok(document),
            State::Asleep { .. } => Err(Broken),
        }
    }

    /// Lets it rest if nobody has needed it since the last call; whether it rests now and did not before.
    ///
    /// Its bytes are read back and compared first: one that would not wake up as it is stays awake for good.
    pub fn rest(&mut self) -> bool {
        let used = std::mem::replace(&mut self.used, false);
        let State::Awake(document) = &mut self.state else { return false };
        if used || self.sleepless || document.bytes().is_ok_and(|bytes| bytes > ASLEEP_BYTES_MAX) {
            return false;
        }
        match asleep(document) {
            Ok(Some(asleep)) => {
                self.state = asleep;
                #[cfg(test)]
                RESTED.set(RESTED.get() + 1);
                true
            }
            Ok(None) | Err(Broken) => {
                self.sleepless = true;
                tracing::error!("a document does not read back as it is; it stays in memory");
                false
            }
        }
    }
}

fn asleep(document: &Document) -> Result<Option<State>, Broken> {
    let bytes = document.encode_all()?.into_boxed_slice();
    let (client_id, bytes_max) = (document.client_id, document.size.max);
    let again = Document::load(client_id, Some(&bytes), std::iter::empty())?;
    let same = again.digest()? == document.digest()?;
    Ok(same.then_some(State::Asleep { bytes, client_id, bytes_max }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        document::{ApplyError, EditRefusal, first_state},
        prompt::ContentPatch,
    };

    fn sleeper() -> Sleeper {
        let first = first_state(1, &ContentPatch::default(), "demo/markdown").unwrap();
        let mut document = Document::load(7, None, std::iter::once(&first[..])).unwrap();
        document.limit_bytes(100_000);
        Sleeper::new(document)
    }

    fn titled(title: &str) -> ContentPatch {
        serde_json::from_value(serde_json::json!({ "title": title })).unwrap()
    }

    fn rest(sleeper: &mut Sleeper) {
        assert!(!sleeper.rest(), "it was used just before");
        assert!(sleeper.rest());
        assert!(!sleeper.rest(), "it rests already");
    }

    #[test]
    fn a_document_wakes_up_as_it_was_and_goes_on() {
        let (mut rested, mut awake) = (sleeper(), sleeper());
        for round in 0..5 {
            rest(&mut rested);
            let title = titled(&format!("Title {round} 🦀"));
            let one = rested.wake().unwrap().edit(&title).unwrap();
            let other = awake.wake().unwrap().edit(&title).unwrap();
            assert_eq!(one, other, "the same edit is the same bytes");
            let (one, other) = (rested.wake().unwrap(), awake.wake().unwrap());
            assert_eq!(one.digest(), other.digest());
            assert_eq!(one.state_vector(), other.state_vector());
        }
    }

    #[test]
    fn bytes_that_do_not_read_back_are_told() {
        let mut rested = sleeper();
        rest(&mut rested);
        let State::Asleep { bytes, .. } = &mut rested.state else { panic!("it rests") };
        let whole = bytes.len();
        *bytes = Box::from(&bytes[..whole / 2]);
        assert!(rested.wake().is_err());
        assert!(rested.wake().is_err(), "and never turn into an empty document");
    }

    #[test]
    fn its_limit_holds_after_it_rested() {
        let mut rested = sleeper();
        rest(&mut rested);
        let refused = rested.wake().unwrap().edit(&titled(&"x".repeat(120_000)));
        assert!(matches!(refused, Err(EditRefusal::TooLarge)), "{refused:?}");
    }

    #[test]
    fn a_large_document_stays_awake() {
        let mut large = sleeper();
        large.wake().unwrap().limit_bytes(usize::MAX);
        let _update = large.wake().unwrap().edit(&titled(&"x".repeat(ASLEEP_BYTES_MAX))).unwrap();
        for _ in 0..3 {
            assert!(!large.rest());
        }
    }

    #[test]
    fn a_broken_document_says_so_and_does_not_rest() {
        let mut broken = sleeper();
        broken.wake().unwrap().broken = true;
        assert_eq!(broken.wake().unwrap().apply(&[0, 0]), Err(ApplyError::Broken(Broken)));
        assert!(!broken.rest() && !broken.rest() && !broken.rest());
        assert!(broken.sleepless, "it is not tried again and again");
    }
}
