//! What changes in a text: digits of numbers and letters in words. In JSON only those of values, because another name of
//! a field is another request.

use super::content::Content;

/// Letters and numbers that change at most.
const LETTERS: usize = 8;
/// Last digits of each number that change, if a text has few numbers.
const DIGITS: usize = 4;
const LETTER: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const DIGIT: &[u8] = b"0123456789";
/// The last digit of a number, of which none follows.
const LAST_DIGIT: &[u8] = b"123456789";

/// Places that change, each with its values.
type Places = Vec<(usize, Vec<u8>)>;

/// The changes to try, the best first. A short text has so few numbers and words that something is inserted.
pub(super) fn candidates(body: &[u8]) -> Vec<Content> {
    let values = values(body);
    let (digits, letters) = (digits(body, &values, 1), letters(body, &values));
    let mut found = Vec::new();
    if !digits.is_empty() && !letters.is_empty() {
        found.push(Content::Chosen([digits.clone(), letters.clone()].concat()));
    }
    found.extend([digits, letters].map(Content::Chosen));
    let has_point = |end: usize| body.get(end) == Some(&b'.') && body.get(end + 1).is_some_and(u8::is_ascii_digit);
    let ends = number_ends(body, &values).filter(|&end| !has_point(end));
    let numbers: Vec<usize> = ends.take(LETTERS).collect();
    for ends in [&numbers[..], &numbers[..numbers.len().min(1)]] {
        // A number stays nearly as large if digits come after its point.
        let after_point = ends.iter().map(|&end| (end, if is_fraction(body, end) { &b""[..] } else { b"." }));
        found.push(Content::Inserted(after_point.collect(), LAST_DIGIT));
        found.push(Content::Inserted(ends.iter().map(|&end| (end, &b""[..])).collect(), LAST_DIGIT));
    }
    found.push(Content::Chosen(self::digits(body, &values, DIGITS)));
    let word = (0..body.len()).rev().find(|&at| values[at] == Value::Text && body[at].is_ascii_alphabetic());
    found.extend(word.map(|at| Content::Inserted(vec![(at + 1, &b""[..])], LETTER)));
    found
}

/// What a byte of a text is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    /// A name of a field in JSON, or what is between values.
    None,
    /// A number in JSON.
    Number,
    /// Words and numbers of a text.
    Text,
}

/// For each byte what it is a part of.
fn values(body: &[u8]) -> Vec<Value> {
    if !matches!(body.trim_ascii_start().first(), Some(b'{' | b'[' | b'"')) {
        return vec![Value::Text; body.len()];
    }
    let (mut values, mut start) = (Vec::with_capacity(body.len()), None);
    for (at, &byte) in body.iter().enumerate() {
        values.push(if start.is_some() { Value::Text } else { Value::Number });
        let escapes = || body[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        if byte != b'"' || start.is_some() && escapes() % 2 == 1 {
            continue;
        }
        match start.take() {
            None => start = Some(at),
            Some(start) => {
                let is_name = body[at + 1..].trim_ascii_start().first() == Some(&b':');
                if is_name {
                    values[start..].fill(Value::None);
                }
            }
        }
    }
    values
}

/// The ends of the numbers, the last one first.
fn number_ends<'a>(body: &'a [u8], values: &'a [Value]) -> impl Iterator<Item = usize> + 'a {
    let is_digit = move |at: usize| body.get(at).is_some_and(u8::is_ascii_digit);
    (1..=body.len()).rev().filter(move |&end| is_digit(end - 1) && !is_digit(end) && values[end - 1] != Value::None)
}

/// Returns true if the number with this end has a point.
fn is_fraction(body: &[u8], end: usize) -> bool {
    body[..end].iter().rev().find(|byte| !byte.is_ascii_digit()) == Some(&b'.')
}

/// The last digits of the last numbers; a number stays as long as it is. `each`: digits of a number, of which the first one
/// stays.
fn digits(body: &[u8], values: &[Value], each: usize) -> Places {
    let is_digit = |at: usize| body[at].is_ascii_digit();
    let mut places = Vec::new();
    for end in number_ends(body, values) {
        let last = end - 1;
        if body[last] != b'0' {
            places.push((last, LAST_DIGIT.to_vec()));
        }
        let inner = (1..last).rev().take(each - 1).take_while(|&at| is_digit(at) && is_digit(at - 1));
        places.extend(inner.map(|at| (at, DIGIT.to_vec())));
        if places.len() >= LETTERS {
            break;
        }
    }
    places.truncate(LETTERS);
    places
}

/// Letters inside of the last words.
fn letters(body: &[u8], values: &[Value]) -> Places {
    let is_letter = |at: usize| body.get(at).is_some_and(u8::is_ascii_lowercase);
    let is_inner =
        |at: &usize| *at > 0 && values[*at] == Value::Text && [at - 1, *at, at + 1].into_iter().all(is_letter);
    let places = (0..body.len()).rev().filter(is_inner).take(LETTERS);
    places.map(|at| (at, LETTER.to_vec())).collect()
}
