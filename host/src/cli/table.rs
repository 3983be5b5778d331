//! Tables in plain text.

use plimsoll_runtime::text::printable;

/// Maximum bytes of a cell.
const MAX_CELL: usize = 1_024;

/// Returns the lines of a table with a header. The first `texts` columns are left-aligned. The others are numbers and
/// right-aligned.
pub(super) fn lines(header: &[&str], rows: &[Vec<String>], texts: usize) -> Vec<String> {
    let header = header.iter().map(|&title| title.to_owned()).collect();
    // Some texts, such as the names of callers, are not trusted.
    let shown = |cell: &String| printable(cell, MAX_CELL);
    let all: Vec<Vec<String>> =
        std::iter::once(&header).chain(rows).map(|row: &Vec<String>| row.iter().map(shown).collect()).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..header.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column < texts { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["long name".to_owned(), "7".to_owned()], vec!["a\u{1b}[".to_owned(), "12345".to_owned()]];
        let lines = super::lines(&["name", "bytes"], &rows, 1);
        assert_eq!(lines, ["name       bytes", "long name      7", "a\\u{1b}[   12345"]);
    }
}
