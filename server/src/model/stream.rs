//! A provider's answer as it arrives: bytes → events → our events.

use super::{
    ModelError, ModelErrorKind, ModelEvent, Secret,
    decoder::{Decoder, Seen},
    http::innermost,
    sse::Parser,
    watch::{Expired, Patience, Watch},
};
use reqwest::Response;
use std::collections::VecDeque;

/// Dropping it closes the connection: the response is not read any further.
pub(super) struct HttpStream {
    source: Source,
    parser: Parser,
    events: VecDeque<String>,
    decoder: Decoder,
    ready: VecDeque<ModelEvent>,
    watch: Watch,
    patience: Patience,
    provider: String,
    key: Option<Secret>,
}

enum Source {
    Open(Response),
    /// Told once, after all that came before it.
    Failed(ModelError),
    Over,
}

impl HttpStream {
    pub(super) fn new(
        response: Response,
        decoder: Decoder,
        patience: Patience,
        provider: &str,
        key: Option<Secret>,
    ) -> HttpStream {
        HttpStream {
            source: Source::Open(response),
            parser: Parser::default(),
            events: VecDeque::new(),
            decoder,
            ready: VecDeque::new(),
            watch: Watch::new(patience),
            patience,
            provider: provider.to_owned(),
            key,
        }
    }

    /// Cancel-safe: nothing is taken from the connection without being kept here.
    pub(super) async fn next(&mut self) -> Option<Result<ModelEvent, ModelError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            let response = match &mut self.source {
                Source::Open(response) => response,
                Source::Over => return None,
                Source::Failed(_) => {
                    let Source::Failed(error) = std::mem::replace(&mut self.source, Source::Over) else {
                        return None;
                    };
                    return Some(Err(error));
                }
            };
            match self.watch.wait(response.chunk()).await {
                Ok(Ok(Some(bytes))) => self.take(&bytes),
                Ok(Ok(None)) => self.end(None),
                Ok(Err(error)) => self.end(Some(innermost(&error))),
                Err(Expired::Closing) => self.end(None),
                Err(expired) => self.fail(expired.error(&self.provider, self.patience)),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.watch.alive();
        if self.parser.feed(bytes, &mut self.events).is_err() {
            let message = format!("{} sent an event that is too large.", self.provider);
            return self.fail(ModelError::new(ModelErrorKind::Malformed, message));
        }
        if let Err(error) = self.decode() {
            self.fail(error);
        }
    }

    fn decode(&mut self) -> Result<(), ModelError> {
        while let Some(data) = self.events.pop_front() {
            match self.decoder.event(&data, &mut self.ready)? {
                Seen::Alive => {}
                Seen::Progress => self.watch.progress(),
                Seen::Done => {
                    self.events.clear();
                    self.stop();
                    return Ok(());
                }
            }
        }
        if self.decoder.finish().is_some() {
            self.watch.close();
        }
        Ok(())
    }

    /// The provider said that nothing will follow.
    fn stop(&mut self) {
        match self.decoder.finish() {
            Some((reason, sequence)) => {
                self.ready.push_back(ModelEvent::Stop { reason: *reason, sequence: sequence.clone() });
                self.source = Source::Over;
            }
            None => self.fail(self.cut_short("ended without a reason")),
        }
    }

    /// The connection has ended, with or without an error.
    fn end(&mut self, why: Option<String>) {
        // What an end without an error left may be a whole event; what a broken connection left is not.
        let rest = if why.is_none() { self.parser.finish(&mut self.events) } else { Ok(()) };
        // A piece of an event means that the stream was cut, whatever the decoder thinks of it.
        let decoded = rest.is_ok().then(|| self.decode());
        if let Some(Err(error)) = decoded
            && error.kind != ModelErrorKind::Malformed
        {
            return self.fail(error);
        }
        if matches!(self.source, Source::Open(_)) {
            match (self.decoder.finish(), why) {
                (Some(_), _) => self.stop(),
                (None, Some(why)) => self.fail(self.cut_short(&format!("broke off ({why})"))),
                (None, None) => self.fail(self.cut_short("broke off before the end")),
            }
        }
    }

    fn cut_short(&self, how: &str) -> ModelError {
        ModelError::new(ModelErrorKind::CutShort, format!("The answer of {} {how}.", self.provider))
    }

    fn fail(&mut self, mut error: ModelError) {
        if let Some(key) = &self.key {
            error.message = key.redact(&error.message);
        }
        self.source = Source::Failed(error);
    }
}
