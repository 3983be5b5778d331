//! Suppression keeps exactly the boxes of the plain methods, which compare each candidate with all kept boxes.

use crate::merge::{Merge, Metric, merge};
use crate::select::{Found, Rule, Suppression, intersection, overlap, select};

type Boxes = Vec<Found<usize>>;

/// Numbers from a seed: xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// From 0 to 1.
    fn unit(&mut self) -> f32 {
        self.below(1 << 24) as f32 / (1 << 24) as f32
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }
}

/// The numbers at the limits of f32, and some between.
const LIMITS: [f32; 16] = [
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::MIN_POSITIVE,
    1e-45,
    -1e-45,
    0.0,
    -0.0,
    1.0,
    1.0 - f32::EPSILON / 2.0,
    1e30,
    -1e30,
    16_777_216.0,
    0.1,
];

/// A box of one of the kinds. The kinds are mixed in a set, or not.
fn corners(kind: usize, random: &mut Random, centres: &[[f32; 2]]) -> [f32; 4] {
    let [x, y] = random.of(centres);
    let sized = |x: f32, y: f32, width: f32, height: f32| [x, y, x + width, y + height];
    match kind {
        // Near one of a few places, of similar size.
        0 => sized(
            x + 20.0 * random.unit(),
            y + 20.0 * random.unit(),
            30.0 + 9.0 * random.unit(),
            20.0 + 9.0 * random.unit(),
        ),
        // In a grid whose boxes touch, some of them equal.
        1 => sized(random.below(20) as f32 * 8.0, random.below(20) as f32 * 8.0, 8.0, 8.0),
        // On whole numbers: overlaps that are equal to the threshold.
        2 => sized(
            random.below(12) as f32,
            random.below(12) as f32,
            1.0 + random.below(6) as f32,
            random.below(5) as f32,
        ),
        // Of any size, in and outside of the image.
        3 => {
            let side = 2.0_f32.powi(random.below(24) as i32 - 10);
            sized(x - side / 3.0, y - 400.0 * random.unit(), side * (1.0 + random.unit()), side / (1.0 + random.unit()))
        }
        // Lines.
        4 => sized(x + random.unit(), y + 3.0 * random.unit(), 600.0 * random.unit(), random.unit() * random.unit()),
        // Corners exchanged, or without area.
        5 => [x, y, x - random.below(2) as f32, y + 5.0 - random.below(8) as f32],
        // Far away, where neighbouring numbers are apart.
        6 => sized(1e30 + x * 1e25, -1e30 + y * 1e25, 2e25 * random.unit(), 3e26 * random.unit()),
        // Tiny.
        7 => sized(x * 1e-41, y * 1e-43, 1e-43 + 1e-43 * random.unit(), 3e-43),
        // At the limits.
        8 => [(); 4].map(|()| random.of(&LIMITS)),
        // With three common sides, so that starts or ends are as far apart as an overlap allows.
        9 => {
            let (apart, places) = (40.0 + 60.0 * random.unit(), random.below(4));
            let mut corners = [x, y, x + 200.0, y + 200.0];
            corners[places] += if places < 2 { 200.0 - 2.0 * apart } else { 2.0 * apart - 200.0 };
            corners
        }
        _ => {
            let [a, b, c, d] = [(); 4].map(|()| random.of(&LIMITS));
            [a.min(b), c.min(d), a.max(b), c.max(d)]
        }
    }
}

const KINDS: usize = 11;

fn set(random: &mut Random) -> Boxes {
    let count = random.of(&[0, 1, 20, 60, 200, 400]);
    let (classes, levels) = (random.of(&[1, 1, 3, 40]), random.of(&[4, 1_000_000]));
    let centres: Vec<_> = (0..random.of(&[1, 5, 60])).map(|_| [0, 1].map(|_| 640.0 * random.unit())).collect();
    let kind = random.below(2 * KINDS);
    let mut found: Boxes = (0..count)
        .map(|extra| Found {
            class: random.below(classes),
            score: 0.25 + 0.75 * (1 + random.below(levels)) as f32 / levels as f32,
            r#box: corners(if kind < KINDS { kind } else { random.below(KINDS) }, random, &centres),
            extra,
        })
        .collect();
    // Equal boxes.
    for _ in 0..random.of(&[0, 0, count / 5]) {
        let (from, to) = (random.below(count), random.below(count));
        found[to].r#box = found[from].r#box;
    }
    found
}

fn sorted(mut found: Boxes) -> Boxes {
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.class.cmp(&b.class)));
    found
}

/// Compares each candidate with all kept boxes.
fn plain_hard(rule: &Rule, found: Boxes, is_dropped: impl Fn(&Found<usize>, &Found<usize>) -> bool) -> Boxes {
    let mut kept = Boxes::new();
    for found in sorted(found) {
        let of_class = kept.iter().filter(|other| other.class == found.class).count();
        if kept.len() < rule.max_detections
            && of_class < rule.max_per_class
            && !kept.iter().any(|other| is_dropped(other, &found))
        {
            kept.push(found);
        }
    }
    kept
}

/// Passes over all candidates for each kept box.
fn plain_soft(rule: &Rule, found: Boxes, sigma: f32) -> Boxes {
    let mut kept = Boxes::new();
    let mut found: Vec<_> = sorted(found).into_iter().map(|found| (f64::from(found.score), found)).collect();
    while kept.len() < rule.max_detections && !found.is_empty() {
        let mut best = 0;
        for at in 1..found.len() {
            let is_better = found[at].0 > found[best].0;
            if is_better || found[at].0 == found[best].0 && found[at].1.class < found[best].1.class {
                best = at;
            }
        }
        let (score, best) = found.remove(best);
        if kept.iter().filter(|other| other.class == best.class).count() >= rule.max_per_class {
            continue;
        }
        for (score, other) in found.iter_mut().filter(|(_, other)| other.class == best.class) {
            let overlap = overlap(&best.r#box, &other.r#box);
            *score *= (-overlap * overlap / f64::from(sigma)).exp();
        }
        found.retain(|(score, _)| *score > f64::from(rule.score_threshold));
        kept.push(Found { score: score as f32, ..best });
    }
    kept
}

/// The bits of all numbers, so that what is not a number is equal to itself.
fn bits(found: &Boxes) -> Vec<(usize, usize, u32, [u32; 4])> {
    found.iter().map(|it| (it.extra, it.class, it.score.to_bits(), it.r#box.map(f32::to_bits))).collect()
}

const SETS: u64 = 2_000;

#[test]
fn hard_and_soft_suppression_keep_the_boxes_of_the_plain_methods() {
    let (mut total, mut dropped) = (0, 0);
    for seed in 1..=SETS {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let found = set(&mut random);
        let limit = random.of(&[0.0, 0.05, 0.3, 0.5, 0.5, 0.7, 0.95, 1.0]);
        let sigma = random.of(&[0.5, 0.1, 1e-40, 1e30]);
        let over = |other: &Found<usize>, found: &Found<usize>| overlap(&other.r#box, &found.r#box) > f64::from(limit);
        for suppression in [
            Suppression::PerClass(limit),
            Suppression::ClassAgnostic(limit),
            Suppression::Soft(sigma),
            Suppression::None,
        ] {
            let (max_per_class, max_detections) =
                (random.of(&[usize::MAX, usize::MAX, 7, 0]), random.of(&[10_000, 10_000, 100, 5]));
            let rule = Rule { suppression, max_per_class, max_detections, ..Rule::default() };
            let kept = select(&rule, found.clone());
            let plain = match suppression {
                Suppression::PerClass(_) => plain_hard(&rule, found.clone(), |a, b| a.class == b.class && over(a, b)),
                Suppression::ClassAgnostic(_) => plain_hard(&rule, found.clone(), over),
                Suppression::Soft(sigma) => plain_soft(&rule, found.clone(), sigma),
                Suppression::None => plain_hard(&rule, found.clone(), |_, _| false),
            };
            assert_eq!(bits(&kept), bits(&plain), "seed {seed}, {suppression:?}, {max_per_class}, {max_detections}");
            (total, dropped) = (total + found.len(), dropped + found.len() - kept.len());
        }
    }
    assert!(dropped > total / 10 && dropped < total * 9 / 10, "{dropped} of {total} boxes were dropped");
}

#[test]
fn a_merge_keeps_the_boxes_of_the_plain_method() {
    for seed in 1..=SETS / 2 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let found = set(&mut random);
        let rule = Merge {
            metric: random.of(&[Metric::Smaller, Metric::Union]),
            threshold: random.of(&[0.0, 0.1, 0.5, 0.9]),
            is_class_agnostic: random.below(2) == 0,
            max_per_class: random.of(&[usize::MAX, usize::MAX, 5]),
            max_detections: random.of(&[10_000, 10_000, 50]),
        };
        let is_dropped = |other: &Found<usize>, found: &Found<usize>| {
            let (shared, [first, second]) = intersection(&other.r#box, &found.r#box);
            let whole = match rule.metric {
                Metric::Smaller => first.min(second),
                Metric::Union => first + second - shared,
            };
            let overlap = if whole > 0.0 { shared / whole } else { 0.0 };
            (rule.is_class_agnostic || other.class == found.class) && overlap > f64::from(rule.threshold)
        };
        let Merge { max_per_class, max_detections, .. } = rule;
        let limits = Rule { max_per_class, max_detections, ..Rule::default() };
        let plain = plain_hard(&limits, found.clone(), is_dropped);
        assert_eq!(bits(&merge(&rule, found)), bits(&plain), "seed {seed}");
    }
}

/// 10,000 boxes: `cargo test --release -- --ignored --nocapture ten_thousand`. Two at each of 5,000 places, and all at one
/// place. The least of ten times, because other processes take the cores.
#[test]
#[ignore = "measures, for host/docs/performance.md: no test depends on time"]
fn ten_thousand_boxes() {
    let mut random = Random(7);
    let places: Boxes = (0..10_000)
        .map(|extra| {
            let (x, y) = ((extra / 2 % 100) as f32 * 6.0, (extra / 200) as f32 * 12.0);
            Found { class: 0, score: 0.3 + 0.7 * random.unit(), r#box: [x, y, x + 5.0, y + 10.0], extra }
        })
        .collect();
    let mut one_place = places.clone();
    one_place.iter_mut().for_each(|found| found.r#box = corners(0, &mut random, &[[300.0, 300.0]]));
    let time = |what: &str, run: &dyn Fn() -> usize| {
        let times = (0..10).map(|_| (std::time::Instant::now(), run())).map(|(start, kept)| (start.elapsed(), kept));
        println!("{what}: {:?}", times.min());
    };
    for (what, found) in [("places", &places), ("one place", &one_place)] {
        time(&format!("{what}, none"), &|| {
            select(&Rule { max_detections: 10_000, ..Rule::default() }, found.clone()).len()
        });
        let soft = Rule { suppression: Suppression::Soft(0.5), max_detections: 1_000, ..Rule::default() };
        time(&format!("{what}, soft"), &|| select(&soft, found.clone()).len());
        for limit in [0.5, 0.7, 0.95] {
            let rule = Rule { suppression: Suppression::PerClass(limit), max_detections: 10_000, ..Rule::default() };
            time(&format!("{what}, {limit}"), &|| select(&rule, found.clone()).len());
        }
    }
}
