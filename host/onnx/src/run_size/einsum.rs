//! Sums of products over labelled axes (`Einsum`).

use std::collections::HashMap;

/// The labels of each input and of the result. An ellipsis is replaced by labels of its own, one for each axis.
struct Equation {
    terms: Vec<Vec<Label>>,
    result: Vec<Label>,
    sizes: HashMap<Label, i64>,
}

/// A letter, or the place of an axis of an ellipsis, counted from the last.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Label {
    Ellipsis(usize),
    Letter(char),
}

impl Equation {
    fn parse(equation: &str, shapes: &[&[i64]]) -> Option<Self> {
        let equation: String = equation.chars().filter(|letter| !letter.is_whitespace()).collect();
        let (terms, result) = match equation.split_once("->") {
            Some((terms, result)) => (terms, Some(result)),
            None => (equation.as_str(), None),
        };
        let terms: Vec<&str> = terms.split(',').collect();
        (terms.len() == shapes.len()).then_some(())?;
        let terms = terms
            .iter()
            .zip(shapes)
            .map(|(term, shape)| labels(term, Some(shape.len())))
            .collect::<Option<Vec<_>>>()?;
        let mut sizes = HashMap::new();
        for (term, shape) in terms.iter().zip(shapes) {
            for (&label, &size) in term.iter().zip(*shape) {
                let known = sizes.entry(label).or_insert(size);
                *known = if *known == 1 { size } else { *known };
            }
        }
        let most = terms.iter().flatten().filter(|label| matches!(label, Label::Ellipsis(_))).max();
        let depth = most.map_or(0, |label| if let Label::Ellipsis(place) = label { place + 1 } else { 0 });
        let result = match result {
            Some(result) => {
                let letters = result.replace("...", "").chars().count();
                labels(result, Some(letters + if result.contains("...") { depth } else { 0 }))?
            }
            // Every ellipsis, and the letters that appear once, in order.
            None => {
                let all: Vec<Label> = terms.iter().flatten().copied().collect();
                let once = |label: &Label| all.iter().filter(|other| *other == label).count() == 1;
                let mut letters: Vec<Label> =
                    all.iter().filter(|label| matches!(label, Label::Letter(_)) && once(label)).copied().collect();
                letters.sort_unstable();
                (0..depth).rev().map(Label::Ellipsis).chain(letters).collect()
            }
        };
        Some(Self { terms, result, sizes })
    }

    fn dims(&self, labels: &[Label]) -> Option<Vec<i64>> {
        labels.iter().map(|label| self.sizes.get(label).copied()).collect()
    }
}

/// The labels of a term for a value of `rank` dimensions.
fn labels(term: &str, rank: Option<usize>) -> Option<Vec<Label>> {
    let letters = |part: &str| part.chars().map(Label::Letter).collect::<Vec<_>>();
    let Some((before, after)) = term.split_once("...") else {
        let labels = letters(term);
        return (Some(labels.len()) == rank).then_some(labels);
    };
    let (before, after) = (letters(before), letters(after));
    let depth = rank?.checked_sub(before.len() + after.len())?;
    Some(before.into_iter().chain((0..depth).rev().map(Label::Ellipsis)).chain(after).collect())
}

/// The shape of the result.
pub(super) fn result(equation: &str, shapes: &[&[i64]]) -> Option<Vec<i64>> {
    let equation = Equation::parse(equation, shapes)?;
    equation.dims(&equation.result)
}

/// The shape of the largest product between the inputs. The engines multiply from left to right, and keep the axes that
/// the result or a later input has.
pub(super) fn largest_step(equation: &str, shapes: &[&[i64]]) -> Option<Vec<i64>> {
    let equation = Equation::parse(equation, shapes)?;
    let mut product: Vec<Label> = equation.terms.first()?.clone();
    let mut largest: Option<(u64, Vec<i64>)> = None;
    for (index, term) in equation.terms.iter().enumerate().skip(1) {
        let later = || equation.terms.iter().skip(index + 1).flatten().chain(&equation.result);
        let mut next: Vec<Label> = Vec::new();
        for &label in product.iter().chain(term) {
            if !next.contains(&label) && later().any(|other| *other == label) {
                next.push(label);
            }
        }
        let dims = equation.dims(&next)?;
        let count = dims.iter().fold(1, |product: u64, &size| product.saturating_mul(size.unsigned_abs()));
        if largest.as_ref().is_none_or(|(other, _)| *other < count) {
            largest = Some((count, dims));
        }
        product = next;
    }
    largest.map(|(_, dims)| dims)
}
