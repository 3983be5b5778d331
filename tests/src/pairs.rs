//! Compares the times of two functions, for benchmarks.

/// The times of both sides, one pair for every pair of blocks.
pub struct Pairs(Vec<(f64, f64)>);

impl Pairs {
    /// Times blocks of both sides in pairs. The order alternates, so that other load on the machine affects both sides
    /// equally. Each side runs one block and returns the time of one run in it.
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

    /// The median of `figure` over all pairs. `figure` gets the times of both sides.
    ///
    /// # Panics
    /// If there is no pair.
    pub fn median(&self, figure: impl Fn(f64, f64) -> f64) -> f64 {
        let mut figures: Vec<_> = self.0.iter().map(|&(one, other)| figure(one, other)).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    }
}
