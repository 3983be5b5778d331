//! An infer stage that takes or uses too many handles of resources, as the query parameter `handles` says;
//! `tests/guests/README.md` describes the commands. Without the parameter it returns its inputs.

use std::mem;

use plimsoll_sdk::nn::errors::Error;
use plimsoll_sdk::nn::graph;
use plimsoll_sdk::{Failure, Infer, NamedTensor, Request, config, export_infer, tensor};

use bindings::exports::plimsoll_tests::handles::things::{Guest, GuestThing, Thing};
use bindings::wasi::clocks::monotonic_clock::subscribe_duration;
use bindings::wasi::io::poll::{Pollable, poll};

mod bindings {
    #![allow(missing_docs, reason = "generated")]
    wit_bindgen::generate!({
        inline: "
            package plimsoll-tests:handles;
            interface things {
                resource thing {
                    constructor();
                }
            }
            world handles {
                import wasi:clocks/monotonic-clock@0.2.0;
                export things;
            }
            package wasi:io@0.2.0 {
                interface poll {
                    resource pollable {
                        ready: func() -> bool;
                        block: func();
                    }
                    poll: func(in: list<borrow<pollable>>) -> list<u32>;
                }
            }
            package wasi:clocks@0.2.0 {
                interface monotonic-clock {
                    use wasi:io/poll@0.2.0.{pollable};
                    type instant = u64;
                    type duration = u64;
                    now: func() -> instant;
                    resolution: func() -> duration;
                    subscribe-instant: func(when: instant) -> pollable;
                    subscribe-duration: func(when: duration) -> pollable;
                }
            }
        ",
        generate_all,
    });
}

/// A resource of the guest itself.
struct Own;

impl Guest for Handles {
    type Thing = Own;
}

impl GuestThing for Own {
    fn new() -> Self {
        Self
    }
}

bindings::export!(Handles with_types_in bindings);

struct Handles;

export_infer!(Handles);

impl Infer for Handles {
    fn run(request: Request, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, Failure> {
        let parameter = |name: &str| {
            let mut parameters = request.parameters.iter();
            parameters.find_map(|(other, value)| (other == name).then_some(value.as_str()))
        };
        let count = || parameter("count").and_then(|count| count.parse::<usize>().ok()).unwrap_or(usize::MAX);
        let model = config::get("model").unwrap_or_default();
        let graph = || graph::load_by_name(&model).map_err(failure);
        match parameter("handles") {
            None => {}
            Some("poll") => {
                let mut pollables = pollables(count());
                pollables[0] = subscribe_duration(0);
                assert!(!poll(&pollables.iter().collect::<Vec<_>>()).is_empty(), "nothing became ready");
            }
            Some("pollables") => mem::forget(pollables(count())),
            Some("own") => (0..count()).for_each(|_| mem::forget(Thing::new(Own))),
            Some("graphs") => (0..count()).try_for_each(|_| graph().map(mem::forget))?,
            Some("contexts") => {
                let graph = graph()?;
                (0..count()).try_for_each(|_| graph.init_execution_context().map(mem::forget)).map_err(failure)?;
            }
            Some("errors") => (0..count()).for_each(|_| mem::forget(graph::load_by_name("unknown").err())),
            Some("tensors") => (0..count()).for_each(|_| mem::forget(tensor::from_u8(&[0], &[]))),
            Some("no-inputs") => {
                return graph()?.init_execution_context().and_then(|it| it.compute(vec![])).map_err(failure);
            }
            Some("inputs") => {
                let inputs = (0..count()).map(|at| (at.to_string(), tensor::from_u8(&[0], &[]))).collect();
                return graph()?.init_execution_context().and_then(|it| it.compute(inputs)).map_err(failure);
            }
            Some("name") => {
                let inputs = vec![("n".repeat(count()), tensor::from_u8(&[0], &[]))];
                return graph()?.init_execution_context().and_then(|it| it.compute(inputs)).map_err(failure);
            }
            Some("model-name") => return graph::load_by_name(&"n".repeat(count())).map(|_| inputs).map_err(failure),
            Some("compute") => {
                let context = graph()?.init_execution_context().map_err(failure)?;
                let (name, input) = &inputs[0];
                for _ in 0..count() {
                    let copy = plimsoll_sdk::Tensor::new(&input.dimensions(), input.ty(), &input.data());
                    mem::forget(context.compute(vec![(name.clone(), copy)]).map_err(failure)?);
                }
            }
            Some(other) => return Err(Failure::InvalidInput(format!("unknown value of `handles`: {other:?}"))),
        }
        Ok(inputs)
    }
}

/// Pollables that become ready after an hour.
fn pollables(count: usize) -> Vec<Pollable> {
    let mut pollables = Vec::new();
    (0..count).for_each(|_| pollables.push(subscribe_duration(3_600_000_000_000)));
    pollables
}

fn failure(error: Error) -> Failure {
    Failure::Internal(error.data())
}
