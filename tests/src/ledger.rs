//! What was charged for runs, beside what the upstream itself counted.

use crate::Sql;
use anyhow::{Context, Result, ensure};
use promptroom_loadtest::upstream::{StreamEnd, StreamRecord, Upstream, usage};
use std::collections::BTreeMap;

/// Of the double's tokens, each of which is a number of seven digits and a space.
const TOKEN_BYTES: u64 = 8;
/// What an unreported token is taken for.
const ASCII_BYTES_OF_ESTIMATED_TOKEN: u64 = 4;

/// One settled attempt, as the database has it.
#[derive(Clone, Debug)]
struct Attempt {
    is_estimated: bool,
    input_tokens: u64,
    output_tokens: u64,
    /// What is kept of its output: until the next claim, or the end.
    kept_bytes: u64,
    /// The last one of a run that completed.
    is_whole: bool,
}

/// Where the upstream reported usage, exactly that is charged; where nobody saw its report, an estimate that is marked
/// so and lies between the bytes that were kept and those that were sent. Every stream belongs to an attempt of its own.
///
/// Runs of one model are compared together: a run whose model's name nobody else uses is compared alone.
pub fn ensure_charged_as_counted(sql: &Sql, upstream: &Upstream) -> Result<()> {
    let mut streams: BTreeMap<String, Vec<StreamRecord>> = BTreeMap::new();
    for record in upstream.records() {
        let model = record.request["model"].as_str().context("a request names its model")?;
        streams.entry(model.to_owned()).or_default().push(record);
    }
    for (model, attempts) in attempts(sql)? {
        let streams = streams.remove(&model).unwrap_or_default();
        compare(&attempts, streams).with_context(|| format!("{model}: {attempts:?}"))?;
    }
    ensure!(streams.is_empty(), "the upstream was asked for {:?}, and nobody knows", streams.keys());
    Ok(())
}

fn compare(attempts: &[Attempt], mut streams: Vec<StreamRecord>) -> Result<()> {
    ensure!(streams.len() <= attempts.len(), "{} streams of {} attempts", streams.len(), attempts.len());
    let (estimated, reported): (Vec<&Attempt>, Vec<&Attempt>) =
        attempts.iter().partition(|attempt| attempt.is_estimated);
    for attempt in reported {
        let was_counted = |stream: &StreamRecord| {
            stream.end == StreamEnd::Finished
                && stream.tokens == attempt.output_tokens
                && usage(&stream.request, 0)["prompt_tokens"] == attempt.input_tokens
        };
        let stream = streams.iter().position(was_counted);
        streams.swap_remove(stream.with_context(|| format!("nobody reported {attempt:?}"))?);
    }
    // The largest guess beside the longest stream: if any pairing fits, this one does.
    let mut sent: Vec<u64> = streams.iter().map(|stream| stream.tokens * TOKEN_BYTES).collect();
    sent.sort_unstable_by(|a, b| b.cmp(a));
    let mut guessed = estimated;
    guessed.sort_unstable_by_key(|attempt| std::cmp::Reverse(attempt.output_tokens));
    let sent = sent.into_iter().chain(std::iter::repeat(0));
    for (attempt, sent_bytes) in guessed.into_iter().zip(sent) {
        ensure!(!attempt.is_whole, "all of it was seen, its report too: {attempt:?}");
        let least = attempt.kept_bytes.div_ceil(ASCII_BYTES_OF_ESTIMATED_TOKEN);
        let most = sent_bytes.div_ceil(ASCII_BYTES_OF_ESTIMATED_TOKEN);
        ensure!(
            (least..=most).contains(&attempt.output_tokens),
            "between {least} and {most} tokens were to be charged: {attempt:?}"
        );
    }
    Ok(())
}

/// By model, as the upstream is asked for it.
fn attempts(sql: &Sql) -> Result<BTreeMap<String, Vec<Attempt>>> {
    let rows = sql.rows(
        "SELECT split_part(runs.model, '/', 2), estimated, input_tokens, output_tokens,
            greatest(0, coalesce(
                (SELECT min(run_claims.start) FROM run_claims
                 WHERE run_claims.run_id = runs.id AND run_claims.epoch > run_attempts.epoch),
                stored) - run_attempts.start),
            (state = 'completed' AND run_attempts.epoch = runs.epoch)::integer
         FROM run_attempts JOIN runs ON runs.id = run_attempts.run_id",
    )?;
    let mut attempts: BTreeMap<String, Vec<Attempt>> = BTreeMap::new();
    for row in rows {
        let [model, numbers @ ..] = &row[..] else { anyhow::bail!("an empty row") };
        let numbers = numbers.iter().map(|text| text.parse()).collect::<Result<Vec<u64>, _>>()?;
        let [is_estimated, input_tokens, output_tokens, kept_bytes, is_whole] = numbers[..] else {
            anyhow::bail!("{row:?}")
        };
        let (is_estimated, is_whole) = (is_estimated != 0, is_whole != 0);
        let attempt = Attempt { is_estimated, input_tokens, output_tokens, kept_bytes, is_whole };
        attempts.entry(model.clone()).or_default().push(attempt);
    }
    Ok(attempts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use promptroom_loadtest::clock::Stamp;
    use serde_json::json;

    const REPORTED: Attempt =
        Attempt { is_estimated: false, input_tokens: 2, output_tokens: 30, kept_bytes: 240, is_whole: true };
    /// 100 bytes were kept of it, which are 25 tokens as a guess.
    const GUESSED: Attempt =
        Attempt { is_estimated: true, input_tokens: 2, output_tokens: 25, kept_bytes: 100, is_whole: false };

    fn stream(tokens: u64, end: StreamEnd) -> StreamRecord {
        let request = json!({"messages": [{"role": "user", "content": "two words"}]});
        StreamRecord { request, tokens, end, started_at: Stamp::now(), ended_at: Stamp::now() }
    }

    #[test]
    fn what_was_reported_is_charged_exactly() {
        let finished = || vec![stream(30, StreamEnd::Finished)];
        assert!(compare(&[REPORTED], finished()).is_ok());
        assert!(compare(&[Attempt { output_tokens: 31, ..REPORTED }], finished()).is_err());
        assert!(compare(&[Attempt { input_tokens: 3, ..REPORTED }], finished()).is_err());
        assert!(compare(&[REPORTED], vec![stream(30, StreamEnd::ClosedByClient)]).is_err());
        assert!(compare(&[REPORTED, REPORTED], finished()).is_err(), "one report for two attempts");
    }

    #[test]
    fn a_guess_lies_between_what_was_kept_and_what_was_sent() {
        let closed = |tokens| vec![stream(tokens, StreamEnd::ClosedByClient)];
        assert!(compare(&[GUESSED], closed(13)).is_ok());
        assert!(compare(&[GUESSED], closed(12)).is_err(), "more than was sent");
        assert!(
            compare(&[Attempt { output_tokens: 24, ..GUESSED }], closed(13)).is_err(),
            "less than was kept"
        );
        assert!(compare(&[GUESSED], Vec::new()).is_err(), "nothing was sent");
        assert!(compare(&[Attempt { is_whole: true, ..GUESSED }], closed(13)).is_err());
    }

    #[test]
    fn every_stream_belongs_to_an_attempt() {
        let two = vec![stream(30, StreamEnd::Finished), stream(0, StreamEnd::ClosedByClient)];
        assert!(compare(&[REPORTED], two).is_err());
    }
}
