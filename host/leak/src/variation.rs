//! Varies the contents of inputs from round to round. A cache that is keyed by content grows with each new input, but not
//! if every round repeats the same bytes.
//!
//! A variant has eight other bytes at a place that decoders ignore: a comment segment of a JPEG, a text chunk of a PNG,
//! otherwise bytes after the end, or white space there. All variants of an input have the same length. Other variants change
//! what a decoder makes of the input ([`Inputs::with_other_contents`]).

use std::borrow::Cow;
use std::sync::Arc;

use super::contents::{self, Content};
use super::corpus::{Feed, Sample};
use super::progress::Progress;
use super::subject::{PluginUnderTest, Subject, SubjectError, outcome, survives};
use plimsoll_runtime::outcome::Outcome;

/// Where the changing bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a comment segment after the start of a JPEG.
    Comment,
    /// In a `tEXt` chunk after the header of a PNG.
    Text,
    /// After the last byte.
    End,
    /// White space after the last byte, for JSON, XML and CSV.
    Space,
}

/// How an input is varied.
enum Change {
    /// Bytes that decoders ignore.
    Ignored(Place),
    /// What a decoder makes of it.
    Content(Content),
}

/// Numbers of the variants whose outcome is compared with the input's own: with few changes, and with many.
const TRIED_CONTENTS: [u32; 2] = [1, 0x5A5A_5A5A];
/// By how much the numbers of the contents of two samples differ, so that files that are alike get different ones.
const BETWEEN_SAMPLES: usize = 65_537;

/// A difference of sizes of less than one part of this many is none.
const SAME_SIZE: usize = 32;

/// The samples, and for each how its contents can be varied without changing its outcome.
pub struct Inputs<'a> {
    /// The samples.
    pub samples: &'a [Sample],
    /// `None` for a sample whose contents cannot be varied.
    changes: Arc<[Option<Change>]>,
    /// Calls of each sample that get the same contents: as many as a round has; `None` if all get the same.
    calls_alike: Option<usize>,
}

impl<'a> Inputs<'a> {
    /// Tries for each sample where its contents can be varied.
    ///
    /// # Errors
    /// If no instance starts.
    pub async fn of(
        plugin: &PluginUnderTest,
        samples: &'a [Sample],
        progress: &Progress,
    ) -> Result<Self, SubjectError> {
        let mut subject = plugin.subject().await?;
        let mut changes = Vec::with_capacity(samples.len());
        for sample in samples {
            progress.count();
            let mut chosen = None;
            let candidates = places_of(sample);
            let expected = if candidates.is_empty() { None } else { Some(outcome(&subject.call(sample).await)) };
            // A sample that ends the instance is left out of the run, whatever its contents are.
            let ends = expected.is_some_and(|expected| !survives(expected));
            if ends {
                subject = plugin.subject().await?;
            }
            for place in candidates.into_iter().filter(|_| !ends) {
                let change = Change::Ignored(place);
                if Some(tried(plugin, &mut subject, sample, &change, usize::MAX, progress).await?) == expected {
                    chosen = Some(change);
                    break;
                }
            }
            changes.push(chosen);
        }
        Ok(Self { samples, changes: changes.into(), calls_alike: Some(1) })
    }

    /// The same samples, each with something else in it for each call: other pixels, numbers or letters. `outcomes` are the
    /// samples to try and the outcome of each.
    ///
    /// # Errors
    /// If no instance starts.
    pub async fn with_other_contents(
        &self,
        plugin: &PluginUnderTest,
        outcomes: &[(usize, Outcome)],
        progress: &Progress,
    ) -> Result<Self, SubjectError> {
        let mut subject = plugin.subject().await?;
        let mut changes: Vec<Option<Change>> = self.samples.iter().map(|_| None).collect();
        for &(index, expected) in outcomes {
            let sample = &self.samples[index];
            'candidates: for content in contents::candidates(sample) {
                let change = Change::Content(content);
                for number in TRIED_CONTENTS {
                    if tried(plugin, &mut subject, sample, &change, number as usize, progress).await? != expected {
                        continue 'candidates;
                    }
                }
                changes[index] = Some(change);
                break;
            }
        }
        Ok(Self { samples: self.samples, changes: changes.into(), calls_alike: Some(outcomes.len().max(1)) })
    }

    /// The input for the call with a number. Each call of the sample gives other contents, as far as there are so many.
    pub fn variant(&self, sample: usize, call: usize) -> Cow<'a, Sample> {
        match self.changes.get(sample) {
            Some(Some(change)) => {
                let round = self.calls_alike.map_or(0, |calls| call / calls);
                Cow::Owned(change.of(&self.samples[sample], round.wrapping_add(self.first_number(sample))))
            }
            _ => Cow::Borrowed(&self.samples[sample]),
        }
    }

    /// The number of the first variant of a sample.
    fn first_number(&self, sample: usize) -> usize {
        if self.calls_alike == Some(1) { 0 } else { sample.wrapping_mul(BETWEEN_SAMPLES) }
    }

    /// The same samples, each with its own contents in each call.
    pub fn unchanged(&self) -> Self {
        Self { changes: Arc::new([]), ..*self }
    }

    /// The same contents, which are no longer other ones in each call.
    pub fn repeated(&self) -> Self {
        Self { changes: self.changes.clone(), calls_alike: None, ..*self }
    }

    /// Returns true if the contents of the sample with an index can be varied.
    pub fn is_varied(&self, sample: usize) -> bool {
        self.contents(sample) > 1
    }

    /// The number of different contents of a sample.
    pub fn contents(&self, sample: usize) -> u64 {
        match self.changes.get(sample) {
            Some(Some(Change::Content(content))) => content.count(),
            Some(Some(Change::Ignored(_))) => u64::MAX,
            _ => 1,
        }
    }

    /// Returns true if each call of a run can have a content of its own of this sample.
    pub fn has_many(&self, sample: usize) -> bool {
        match self.changes.get(sample) {
            Some(Some(Change::Content(content))) => content.has_many(),
            change => change.is_some_and(Option::is_some),
        }
    }

    /// Returns true if the variants of a sample are larger or smaller than those of other inputs, so what keeps them keeps more
    /// or less.
    pub fn has_another_size(&self, others: &Self, sample: usize) -> bool {
        let [now, before] = [self, others].map(|inputs| inputs.variant(sample, 1).feed.bytes());
        now.abs_diff(before) * SAME_SIZE > before
    }
}

/// The outcome of a variant of a sample. After one that ends the instance there is another instance.
async fn tried<'a>(
    plugin: &'a PluginUnderTest,
    subject: &mut Subject<'a>,
    sample: &Sample,
    change: &Change,
    number: usize,
    progress: &Progress,
) -> Result<Outcome, SubjectError> {
    progress.count();
    let outcome = outcome(&subject.call(&change.of(sample, number)).await);
    if !survives(outcome) {
        *subject = plugin.subject().await?;
    }
    Ok(outcome)
}

impl Change {
    /// The variant of a sample with a number; they differ for all numbers below 2³².
    fn of(&self, sample: &Sample, number: usize) -> Sample {
        match self {
            Self::Ignored(place) => variant(sample, *place, number),
            Self::Content(content) => content.change(sample, number as u32),
        }
    }
}

/// The places to try for a body, the best first; empty if the sample has no body.
fn places_of(sample: &Sample) -> Vec<Place> {
    let Feed::Body(body) = &sample.feed else { return Vec::new() };
    let inside = match body.as_slice() {
        [0xFF, 0xD8, 0xFF, ..] => Some(Place::Comment),
        [0x89, b'P', b'N', b'G', ..] if body.len() >= PNG_HEADER && body[12..16] == *b"IHDR" => Some(Place::Text),
        _ => None,
    };
    let end = if body.is_empty() { &[][..] } else { &[Place::End, Place::Space] };
    inside.into_iter().chain(end.iter().copied()).collect()
}

/// Bytes of a PNG's signature and first chunk.
const PNG_HEADER: usize = 33;

/// The variant with a number; its bytes differ for all numbers below 2³².
fn variant(sample: &Sample, place: Place, number: usize) -> Sample {
    let mut varied = sample.clone();
    if let Feed::Body(body) = &sample.feed {
        varied.feed = Feed::Body(vary(body, place, number as u32));
    }
    varied
}

fn vary(body: &[u8], place: Place, number: u32) -> Vec<u8> {
    let text = format!("{number:08x}");
    let (at, inserted) = match place {
        Place::Comment => (2, [&[0xFF, 0xFE, 0, 10], text.as_bytes()].concat()),
        Place::Text => {
            let chunk = [b"tEXtComment\0", text.as_bytes()].concat();
            let length = (chunk.len() - 4) as u32;
            let mut crc = flate2::Crc::new();
            crc.update(&chunk);
            (PNG_HEADER, [&length.to_be_bytes(), chunk.as_slice(), &crc.sum().to_be_bytes()].concat())
        }
        Place::End => (body.len(), text.into_bytes()),
        Place::Space => (body.len(), (0..32).map(|bit| if number >> bit & 1 == 0 { b' ' } else { b'\n' }).collect()),
    };
    [&body[..at], &inserted, &body[at..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(body: &[u8]) -> Sample {
        Sample {
            name: String::new(),
            folder: String::new(),
            size: body.len(),
            parameters: Vec::new(),
            content_type: None,
            feed: Feed::Body(body.to_vec()),
        }
    }

    #[test]
    fn variants_differ_and_have_the_same_length() {
        let png = include_bytes!("../../../tests/data/digits/0.png");
        let jpeg = include_bytes!("../../../tests/data/digits/7.jpg");
        for (body, first) in [(&png[..], Place::Text), (&jpeg[..], Place::Comment), (&b"words"[..], Place::End)] {
            let sample = sample(body);
            assert_eq!(places_of(&sample)[0], first);
            for place in places_of(&sample) {
                let [Feed::Body(one), Feed::Body(two)] = [1, 2].map(|number| variant(&sample, place, number).feed)
                else {
                    panic!("bodies")
                };
                assert_ne!(one, two);
                assert_eq!(one.len(), two.len());
            }
        }
        assert_eq!(places_of(&sample(b"")), []);
        let json = vary(br#"{"a": [1]}"#, Place::Space, 5);
        let text = std::str::from_utf8(&json).expect("text");
        assert_eq!(serde_json::from_str::<serde_json::Value>(text).expect("JSON")["a"][0], 1);
    }
}
