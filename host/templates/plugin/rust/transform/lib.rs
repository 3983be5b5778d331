//! The step `{{name}}` of kind `transform`: stretches the contrast of its tensors before a model gets them.

use plimsoll_sdk::{Bundle, Failure, Outcome, Request, Transform, export_transform, tensor};

mod compute;

struct Step;

export_transform!(Step);

impl Transform for Step {
    fn run(_request: Request, input: Bundle) -> Result<Outcome, Failure> {
        let mut tensors = Vec::new();
        for (name, given) in input.tensors {
            let values = tensor::to_f32(&given).map_err(Failure::Internal)?;
            tensors.push((name, tensor::from_f32(&given.dimensions(), &compute::stretched(values))));
        }
        // A step with `items = true` returns `Outcome::Items` instead: a list of such bundles, for each of which the
        // steps after it run. To read only a part of a large tensor, use `plimsoll_sdk::regions::read`.
        Ok(Outcome::One(Bundle { tensors, context: input.context }))
    }
}
