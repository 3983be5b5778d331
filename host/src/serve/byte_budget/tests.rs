use std::task::Waker;

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
    assert_eq!(now(&mut second, 150), Some(Ok(())));
    assert_eq!(now(&mut first, 150), None);
    second.complete();
    assert_eq!(now(&mut first, 150), Some(Ok(())), "75 bytes of the reserve are free");
    drop((first, second));
    assert_eq!(budget.lock().unused(), Some((150, 150)));
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
