use std::task::Waker;

use super::ledger::SMALL;
use super::*;

const WAIT: Duration = Duration::from_millis(50);

fn now(reservation: &mut Reservation, bytes: u64) -> Option<Result<(), BudgetError>> {
    match reservation.poll_grow(&mut Context::from_waker(Waker::noop()), bytes) {
        Poll::Ready(grown) => Some(grown),
        Poll::Pending => None,
    }
}

#[tokio::test]
async fn two_half_read_bodies_do_not_block_each_other() {
    let budget = ByteBudget::new(300, 150, WAIT);
    let (mut first, mut second) = (budget.reserve(), budget.reserve());
    assert_eq!(now(&mut first, 75), Some(Ok(())));
    assert_eq!(now(&mut second, 75), Some(Ok(())));
    // The part for all is spent. The first reservation that waits is the elder and gets all it needs.
    assert_eq!(now(&mut second, 100), Some(Ok(())));
    assert_eq!(now(&mut first, 151), None, "125 bytes of the reserve are free, and the elder may need 50");
    second.complete();
    assert_eq!(now(&mut first, 151), Some(Ok(())));
    drop((first, second));
    assert_eq!(budget.lock().unused(), Some((150, 150)));
}

/// A body is not refused for bytes that are free: the elder does not need more than the largest body.
#[tokio::test]
async fn bytes_that_the_elder_does_not_need_are_for_the_others() {
    let budget = ByteBudget::new(200, 100, Duration::ZERO);
    let (mut first, mut second) = (budget.reserve(), budget.reserve());
    for bytes in [25, 50, 75, 100] {
        assert_eq!(first.grow(bytes).await, Ok(()), "{bytes}");
        assert_eq!(second.grow(bytes).await, Ok(()), "{bytes}");
    }
    assert_eq!(budget.lock().free(), 0);
    let mut third = budget.reserve();
    assert_eq!(third.grow(1).await, Err(BudgetError::Spent));
    drop((first, second, third));
    assert_eq!(budget.lock().unused(), Some((100, 100)));
}

/// A stream of gRPC releases all bytes between its messages.
#[tokio::test]
async fn a_reservation_that_released_all_bytes_leaves_nothing_behind() {
    let budget = ByteBudget::new(100, 50, WAIT);
    let mut stream = budget.reserve();
    stream.follow(&Arrival::new(WAIT));
    for bytes in [1, 20] {
        assert_eq!(stream.try_grow(bytes), Ok(()));
        stream.shrink(0);
        assert_eq!(budget.lock().unused(), Some((50, 50)));
    }
    drop(stream);
    assert_eq!(budget.lock().unused(), Some((50, 50)));
}

/// A small body that came when nothing was free does not wait longer than one that comes now.
#[tokio::test]
async fn a_small_first_growth_that_waits_passes_larger_ones() {
    let budget = ByteBudget::new(300_000, 100_000, WAIT);
    let (mut held, mut elder) = (budget.reserve(), budget.reserve());
    assert_eq!(now(&mut held, 200_000), Some(Ok(())));
    assert_eq!(now(&mut elder, 100_000), Some(Ok(())), "the reserve");
    let (mut large, mut small) = (budget.reserve(), budget.reserve());
    assert_eq!(now(&mut large, 90_000), None);
    assert_eq!(now(&mut small, 1_000), None);
    held.shrink(199_000);
    assert_eq!(now(&mut small, 1_000), Some(Ok(())));
    assert_eq!(now(&mut small, 2_000), None, "only the first growth");
    drop((held, elder, large, small));
    assert_eq!(budget.lock().unused(), Some((200_000, 100_000)));
}

/// Only the elder gets the bytes of the reserve. So if the slowest arrival holds these, the next one is ended, too.
#[test]
fn as_many_slow_arrivals_are_ended_as_the_waiting_ones_can_use() {
    const KIB: u64 = 1 << 10;
    let mut ledger = Ledger::new(400 * KIB, 100 * KIB);
    let arrivals: [_; 4] = std::array::from_fn(|_| Arrival::new(Duration::from_secs(10)));
    for (age, arrival) in (0..).zip(&arrivals) {
        if !ledger.try_take(age, 100 * KIB) {
            ledger.wait_for(age, 100 * KIB, Waker::noop());
            assert_eq!(ledger.ended(age, Waker::noop()), Some(Ok(())), "the reserve");
            ledger.forget_wait(age);
        }
        ledger.follow(age, arrival);
    }
    for (age, more) in [(4, 50 * KIB), (5, KIB)] {
        ledger.wait_for(age, more, Waker::noop());
    }
    let ended = || {
        let mut context = Context::from_waker(Waker::noop());
        arrivals.each_ref().map(|arrival| arrival.poll_ended(&mut context))
    };
    let begin = std::time::Instant::now();
    ledger.look(begin, LOOK);
    for (arrival, bytes) in arrivals.iter().zip([300, 200, 1 << 20, 100]) {
        arrival.add(bytes);
    }
    ledger.look(begin + LOOK, LOOK);
    assert_eq!(ended(), [false, true, false, true], "the elder, and one for the small body");
    assert!(ledger.frees_bytes);
    // One of them arrived meanwhile. Its bytes are not expected any more.
    arrivals[1].set_receiving(false);
    assert_eq!(ended(), [false, false, false, true]);
    ledger.remove(3);
    assert_eq!(ledger.ended(4, Waker::noop()), Some(Ok(())), "the next elder");
    assert_eq!(ledger.ended(5, Waker::noop()), None);
    ledger.look(begin + 2 * LOOK, LOOK);
    assert_eq!(ended(), [true, false, false, true]);
    ledger.remove(0);
    assert_eq!(ledger.ended(5, Waker::noop()), Some(Ok(())));
    // The next message of a stream is not ended by what concerned the last one.
    arrivals[1].set_receiving(true);
    assert!(!ended()[1]);
}

/// Many small bodies hold as much as a few large ones.
#[test]
fn small_arrivals_are_ended_after_all_larger_ones() {
    let mut ledger = Ledger::new(4 * SMALL, 0);
    let arrivals: [_; 3] = std::array::from_fn(|_| Arrival::new(Duration::from_secs(10)));
    for ((age, bytes), arrival) in (0..).zip([SMALL, SMALL, 2 * SMALL]).zip(&arrivals) {
        assert!(ledger.try_take(age, bytes));
        ledger.follow(age, arrival);
    }
    ledger.wait_for(3, SMALL, Waker::noop());
    let ended = || {
        let mut context = Context::from_waker(Waker::noop());
        arrivals.each_ref().map(|arrival| arrival.poll_ended(&mut context))
    };
    let begin = std::time::Instant::now();
    ledger.look(begin, LOOK);
    arrivals[0].add(1);
    arrivals[2].add(2);
    ledger.look(begin + LOOK, LOOK);
    assert_eq!(ended(), [false, false, true], "the large one");
    ledger.remove(2);
    assert!(ledger.try_take(4, SMALL));
    ledger.wait_for(5, SMALL, Waker::noop());
    arrivals[0].add(1);
    ledger.look(begin + 2 * LOOK, LOOK);
    assert_eq!(ended(), [false, true, true], "the slower of the small ones");
}

#[tokio::test]
async fn the_youngest_fails_if_the_reserve_is_too_small_for_the_elder() {
    let budget = ByteBudget::new(100, 100, WAIT);
    let (mut first, mut second) = (budget.reserve(), budget.reserve());
    assert_eq!(now(&mut first, 30), Some(Ok(())));
    assert_eq!(now(&mut second, 20), Some(Ok(())));
    assert_eq!(now(&mut first, 60), Some(Ok(())), "from the reserve");
    assert_eq!(now(&mut second, 50), None);
    assert_eq!(now(&mut first, 100), None);
    assert_eq!(now(&mut second, 50), Some(Err(BudgetError::Spent)));
    drop(second);
    assert_eq!(now(&mut first, 100), Some(Ok(())));
    assert_eq!(now(&mut first, 101), Some(Err(BudgetError::TooLarge)));
}

#[tokio::test]
async fn a_reservation_that_waits_takes_no_bytes_beside_its_wait() {
    let budget = ByteBudget::new(100, 0, WAIT);
    let (mut first, mut waits) = (budget.reserve(), budget.reserve());
    assert_eq!(now(&mut first, 90), Some(Ok(())));
    assert_eq!(now(&mut waits, 20), None);
    drop(first);
    assert_eq!(waits.try_grow(20), Err(BudgetError::Spent), "the bytes are granted, but not yet counted");
    assert_eq!(now(&mut waits, 20), Some(Ok(())));
    assert_eq!(waits.try_grow(30), Ok(()));
    waits.shrink(0);
    assert_eq!(now(&mut waits, 5), Some(Ok(())));
    waits.shrink(0);
    drop(waits);
    assert_eq!(budget.lock().unused(), Some((100, 0)));
}

#[tokio::test]
async fn the_slowest_arrivals_make_room_for_one_that_waits() {
    const KIB: u64 = 1 << 10;
    let budget = ByteBudget::new(1000 * KIB, 0, 20 * WAIT);
    // Each needs 250 KiB in 10 s, and has sent nothing for a while, except the second and the third.
    let arrivals: [_; 4] = std::array::from_fn(|_| Arrival::new(Duration::from_secs(10)));
    let mut held: Vec<_> = arrivals
        .iter()
        .map(|arrival| {
            let mut reservation = budget.reserve();
            reservation.follow(arrival);
            assert_eq!(now(&mut reservation, 250 * KIB), Some(Ok(())));
            reservation
        })
        .collect();
    arrivals[0].set_receiving(false);
    let ended = || {
        let mut context = Context::from_waker(Waker::noop());
        arrivals.each_ref().map(|arrival| arrival.poll_ended(&mut context))
    };
    let mut waits = budget.reserve();
    let sending = async {
        while ended() == [false; 4] {
            arrivals[1].add(2 << 20);
            arrivals[2].add(100);
            tokio::time::sleep(WAIT / 10).await;
        }
        assert_eq!(ended(), [false, false, false, true], "complete, fast, slow, slowest");
        drop(held.pop());
    };
    let (grown, ()) = tokio::join!(waits.grow(200 * KIB), sending);
    assert_eq!(grown, Ok(()));
    assert_eq!(ended(), [false, false, false, true], "only as many as needed");
    // Without a reservation that waits, slow ones may go on.
    drop(waits);
    tokio::time::sleep(2 * budget.look()).await;
    assert_eq!(ended(), [false, false, false, true]);
}

#[tokio::test]
async fn a_wait_ends_in_time_and_a_small_first_growth_does_not_wait() {
    let budget = ByteBudget::new(1_000_000, 0, WAIT);
    let mut large = budget.reserve();
    assert_eq!(now(&mut large, 990_000), Some(Ok(())));
    let mut waits = budget.reserve();
    let mut small = budget.reserve();
    assert_eq!(now(&mut waits, 20_000), None);
    assert_eq!(now(&mut small, 10_000), Some(Ok(())));
    assert_eq!(waits.grow(20_000).await, Err(BudgetError::Spent));
    large.shrink(100);
    assert_eq!(now(&mut waits, 20_000), Some(Ok(())));
    drop(waits);
    // A reservation that is dropped while it waits leaves nothing behind.
    let mut gone = budget.reserve();
    assert_eq!(now(&mut gone, 999_000), None);
    drop((gone, small, large));
    assert_eq!(budget.lock().unused(), Some((1_000_000, 0)));
}
