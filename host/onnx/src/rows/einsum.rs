//! `Einsum`: the letter of the rows must stay one axis of the result.

use rten_onnx::onnx::NodeProto;

use super::Proof;
use super::size::Size;
use super::value::{Rows, Value, free_or_unknown, mixed};
use crate::node::Attributes;

pub(super) fn einsum(proof: &mut Proof, node: &NodeProto, inputs: &[&Value]) -> Value {
    let equation: String = node.text_or("equation", "").chars().filter(|letter| !letter.is_whitespace()).collect();
    let Some((terms, result)) = equation.split_once("->").filter(|_| !equation.contains('.')) else {
        return free_or_unknown(inputs, "has an equation that is not analysed");
    };
    let terms: Vec<Vec<char>> = terms.split(',').map(|term| term.chars().collect()).collect();
    let fits = |(term, input): (&Vec<char>, &&Value)| input.rank().is_some_and(|rank| rank == term.len());
    if terms.len() != inputs.len() || !terms.iter().zip(inputs).all(fits) {
        return free_or_unknown(inputs, "has inputs of unknown rank");
    }
    let mut rows: Option<(char, Option<&Size>)> = None;
    for (term, input) in terms.iter().zip(inputs) {
        let Rows::Along(axis) = input.rows else { continue };
        let (Some(&letter), size) = (term.get(axis), input.size(axis)) else { return Value::unknown("is not valid") };
        if term.iter().filter(|&&other| other == letter).count() > 1 {
            return mixed("combines rows with other rows");
        }
        match rows {
            Some((other, _)) if other != letter => return mixed("combines rows with other rows"),
            Some((_, other)) if other != size => return Value::unknown("combines rows of different sizes"),
            _ => rows = Some((letter, size)),
        }
    }
    let size_of = |letter: char| {
        let of = |(term, input): (&Vec<char>, &&Value)| input.size(term.iter().position(|&it| it == letter)?).cloned();
        terms.iter().zip(inputs).find_map(of)
    };
    let mut sizes: Vec<Size> = Vec::new();
    for letter in result.chars() {
        sizes.push(size_of(letter).unwrap_or_else(|| proof.symbol()));
    }
    let Some((letter, size)) = rows else { return Value::new(Rows::Free, Some(sizes)) };
    let is_in_constant = |(term, input): (&Vec<char>, &&Value)| input.is_free() && term.contains(&letter);
    if terms.iter().zip(inputs).any(is_in_constant) {
        return Value::unknown("combines rows with a constant that is not the same for all rows");
    }
    let Some(place) = result.chars().position(|it| it == letter) else { return mixed("joins rows") };
    if let Some(size) = size {
        sizes[place] = size.clone();
    }
    Value::new(Rows::Along(place), Some(sizes))
}
