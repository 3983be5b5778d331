//! The sizes of results, computed while the model runs.

use rten_onnx::onnx::NodeProto;

use crate::node::{Attributes, Edit, new};
use crate::site::Site;
use crate::types::{Info, MOST_DIMENSIONS};

/// A part of the shape of an input, with ones before it.
fn part(
    (node, index): (&NodeProto, usize),
    (start, end): (usize, usize),
    length: usize,
    made: &mut Vec<NodeProto>,
    site: &mut Site,
) -> String {
    let (shape, part, whole) = (site.name("shape"), site.name("part"), site.name("whole"));
    let (starts, ends) = (site.ints(&[start as i64]), site.ints(&[end as i64]));
    let ones = site.ints(&vec![1; length.saturating_sub(end - start)]);
    made.push(new("Shape", &[&node.input[index]], &shape));
    made.push(new("Slice", &[&shape, &starts, &ends], &part));
    made.push(new("Concat", &[&ones, &part], &whole).with_int("axis", 0));
    whole
}

/// The size of one dimension, as a list.
fn one(node: &NodeProto, index: usize, axis: usize, made: &mut Vec<NodeProto>, site: &mut Site) -> String {
    part((node, index), (axis, axis + 1), 1, made, site)
}

/// A node of lists.
fn of(operator: &str, lists: &[&str], made: &mut Vec<NodeProto>, site: &mut Site) -> String {
    let result = site.name("sizes");
    let node = new(operator, lists, &result);
    made.push(if operator == "Concat" { node.with_int("axis", 0) } else { node });
    result
}

/// The sizes after broadcasting all inputs.
pub(super) fn broadcast(node: &NodeProto, infos: &[Info], made: &mut Vec<NodeProto>, site: &mut Site) -> String {
    let shapes = aligned(node, infos, made, site);
    let parts: Vec<&str> = shapes.iter().map(String::as_str).collect();
    of("Max", &parts, made, site)
}

/// The shapes of all inputs, with ones before them.
fn aligned(node: &NodeProto, infos: &[Info], made: &mut Vec<NodeProto>, site: &mut Site) -> Vec<String> {
    let known: Option<Vec<usize>> = infos.iter().map(|info| info.rank).collect();
    if let Some(ranks) = known {
        let length = ranks.iter().copied().max().unwrap_or(0);
        let part = |(index, &rank)| part((node, index), (0, rank), length, made, site);
        return ranks.iter().enumerate().map(part).collect();
    }
    let (mut shapes, mut ranks) = (Vec::new(), Vec::new());
    for input in &node.input {
        let (shape, rank) = (site.name("shape"), site.name("rank"));
        made.push(new("Shape", &[input], &shape));
        made.push(new("Shape", &[&shape], &rank));
        shapes.push(shape);
        ranks.push(rank);
    }
    let all: Vec<&str> = ranks.iter().map(String::as_str).collect();
    let most = of("Max", &all, made, site);
    let (ones, start) = (site.ints(&[1; MOST_DIMENSIONS]), site.ints(&[0]));
    let mut whole = |(shape, rank): (&String, &String)| {
        let missing = of("Sub", &[&most, rank], made, site);
        let before = of("Slice", &[&ones, &start, &missing], made, site);
        of("Concat", &[&before, shape], made, site)
    };
    shapes.iter().zip(&ranks).map(&mut whole).collect()
}

/// The sizes of a product of matrices, or more: those before the matrices, the rows and the columns.
pub(super) fn product(node: &NodeProto, infos: &[Info], made: &mut Vec<NodeProto>, site: &mut Site) -> String {
    let shapes = aligned(node, infos, made, site);
    let both = of("Max", &[&shapes[0], &shapes[1]], made, site);
    let mut slice = |list: &str, start: i64, end: i64| {
        let (starts, ends) = (site.ints(&[start]), site.ints(&[end]));
        of("Slice", &[list, &starts, &ends], made, site)
    };
    let outer = slice(&both, 0, -2);
    let (rows, columns) = (slice(&shapes[0], -2, -1), slice(&shapes[1], -1, i64::from(i32::MAX)));
    of("Concat", &[&outer, &rows, &columns], made, site)
}

/// The rows and the columns.
pub(super) fn gemm(node: &NodeProto, made: &mut Vec<NodeProto>, site: &mut Site) -> String {
    let rows = one(node, 0, usize::from(node.int_or("transA", 0) != 0), made, site);
    let columns = one(node, 1, usize::from(node.int_or("transB", 0) == 0), made, site);
    of("Concat", &[&rows, &columns], made, site)
}

/// The sizes of the letters of the result, or of all letters where the engine may keep more of them on its way.
pub(super) fn einsum(node: &NodeProto, infos: &[Info], made: &mut Vec<NodeProto>, site: &mut Site) -> Option<String> {
    let equation: String = node.text_or("equation", "").chars().filter(|letter| !letter.is_whitespace()).collect();
    let (terms, result) = equation.split_once("->").unwrap_or((&equation, &equation));
    let terms: Vec<Vec<char>> = terms.split(',').map(|term| term.chars().collect()).collect();
    (terms.len() == infos.len() && !equation.contains('.')).then_some(())?;
    let mut letters: Vec<char> = terms.concat();
    letters.sort_unstable();
    letters.dedup();
    let summed = letters.iter().filter(|&&letter| !result.contains(letter)).count();
    if terms.len() < 3 && summed < 2 {
        letters.retain(|&letter| result.contains(letter));
    }
    let one = site.ints(&[1]);
    let mut sizes = Vec::new();
    for (index, term) in terms.iter().enumerate() {
        // The place of each letter; that of the 1 after the shape, if the term does not have it.
        let place = |letter: &char| term.iter().position(|other| other == letter).unwrap_or(term.len()) as i64;
        let places = site.ints(&letters.iter().map(place).collect::<Vec<_>>());
        let (shape, of_letters) = (site.name("shape"), site.name("sizes"));
        made.push(new("Shape", &[&node.input[index]], &shape));
        let longer = of("Concat", &[&shape, &one], made, site);
        made.push(new("Gather", &[&longer, &places], &of_letters).with_int("axis", 0));
        sizes.push(of_letters);
    }
    let sizes: Vec<&str> = sizes.iter().map(String::as_str).collect();
    Some(of("Max", &sizes, made, site))
}

/// At least as many as the scores, the result, and the keys of all heads. `None` with keys of the past.
pub(super) fn attention(
    node: &NodeProto,
    infos: &[Info],
    made: &mut Vec<NodeProto>,
    site: &mut Site,
) -> Option<String> {
    (node.input(4).is_none() && node.input(5).is_none()).then_some(())?;
    let rank = infos[0].rank?;
    let (outer, queries) = match rank {
        3 => {
            let heads = site.ints(&[node.int("q_num_heads")?]);
            let batch = one(node, 0, 0, made, site);
            (of("Concat", &[&batch, &heads], made, site), one(node, 0, 1, made, site))
        }
        4 => (part((node, 0), (0, 2), 2, made, site), one(node, 0, 2, made, site)),
        _ => return None,
    };
    let keys = one(node, 1, rank - 2, made, site);
    let widths = [one(node, 0, rank - 1, made, site), one(node, 2, rank - 1, made, site)];
    let longest = of("Max", &[&queries, &keys], made, site);
    let widest = of("Max", &[&keys, &widths[0], &widths[1]], made, site);
    Some(of("Concat", &[&outer, &longest, &widest], made, site))
}

/// The batch, the channels of the weights, and the padded image.
pub(super) fn conv(node: &NodeProto, infos: &[Info], made: &mut Vec<NodeProto>, site: &mut Site) -> Option<String> {
    let rank = infos[0].rank.or(infos[1].rank)?;
    let spatial = rank.checked_sub(2)?;
    let (batch, channels) = (one(node, 0, 0, made, site), one(node, 1, 0, made, site));
    let image = part((node, 0), (2, rank), spatial, made, site);
    let pads: Vec<i64> = match node.ints("pads").map(|pads| pads.split_at(pads.len() / 2)) {
        Some((before, after)) => before.iter().zip(after).map(|(before, after)| before + after).collect(),
        None => Vec::new(),
    };
    let pads = site.ints(&(0..spatial).map(|at| pads.get(at).copied().unwrap_or(0)).collect::<Vec<_>>());
    let padded = of("Add", &[&image, &pads], made, site);
    Some(of("Concat", &[&batch, &channels, &padded], made, site))
}

/// The steps, the batch, and the gates of all directions.
pub(super) fn recurrent(node: &NodeProto, made: &mut Vec<NodeProto>, site: &mut Site) -> String {
    let (steps, gates) = (part((node, 0), (0, 2), 2, made, site), part((node, 2), (0, 2), 2, made, site));
    of("Concat", &[&steps, &gates], made, site)
}

/// The batch and the channels of the image, and the places of the grid.
pub(super) fn sampled(node: &NodeProto, infos: &[Info], made: &mut Vec<NodeProto>, site: &mut Site) -> Option<String> {
    let places = infos[1].rank?.checked_sub(1).filter(|&end| end > 0)?;
    let (image, grid) = (part((node, 0), (0, 2), 2, made, site), part((node, 1), (1, places), places - 1, made, site));
    Some(of("Concat", &[&image, &grid], made, site))
}

/// The sizes of a `Gather`: those of the data without the axis, and those of the indices.
pub(super) fn gathered(node: &NodeProto, infos: &[Info], made: &mut Vec<NodeProto>, site: &mut Site) -> Option<String> {
    let (rank, indices) = (infos[0].rank?, infos[1].rank?);
    let axis = node.int_or("axis", 0);
    let axis = usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok().filter(|&axis| axis < rank)?;
    let before = part((node, 0), (0, axis), axis, made, site);
    let after = part((node, 0), (axis + 1, rank), rank - axis - 1, made, site);
    let chosen = part((node, 1), (0, indices), indices, made, site);
    Some(of("Concat", &[&before, &after, &chosen], made, site))
}

/// The sizes of a `GatherND`: those of the indices without the last, and those of the data that an index does not have.
pub(super) fn gathered_slices(
    node: &NodeProto,
    infos: &[Info],
    made: &mut Vec<NodeProto>,
    site: &mut Site,
) -> Option<String> {
    let (rank, indices) = (infos[0].rank?, infos[1].rank?.checked_sub(1)?);
    let length = infos[1].size(-1).unwrap_or(1);
    let start =
        usize::try_from(node.int_or("batch_dims", 0).checked_add(length)?).ok().filter(|&start| start <= rank)?;
    let chosen = part((node, 1), (0, indices), indices, made, site);
    let slices = part((node, 0), (start, rank), rank - start, made, site);
    Some(of("Concat", &[&chosen, &slices], made, site))
}

/// The sum of the elements of all inputs, as a list of one number.
pub(super) fn joined(node: &NodeProto, made: &mut Vec<NodeProto>, site: &mut Site) -> String {
    let mut counts = Vec::new();
    for index in (0..node.input.len()).filter(|&index| node.input(index).is_some()) {
        let (shape, number, count) = (site.name("shape"), site.name("number"), site.name("count"));
        made.push(new("Shape", &[&node.input[index]], &shape));
        made.push(crate::node::cast(&shape, rten_onnx::onnx::DataType::FLOAT, &number));
        made.push(new("ReduceProd", &[&number], &count).with_int("keepdims", 1));
        counts.push(count);
    }
    let counts: Vec<&str> = counts.iter().map(String::as_str).collect();
    of("Sum", &counts, made, site)
}
