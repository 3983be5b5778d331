//! Finds the messages in the bytes of a body: a prefix of five bytes (one for the compression flag, four for the length)
//! and the message itself. Refuses what is not a sequence of messages, and a second message of a call that has one.

use tonic::Status;

use super::error::status;
use crate::serve::error::{ErrorKind, ServeError};

/// Bytes of the prefix of a message.
const HEAD: usize = 5;

/// What has arrived of the messages of a call.
pub(super) struct Framing {
    /// `server.max_body`.
    limit: u64,
    /// True if the call has exactly one message.
    is_unary: bool,
    /// True after the prefix of the first message was read.
    has_begun: bool,
    head: [u8; HEAD],
    head_read: usize,
    /// Bytes of the current message that have not arrived yet.
    left: usize,
    /// Bytes of the current message that have arrived.
    message: u64,
}

/// What the next bytes of a body contain.
#[derive(Default)]
pub(super) struct Found {
    /// A message begins.
    pub(super) begins: bool,
    /// Bytes of the longest message, as far as it has arrived.
    pub(super) longest: u64,
}

impl Framing {
    pub(super) fn new(limit: u64, is_unary: bool) -> Self {
        Self { limit, is_unary, has_begun: false, head: [0; HEAD], head_read: 0, left: 0, message: 0 }
    }

    /// True if the call has exactly one message.
    pub(super) fn is_unary(&self) -> bool {
        self.is_unary
    }

    /// Finds the messages in the next bytes of the body.
    ///
    /// # Errors
    /// If a message is larger than `server.max_body`, its prefix is not valid, or the call has a second message that its
    /// method does not take. The service would ignore it, and its client would believe that it was answered.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> Result<Found, Status> {
        let mut found = Found::default();
        while !bytes.is_empty() {
            if self.left > 0 {
                let part = self.left.min(bytes.len());
                self.left -= part;
                self.message += part as u64;
                found.longest = found.longest.max(self.message);
                bytes = &bytes[part..];
                continue;
            }
            if self.is_unary && self.has_begun {
                let detail = "the call has more than one message, but its method takes exactly one";
                return Err(status(&ServeError::invalid(detail)));
            }
            found.begins |= self.head_read == 0;
            self.head[self.head_read] = bytes[0];
            self.head_read += 1;
            bytes = &bytes[1..];
            if self.head_read == HEAD {
                self.head_read = 0;
                self.has_begun = true;
                let [flag, length @ ..] = self.head;
                if flag > 1 {
                    let detail = format!("the message has the compression flag {flag}, but only 0 and 1 exist");
                    return Err(status(&ServeError::invalid(detail)));
                }
                let (length, limit) = (u32::from_be_bytes(length), self.limit);
                if u64::from(length) > limit {
                    let detail = format!("the message has {length} bytes, but {limit} are allowed (`server.max_body`)");
                    return Err(status(&ServeError::new(ErrorKind::BodyTooLarge, detail)));
                }
                (self.left, self.message) = (length as usize, 0);
            }
        }
        Ok(found)
    }

    /// The body has ended. Returns the error of a message that is incomplete or missing, once.
    pub(super) fn ended(&mut self) -> Option<Status> {
        let detail = match (self.left, self.head_read) {
            (0, 0) if self.has_begun || !self.is_unary => return None,
            (0, 0) => "the call has no message".to_owned(),
            (0, read) => format!("the prefix of the message ended after {read} of {HEAD} bytes"),
            (left, _) => format!("the message ended after {} of {} bytes", self.message, self.message + left as u64),
        };
        (self.left, self.head_read, self.has_begun) = (0, 0, true);
        Some(status(&ServeError::invalid(detail)))
    }

    /// Returns true if no message is incomplete.
    pub(super) fn is_between(&self) -> bool {
        self.left == 0 && self.head_read == 0
    }

    /// Returns true if a message is incomplete, or if the only message of a call has not begun.
    pub(super) fn is_inside(&self) -> bool {
        !self.is_between() || (self.is_unary && !self.has_begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_message_is_refused_wherever_its_first_byte_arrives() {
        let one = [0, 0, 0, 0, 1, 7];
        let both = [one, one].concat();
        for split in 0..both.len() {
            let mut stream = Framing::new(10, false);
            assert!(stream.follow(&both[..split]).is_ok() && stream.follow(&both[split..]).is_ok());
            let mut unary = Framing::new(10, true);
            let refused = unary.follow(&both[..split]).and_then(|_| unary.follow(&both[split..])).err();
            assert!(refused.is_some_and(|status| status.message().contains("more than one message")), "{split}");
        }
        let mut unary = Framing::new(10, true);
        assert!(unary.is_inside() && unary.follow(&one).is_ok_and(|found| found.begins && found.longest == 1));
        assert!(!unary.is_inside() && unary.ended().is_none());
    }
}
