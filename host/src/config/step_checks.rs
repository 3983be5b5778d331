//! Checks the steps of a pipeline: their names, what they take, and that they make a graph.

use plimsoll_runtime::kind::StageKind;
use plimsoll_runtime::pipeline::{Inputs, Plan, PlanError, Shape, Source};

use super::pipeline::Pipeline;
use super::step::Step;

/// Maximum of `max_items`.
const MOST_ITEMS: u32 = 10_000;
/// Maximum number of steps. Headers of every reply have a part for each step.
const MOST_STEPS: usize = 100;
/// Maximum length of a step's name, which is part of headers and metrics.
const MAX_NAME: usize = 64;
/// The kinds of a pipeline of three stages, as the keys of its table.
const STAGES: &str = "a pipeline has `preprocess`, `chips` and `postprocess`, or `steps`";

/// Key and reason of a mistake.
type Mistake = (String, String);

impl Pipeline {
    /// What each step takes, in their order; the first one takes nothing. Empty if the pipeline has three stages.
    ///
    /// # Errors
    /// If the pipeline is neither three stages nor a graph of steps. The error has key and reason.
    pub fn inputs(&self) -> Result<Vec<Inputs>, Mistake> {
        if self.steps.is_empty() {
            let keys = [("preprocess", self.preprocess.is_none()), ("postprocess", self.postprocess.is_none())];
            return match keys.into_iter().find(|(_, is_missing)| *is_missing) {
                Some((key, _)) => Err((String::new(), format!("`{key}` is missing: {STAGES}"))),
                None => Ok(Vec::new()),
            };
        }
        let refused = |key: &str, reason: &str| Err((key.to_owned(), reason.to_owned()));
        let stages = [
            ("preprocess", self.preprocess.is_some()),
            ("chips", !self.chips.is_empty()),
            ("postprocess", self.postprocess.is_some()),
        ];
        if let Some((key, _)) = stages.iter().find(|(_, is_there)| *is_there) {
            return refused(key, &format!("the pipeline has `steps`, too: {STAGES}; remove one of them"));
        }
        if self.fallback.is_some() {
            return refused("fallback", "not supported in a pipeline with `steps`; remove it");
        }
        if self.shadow.is_some() {
            return refused("shadow", "the pipeline has `steps`: set `shadow` of the step that it compares");
        }
        let [first, _, ..] = self.steps.as_slice() else {
            return refused("steps", "at least a step of kind `preprocess` and one of kind `postprocess` are needed");
        };
        if self.model.is_some() && !self.steps.iter().any(|step| step.kind == StageKind::Infer) {
            return refused("model", "no step of kind `infer` uses it; remove it");
        }
        if self.steps.len() > MOST_STEPS {
            return refused("steps", &format!("there are {}; a pipeline has at most {MOST_STEPS}", self.steps.len()));
        }
        for (at, step) in self.steps.iter().enumerate() {
            self.check_step(at, step)?;
        }
        let inputs = (0..self.steps.len()).map(|at| self.step_inputs(at)).collect::<Result<Vec<_>, _>>()?;
        let shapes = self.steps.iter().zip(&inputs).skip(1);
        let shapes = shapes.map(|(step, inputs)| Shape {
            name: step.name.clone(),
            inputs: inputs.clone(),
            makes_items: step.items,
        });
        let shapes: Vec<_> = shapes.collect();
        match Plan::new(&first.name, &shapes) {
            Ok(_) => Ok(inputs),
            Err(PlanError { step, key, reason }) => Err((format!("steps.{step}.{key}"), reason)),
        }
    }

    /// Checks a step without what it takes.
    fn check_step(&self, at: usize, step: &Step) -> Result<(), Mistake> {
        let name = &step.name;
        let refused = |key: &str, reason: String| Err((format!("steps.{name}.{key}"), reason));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_plain) {
            let reason = format!("`{name}` is not a name: use up to {MAX_NAME} letters, digits, `-` and `_`");
            return Err((format!("steps[{at}].name"), reason));
        }
        if self.steps[..at].iter().any(|other| other.name == *name) {
            return refused("name", format!("there are two steps `{name}`; give each step its own name"));
        }
        let kind = match at {
            0 => Some((StageKind::Preprocess, "the first step")),
            _ if at + 1 == self.steps.len() => Some((StageKind::Postprocess, "the last step")),
            _ => None,
        };
        match kind {
            Some((kind, place)) if step.kind != kind => {
                return refused(
                    "kind",
                    format!("{place} must be of kind `{kind}`, because it makes the start or the reply"),
                );
            }
            None if matches!(step.kind, StageKind::Preprocess | StageKind::Postprocess) => {
                let reason = "only the first step is of kind `preprocess`, only the last one of kind `postprocess`";
                return refused("kind", reason.to_owned());
            }
            _ => {}
        }
        if step.kind != StageKind::Infer && !step.chips.is_empty() {
            return refused("chips", "only a step of kind `infer` has chips".to_owned());
        }
        let names = self.chip_names();
        if !step.chips.is_empty() && !step.chips.keys().eq(names.iter().copied()) {
            let reason = format!("every step with chips has the same ones; another step has {}", names.join(", "));
            return refused("chips", reason);
        }
        if step.gather && !matches!(step.kind, StageKind::Transform | StageKind::Postprocess) {
            return refused("gather", format!("a step of kind `{}` cannot gather items", step.kind));
        }
        if step.items && step.kind != StageKind::Transform {
            return refused("items", "only a step of kind `transform` makes items".to_owned());
        }
        let of_items = [("max_items", step.max_items.is_some()), ("partial", step.partial)];
        if let Some((key, _)) = of_items.iter().find(|(_, is_there)| *is_there && !step.items) {
            return refused(key, "only for a step with `items = true`".to_owned());
        }
        if step.max_items.is_some_and(|most| !(1..=MOST_ITEMS).contains(&most)) {
            return refused("max_items", format!("must be a number from 1 to {MOST_ITEMS}"));
        }
        match self.shadow_mistake(step) {
            Some((key, reason)) => refused(key, reason),
            None => Ok(()),
        }
    }

    /// Returns key and reason if the shadow of a step cannot be used.
    fn shadow_mistake(&self, step: &Step) -> Option<(&'static str, String)> {
        let shadow = step.shadow.as_ref()?;
        if step.kind != StageKind::Infer {
            return Some(("shadow", "only a step of kind `infer` has a shadow".to_owned()));
        }
        if step.chips.len() < 2 {
            let reason =
                "there is no other chip to compare with; give the step `chips` instead of `plugin`, at least two";
            return Some(("shadow", reason.to_owned()));
        }
        let default_chip = self.default_chip.as_deref();
        let others = step.chips.keys().map(String::as_str).filter(|chip| Some(*chip) != default_chip);
        let others = others.collect::<Vec<_>>().join(", ");
        let chip = &shadow.chip;
        if default_chip == Some(chip.as_str()) {
            let reason = format!("`{chip}` is the chip of requests that name none; set it to one of {others}");
            return Some(("shadow.chip", reason));
        }
        if !step.chips.contains_key(chip) {
            return Some(("shadow.chip", format!("there is no chip `{chip}`; set it to one of {others}")));
        }
        None
    }

    /// Finds the steps that a step takes from.
    fn step_inputs(&self, at: usize) -> Result<Inputs, Mistake> {
        let step = &self.steps[at];
        let refused = |reason: String| (format!("steps.{}.from", step.name), reason);
        let gather = step.gather;
        if at == 0 {
            return match &step.from {
                None => Ok(Inputs { sources: Vec::new(), gather }),
                Some(_) => Err(refused("the first step takes the body of the request; remove it".to_owned())),
            };
        }
        let Some(from) = &step.from else {
            return Ok(Inputs { sources: vec![Source { from: at - 1, tensor: None, rename: None }], gather });
        };
        if from.is_empty() {
            return Err(refused("it is empty; name a step, or remove it for the step before".to_owned()));
        }
        let mut sources = Vec::with_capacity(from.len());
        for text in from {
            let (taken, rename) = text.split_once(" as ").map_or((text.as_str(), None), |(it, name)| (it, Some(name)));
            let (name, tensor) = taken.split_once('.').map_or((taken, None), |(name, it)| (name, Some(it)));
            if tensor == Some("") {
                return Err(refused(format!(
                    "`{text}` has no name of a tensor after the `.`; add it, or remove the `.`"
                )));
            }
            if rename.is_some_and(|name| name.is_empty() || name.contains(['/', ' ']) || tensor.is_none()) {
                let reason = format!("`{text}`: one tensor gets a name without `/` and spaces: `STEP.TENSOR as NAME`");
                return Err(refused(reason));
            }
            let source = match self.steps.iter().position(|step| step.name == name) {
                Some(from) if from < at => {
                    Source { from, tensor: tensor.map(str::to_owned), rename: rename.map(str::to_owned) }
                }
                Some(from) if from == at => return Err(refused("a step cannot take its own tensors".to_owned())),
                Some(_) => {
                    let reason = format!(
                        "step `{name}` comes later; a step takes from steps before it, so that there is no cycle"
                    );
                    return Err(refused(reason));
                }
                None => {
                    let known = self.steps[..at].iter().map(|step| step.name.as_str()).collect::<Vec<_>>().join(", ");
                    return Err(refused(format!("there is no step `{name}`; the steps before are {known}")));
                }
            };
            let is_twice = |known: &Source| {
                known.from == source.from
                    && (known.tensor == source.tensor || known.tensor.is_none() || tensor.is_none())
            };
            if sources.iter().any(is_twice) {
                return Err(refused(format!("`{text}` is taken twice")));
            }
            sources.push(source);
        }
        Ok(Inputs { sources, gather })
    }
}
