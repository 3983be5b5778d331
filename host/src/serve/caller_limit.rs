//! The limits for each caller: concurrent requests, and requests per second. A caller is the name of
//! its key, or else the value of `memory.caller_header`; all requests with neither are one caller.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::{ErrorKind, ServeError};
use crate::config::Server;

/// Number of callers that are tracked. Idle callers are forgotten first. If more are active, they share one limit.
const MAX_CALLERS: usize = 10_000;
/// The key that callers share if there are too many.
const OTHERS: u64 = 0;
/// Idle callers are looked for at most this often: all of them are looked at, under the lock that every request takes.
const LOOK: Duration = Duration::from_millis(100);

/// The limits for each caller.
pub struct CallerLimit {
    max_concurrency: Option<u32>,
    /// Requests per second.
    max_rate: Option<f64>,
    hasher: RandomState,
    callers: Mutex<Callers>,
}

#[derive(Default)]
struct Callers {
    by_key: HashMap<u64, Caller>,
    /// When it was last looked for idle callers.
    looked: Option<Instant>,
}

struct Caller {
    running: u32,
    /// Requests that may start now. They are refilled at the rate, up to those of one second.
    tokens: f64,
    refilled: Instant,
}

/// A request of a caller. Dropping it ends the request.
pub struct CallerSlot {
    entered: Option<(Arc<CallerLimit>, u64)>,
}

impl CallerLimit {
    /// Creates the limits as configured.
    pub fn new(server: &Server) -> Arc<Self> {
        Arc::new(Self {
            max_concurrency: server.max_caller_concurrency,
            max_rate: server.max_caller_rate,
            hasher: RandomState::new(),
            callers: Mutex::default(),
        })
    }

    /// Starts a request of a caller.
    ///
    /// # Errors
    /// If the caller has reached a limit.
    pub fn enter(self: &Arc<Self>, caller: Option<&[u8]>) -> Result<CallerSlot, ServeError> {
        if self.max_concurrency.is_none() && self.max_rate.is_none() {
            return Ok(CallerSlot { entered: None });
        }
        self.enter_at(Instant::now(), caller)
    }

    fn enter_at(self: &Arc<Self>, now: Instant, caller: Option<&[u8]>) -> Result<CallerSlot, ServeError> {
        let burst = self.burst();
        let mut key = self.hasher.hash_one(caller.unwrap_or_default());
        let mut callers = self.lock();
        let Callers { by_key: callers, looked } = &mut *callers;
        if callers.len() >= MAX_CALLERS && !callers.contains_key(&key) {
            if looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK) {
                *looked = Some(now);
                callers.retain(|_, caller| {
                    caller.refill(now, self.max_rate, burst);
                    caller.running > 0 || caller.tokens < burst
                });
            }
            if callers.len() >= MAX_CALLERS {
                key = OTHERS;
            }
        }
        let caller = callers.entry(key).or_insert(Caller { running: 0, tokens: burst, refilled: now });
        if let Some(most) = self.max_concurrency.filter(|most| caller.running >= *most) {
            let detail = format!(
                "this caller has {most} requests at once, which is its limit (`server.max_caller_concurrency`)"
            );
            return Err(ServeError::new(ErrorKind::CallerLimit(1), detail));
        }
        caller.refill(now, self.max_rate, burst);
        if let Some(rate) = self.max_rate {
            if caller.tokens < 1.0 {
                let wait = ((1.0 - caller.tokens) / rate).ceil().max(1.0);
                let detail = format!(
                    "this caller sends more than {rate} requests per second, which is its limit \
                     (`server.max_caller_rate`); try again in {wait} s"
                );
                return Err(ServeError::new(ErrorKind::CallerLimit(wait as u32), detail));
            }
            caller.tokens -= 1.0;
        }
        caller.running += 1;
        Ok(CallerSlot { entered: Some((Arc::clone(self), key)) })
    }

    fn burst(&self) -> f64 {
        self.max_rate.unwrap_or(1.0).max(1.0)
    }

    fn lock(&self) -> MutexGuard<'_, Callers> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caller {
    fn refill(&mut self, now: Instant, rate: Option<f64>, burst: f64) {
        let passed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.tokens = rate.map_or(burst, |rate| (self.tokens + passed * rate).min(burst));
        self.refilled = now;
    }
}

impl Drop for CallerSlot {
    fn drop(&mut self) {
        let Some((limit, key)) = self.entered.take() else { return };
        let callers = &mut limit.lock().by_key;
        if let Some(caller) = callers.get_mut(&key) {
            caller.running -= 1;
            if caller.running == 0 && limit.max_rate.is_none() {
                callers.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A caller that invents names must not make every request look at all of them.
    #[test]
    fn idle_callers_are_looked_for_now_and_then() {
        let limit = CallerLimit::new(&Server { max_caller_rate: Some(1.0), ..Server::default() });
        let begin = Instant::now();
        let enter = |milliseconds: u64, name: String| {
            limit.enter_at(begin + Duration::from_millis(milliseconds), Some(name.as_bytes())).is_ok()
        };
        let known = || limit.lock().by_key.len();
        assert!((0..MAX_CALLERS).all(|at| enter(0, format!("first {at}"))));
        assert!(enter(2_000, "second".into()));
        assert_eq!(known(), 1, "the others were idle for a second");
        assert!((0..MAX_CALLERS).all(|at| enter(2_000, format!("third {at}"))), "the last one shares a limit");
        assert_eq!(known(), MAX_CALLERS + 1);
        assert!(!enter(2_050, "fourth".into()), "so does the next one");
        assert_eq!(known(), MAX_CALLERS + 1);
        assert!(enter(3_200, "fourth".into()));
        assert_eq!(known(), 1);
    }
}
