//! The limits on requests: byte budgets for bodies, uploads and replies, the number of concurrent requests, the length of
//! their queue, and the limits for each caller. Permits are released on drop, so every exit path frees the slot.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use plimsoll_runtime::stage::RunObserver;

use super::byte_budget::{Arrival, BudgetError, ByteBudget, Reservation};
use super::caller_limit::CallerLimit;
use super::error::{ErrorKind, ServeError};
use super::fair_slots::{FairSlots, Share, Slot};
use super::held_reply::SlowReplies;
use super::overloaded::Overloaded;
use super::waiting_reply::{ReplyReservation, WaitingReplies};
use crate::config::Config;
use crate::deploy::ServedPipeline;
use crate::records::RequestRecord;

/// The budget is divided by this number for one connection: it may hold a quarter.
const CONNECTION_PART: u64 = 4;

/// The limits on requests.
pub struct Admission {
    pub(super) bodies: Arc<ByteBudget>,
    pub(super) uploads: Arc<ByteBudget>,
    pub(super) replies: Arc<ByteBudget>,
    /// The bytes of the replies that wait for their budget.
    waiting_replies: WaitingReplies,
    /// The replies whose clients are slow.
    pub(super) slow_replies: Arc<SlowReplies>,
    /// Bytes of bodies that one connection may hold, and bytes of one of them.
    connection: (u64, u64),
    wait: Duration,
    pub(super) queue_slots: Arc<FairSlots>,
    pub(super) run_slots: Arc<FairSlots>,
    pub(super) max_concurrency: u32,
    pub(super) max_queue: u32,
    /// The limits for each caller.
    pub callers: Arc<CallerLimit>,
}

/// The budget of the bodies of one connection.
#[derive(Clone)]
pub struct ConnectionBudget(Arc<ByteBudget>);

/// The bytes of a body in the budget of its connection and of the host.
pub struct BodyBytes {
    connection: Option<Reservation>,
    host: Reservation,
    key: &'static str,
}

/// The shares of a pipeline.
#[derive(Clone, Copy)]
pub struct Shares<'a> {
    /// The pipeline.
    pub pipeline: &'a ServedPipeline,
    /// True if there is no other pipeline.
    pub is_alone: bool,
}

impl Admission {
    /// Creates the limits as configured.
    pub fn new(config: &Config) -> Self {
        let server = &config.server;
        let (largest, budget) = (server.max_body.as_u64(), server.body_budget.as_u64());
        let plugin = config.deploy.max_plugin.as_u64();
        let wait = server.budget_wait;
        // A compressed body is in memory twice while it is decompressed.
        let connection = (budget / CONNECTION_PART).max(largest.saturating_mul(2)).min(budget);
        let replies = ByteBudget::new(server.reply_budget.as_u64(), 0, wait);
        Self {
            bodies: ByteBudget::new(budget, largest, wait),
            // Two components of the maximum size: one is received while another is compiled.
            uploads: ByteBudget::new(plugin.saturating_mul(2), plugin, wait),
            slow_replies: Arc::new(SlowReplies::new(
                Arc::clone(&replies),
                server.reply_min_rate.as_u64(),
                server.reply_timeout,
            )),
            replies,
            waiting_replies: WaitingReplies::default(),
            connection: (connection, largest),
            wait,
            queue_slots: FairSlots::new(server.max_queue as usize + server.max_concurrency as usize),
            run_slots: FairSlots::new(server.max_concurrency as usize),
            max_concurrency: server.max_concurrency,
            max_queue: server.max_queue,
            callers: CallerLimit::new(server),
        }
    }

    /// The budget of a new connection that carries several requests at once.
    pub fn connection(&self) -> ConnectionBudget {
        ConnectionBudget(ByteBudget::new(self.connection.0, self.connection.1, self.wait))
    }

    /// An empty reservation for the body of a request. It grows while the body arrives. Keep it as long as the body.
    pub fn body(&self, connection: Option<&ConnectionBudget>) -> BodyBytes {
        // A connection that may hold the whole budget needs no separate bound.
        let connection = connection.filter(|_| self.connection.0 < self.bodies.total());
        let connection = connection.map(|ConnectionBudget(budget)| budget.reserve());
        let key = "the byte budget for bodies (`server.body_budget`)";
        BodyBytes { connection, host: self.bodies.reserve(), key }
    }

    /// As [`Admission::body`], for a component that is uploaded.
    pub fn upload(&self) -> BodyBytes {
        let key = "the byte budget for uploads (twice `deploy.max_plugin` at start)";
        BodyBytes { connection: None, host: self.uploads.reserve(), key }
    }

    /// Reserves the bytes of a reply. Keep the reservation until the reply is sent.
    ///
    /// # Errors
    /// If the budget is spent.
    pub async fn reply(&self, bytes: u64) -> Result<Reservation, Overloaded> {
        let mut reservation = self.reply_reservation();
        std::future::poll_fn(|context| self.poll_reply(&mut reservation, context, bytes)).await?;
        Ok(reservation.into_inner())
    }

    /// An empty reservation for replies that never wait.
    pub fn begin_reply(&self) -> Reservation {
        self.replies.reserve()
    }

    /// An empty reservation for a reply.
    pub(super) fn reply_reservation(&self) -> ReplyReservation {
        ReplyReservation::new(&self.waiting_replies, self.begin_reply())
    }

    /// Reserves the bytes of a reply.
    pub(super) fn poll_reply(
        &self,
        reservation: &mut ReplyReservation,
        context: &mut Context<'_>,
        bytes: u64,
    ) -> Poll<Result<(), Overloaded>> {
        let grown = reservation.poll_grow(context, bytes, self.replies.total());
        if grown.is_pending() {
            self.slow_replies.make_room();
        }
        grown
    }

    /// Takes a queue slot. Keep it until the request ends.
    ///
    /// # Errors
    /// If the queue is full, or the pipeline has its share of it.
    pub fn enter_queue(&self, shares: Shares<'_>) -> Result<Slot, Overloaded> {
        let name = &shares.pipeline.name;
        let share = self.queue_share(shares);
        self.queue_slots.try_take(name, share).ok_or_else(|| {
            Overloaded::Queue(match share {
                Share::All => "the queue (`server.max_queue`) is full".to_owned(),
                Share::Fair => format!(
                    "the queue (`server.max_queue`) is full, or pipeline `{name}` has its fair share of it \
                     (`pipelines.{name}.max_queue` sets another limit)"
                ),
                Share::Fixed(_) => format!("the queue of pipeline `{name}` (`pipelines.{name}.max_queue`) is full"),
            })
        })
    }

    /// Waits for one of the slots to run, at most until the request's deadline. Records the waiting time.
    ///
    /// # Errors
    /// If the deadline passes first.
    pub async fn wait_for_slot(&self, shares: Shares<'_>, record: &mut RequestRecord) -> Result<Slot, ServeError> {
        let since = Instant::now();
        let name = &shares.pipeline.name;
        let share = share(shares.pipeline.max_concurrency, shares.is_alone);
        let slot = match self.run_slots.try_take(name, share) {
            Some(slot) => Ok(slot),
            None => tokio::time::timeout_at(record.deadline().into(), self.run_slots.take(name, share)).await,
        };
        record.set_queue_time(since.elapsed());
        slot.map_err(|_elapsed| {
            let detail = "the request's deadline passed while it was queued";
            ServeError::new(ErrorKind::QueueDeadline, detail)
        })
    }

    /// A queue slot is held while the request runs, too.
    fn queue_share(&self, shares: Shares<'_>) -> Share {
        let running = shares.pipeline.max_concurrency.unwrap_or(self.max_concurrency).min(self.max_concurrency);
        share(shares.pipeline.max_queue.map(|queue| queue.saturating_add(running)), shares.is_alone)
    }
}

fn share(most: Option<u32>, is_alone: bool) -> Share {
    match most {
        Some(most) => Share::Fixed(most),
        None if is_alone => Share::All,
        None => Share::Fair,
    }
}

fn connection_error(error: BudgetError, bytes: u64, key: &'static str) -> Overloaded {
    if error == BudgetError::Spent { Overloaded::Connection } else { Overloaded::TooLarge(bytes, key) }
}

fn host_error(error: BudgetError, bytes: u64, key: &'static str) -> Overloaded {
    if error == BudgetError::Spent { Overloaded::Budget(key) } else { Overloaded::TooLarge(bytes, key) }
}

impl BodyBytes {
    /// A reservation that can always grow, for fuzzing.
    #[cfg(fuzzing)]
    pub fn unlimited() -> Self {
        Self { connection: None, host: ByteBudget::new(u64::MAX / 2, 0, Duration::ZERO).reserve(), key: "no budget" }
    }

    /// Grows to `bytes`, if it is smaller. Waits for a short time if a budget is spent.
    ///
    /// # Errors
    /// If a budget is spent, or too small.
    pub async fn grow(&mut self, bytes: u64) -> Result<(), Overloaded> {
        std::future::poll_fn(|context| self.poll_grow(context, bytes)).await
    }

    /// As [`BodyBytes::grow`]. After `Pending`, call it again with the same number.
    pub fn poll_grow(&mut self, context: &mut Context<'_>, bytes: u64) -> Poll<Result<(), Overloaded>> {
        if let Some(connection) = &mut self.connection {
            ready!(connection.poll_grow(context, bytes)).map_err(|error| connection_error(error, bytes, self.key))?;
        }
        self.host.poll_grow(context, bytes).map_err(|error| host_error(error, bytes, self.key))
    }

    /// As [`BodyBytes::grow`], but fails at once if the bytes are not free.
    ///
    /// # Errors
    /// If the bytes are not free, or a budget is too small.
    pub fn try_grow(&mut self, bytes: u64) -> Result<(), Overloaded> {
        if let Some(connection) = &mut self.connection {
            connection.try_grow(bytes).map_err(|error| connection_error(error, bytes, self.key))?;
        }
        let grown = self.host.try_grow(bytes).map_err(|error| host_error(error, bytes, self.key));
        if grown.is_err()
            && let Some(connection) = &mut self.connection
        {
            connection.shrink(self.host.bytes());
        }
        grown
    }

    /// Follows how fast the body arrives.
    pub fn follow(&mut self, arrival: &Arc<Arrival>) {
        self.host.follow(arrival);
    }

    /// The reserved bytes.
    pub fn bytes(&self) -> u64 {
        self.host.bytes()
    }

    /// Declares that the body has arrived.
    pub fn complete(&mut self) {
        self.host.complete();
        if let Some(connection) = &mut self.connection {
            connection.complete();
        }
    }

    /// Releases the bytes above `bytes`.
    pub fn shrink(&mut self, bytes: u64) {
        self.host.shrink(bytes);
        if let Some(connection) = &mut self.connection {
            connection.shrink(bytes);
        }
    }
}
