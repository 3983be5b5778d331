//! A step that passes its tensors and its context on. With the setting `split = true` it makes an item of each row of its
//! first tensor, with the context `item 3 of CONTEXT`; with `gather = true` it makes a tensor `sums` of the sums of the
//! first tensors of all items, NaN for an item that failed, and keeps the context from before the items; with
//! `rename = NAME` its first tensor gets another name. With `refuses = TEXT` it fails if the context contains the text.
//!
//! With the query parameter `transform`, or the one that the setting `parameter` names, it misbehaves;
//! `tests/guests/README.md` describes the commands. With the parameter `at` it does so only for the item of this number, with
//! `holding` only if the context contains this text.

use std::hint::black_box;
use std::thread;
use std::time::Duration;

use plimsoll_sdk::gathered::Gathered;
use plimsoll_sdk::{
    Bundle, Failure, NamedTensor, Outcome, Request, Tensor, TensorType, Transform, config, export_transform, regions,
    tensor,
};

struct Transformer;

export_transform!(Transformer);

impl Transform for Transformer {
    fn run(request: Request, mut input: Bundle) -> Result<Outcome, Failure> {
        let command = config::get("parameter").unwrap_or_else(|| "transform".to_owned());
        let is_here =
            parameter(&request, "at").is_none_or(|at| input.context.starts_with(format!("item {at} ").as_bytes()));
        let holds = |text: &str| String::from_utf8_lossy(&input.context).contains(text);
        let is_here = is_here && parameter(&request, "holding").is_none_or(holds);
        if let Some(command) = parameter(&request, &command).filter(|_| is_here)
            && let Some(outcome) = misbehave(command, &request, &mut input)?
        {
            return Ok(outcome);
        }
        let context = String::from_utf8_lossy(&input.context);
        if config::get("refuses").is_some_and(|text| context.contains(&text)) {
            return Err(Failure::InvalidInput("the configuration refuses it".into()));
        }
        if config::get("split").is_some() {
            return Ok(Outcome::Items(split(input).map_err(Failure::Internal)?));
        }
        if config::get("gather").is_some() {
            return sums(input).map_err(Failure::Internal);
        }
        if let (Some(name), Some(first)) = (config::get("rename"), input.tensors.first_mut()) {
            first.0 = name;
        }
        Ok(Outcome::One(input))
    }
}

/// Does what the request says. Without a result the step goes on as usual.
fn misbehave(command: &str, request: &Request, input: &mut Bundle) -> Result<Option<Outcome>, Failure> {
    let number = |name: &str| {
        let number = parameter(request, name).and_then(|text| text.parse::<usize>().ok());
        number.ok_or_else(|| Failure::InvalidInput(format!("parameter `{name}` must be a number")))
    };
    let empty = || Bundle { tensors: Vec::new(), context: Vec::new() };
    match command {
        "loop" => loop {
            black_box(0);
        },
        "panic" => panic!("transform panics as requested"),
        "grow" => {
            let mut blocks = Vec::new();
            loop {
                blocks.push(black_box(vec![1_u8; 1 << 20]));
            }
        }
        "need" => {
            drop(black_box(vec![1_u8; number("bytes")?]));
            Ok(None)
        }
        "fail" => Err(Failure::InvalidInput("transform fails as requested".into())),
        "sleep" => {
            thread::sleep(Duration::from_millis(number("ms")? as u64));
            Ok(None)
        }
        "leak" => {
            let bytes = if parameter(request, "bytes").is_some() { number("bytes")? } else { 5000 };
            std::mem::forget(black_box(vec![7_u8; bytes]));
            Ok(None)
        }
        "one" => Ok(Some(Outcome::One(empty()))),
        "twice" => {
            let tensors = (0..2).map(|_| ("x".to_owned(), tensor::from_f32(&[1], &[0.0]))).collect();
            Ok(Some(Outcome::One(Bundle { tensors, context: Vec::new() })))
        }
        "items" => Ok(Some(Outcome::Items((0..number("count")?).map(|_| empty()).collect()))),
        "names" => {
            let (count, length) = (number("count")?, number("len")?);
            let named = |at: usize| (format!("{at:0length$}"), tensor::from_f32(&[1], &[0.0]));
            let context = input.context.clone();
            Ok(Some(Outcome::One(Bundle { tensors: (0..count).map(named).collect(), context })))
        }
        "big-context" => {
            let context = vec![b'x'; number("bytes")?];
            Ok(Some(Outcome::One(Bundle { tensors: Vec::new(), context })))
        }
        "region" => {
            let numbers = |name: &str| -> Vec<u32> {
                parameter(request, name).unwrap_or_default().split(',').flat_map(str::parse).collect()
            };
            let (start, size) = (numbers("start"), numbers("size"));
            let (name, whole) = &input.tensors[0];
            let read = regions::read(whole, &start, &size).map_err(Failure::InvalidInput)?;
            let part = Tensor::new(&size, whole.ty(), &read);
            Ok(Some(Outcome::One(Bundle { tensors: vec![(name.clone(), part)], context: input.context.clone() })))
        }
        other => Err(Failure::InvalidInput(format!("unknown value of the parameter: {other:?}"))),
    }
}

/// The rows of the first tensor as items.
fn split(input: Bundle) -> Result<Vec<Bundle>, String> {
    let (name, whole) = input.tensors.first().ok_or("there is no tensor to split")?;
    let mut shape = whole.dimensions();
    let rows = shape.first().copied().ok_or("the tensor has no rows")?;
    shape[0] = 1;
    let context = String::from_utf8_lossy(&input.context);
    let row = |row: u32| -> Result<Bundle, String> {
        let mut start = vec![0; shape.len()];
        start[0] = row;
        let data = regions::read(whole, &start, &shape)?;
        let tensors = vec![(name.clone(), Tensor::new(&shape, whole.ty(), &data))];
        Ok(Bundle { tensors, context: format!("item {row} of {context}").into_bytes() })
    };
    (0..rows).map(row).collect()
}

/// The sums of the first tensors of the items.
fn sums(input: Bundle) -> Result<Outcome, String> {
    let gathered = Gathered::read(input.tensors, &input.context)?;
    let sum = |tensors: &[NamedTensor]| -> Result<f32, String> {
        let (_, first) = tensors.first().ok_or("an item has no tensor")?;
        Ok(match first.ty() {
            TensorType::Fp32 => tensor::to_f32(first)?.iter().sum(),
            _ => tensor::to_u8(first)?.iter().map(|&byte| f32::from(byte)).sum(),
        })
    };
    let sums = gathered.items.iter().map(|item| item.as_ref().map_or(Ok(f32::NAN), |item| sum(&item.tensors)));
    let sums = sums.collect::<Result<Vec<_>, _>>()?;
    let tensors = vec![("sums".to_owned(), tensor::from_f32(&[sums.len() as u32], &sums))];
    Ok(Outcome::One(Bundle { tensors, context: gathered.context }))
}

fn parameter<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.parameters.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}
