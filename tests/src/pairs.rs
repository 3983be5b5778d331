//! Two things timed against each other, for benchmarks.

/// Figures of both sides, one of each for every pair of blocks.
pub struct Pairs(Vec<(f64, f64)>);

impl Pairs {
    /// Times blocks of both sides in pairs, in turned order, so that whatever else the machine does meets both alike.
    /// Each side runs a block of its own and gives the time of one run in it.
    pub async fn run(count: usize, mut one: impl AsyncFnMut() -> f64, mut other: impl AsyncFnMut() -> f64) -> Self {
        let mut pairs = Vec::with_capacity(count);
        for pair in 0..count {
            if pair % 2 == 0 {
                pairs.push((one().await, other().await));
            } else {
                let second = other().await;
                pairs.push((one().await, second));
            }
        }
        Self(pairs)
    }

    /// The median over all pairs of what `figure` makes of both sides' times.
    ///
    /// # Panics
    /// When there is no pair.
    pub fn median(&self, figure: impl Fn(f64, f64) -> f64) -> f64 {
        let mut figures: Vec<_> = self.0.iter().map(|&(one, other)| figure(one, other)).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    }
}
