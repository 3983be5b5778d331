//! The finished rows of the result, until they are discarded.

/// Finished rows: `channels` times `columns` floats each. Rows are not removed from the vector, so it is seldom enlarged.
pub(super) struct FinishedRows {
    rows: Vec<f32>,
    ready: usize,
    channels: usize,
    /// The columns of a row of one channel, without and with padding.
    count: usize,
    columns: usize,
}

impl FinishedRows {
    /// For rows of `count` columns.
    pub(super) fn new(channels: usize, count: usize) -> Self {
        Self { rows: Vec::new(), ready: 0, channels, count, columns: count.next_multiple_of(4) }
    }

    /// The columns of a row of one channel, including padding.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// The floats of a row of all channels.
    pub(super) fn length(&self) -> usize {
        self.channels * self.columns
    }

    /// The place of the next finished row. It may contain the values of an earlier row.
    pub(super) fn next_row(&mut self) -> &mut [f32] {
        let length = self.length();
        let at = self.ready * length;
        self.ready += 1;
        if self.rows.len() < at + length {
            self.rows.resize(at + length, 0.0);
        }
        &mut self.rows[at..at + length]
    }

    /// The number of finished rows that were not discarded yet.
    pub(super) fn ready(&self) -> usize {
        self.ready
    }

    /// One channel of a row; row 0 is the oldest.
    pub(super) fn row(&self, ready: usize, channel: usize) -> &[f32] {
        &self.rows[(ready * self.channels + channel) * self.columns..][..self.count]
    }

    /// Discards the given number of rows, oldest first.
    pub(super) fn discard(&mut self, rows: usize) {
        let length = self.length();
        self.rows.copy_within(rows * length..self.ready * length, 0);
        self.ready -= rows;
    }
}
