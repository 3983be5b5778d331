//! What the steps of a request have handed on so far, and how the tensors of several steps become the input of the next.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::gathered::{self, ItemError};
use super::plan::{Inputs, Source};
use crate::stage::Bundle;
use crate::tensor::Tensors;

/// What a step handed on.
pub(super) enum Value {
    /// Tensors and a context.
    One(Bundle),
    /// Items for which steps run.
    Items(Vec<Bundle>),
    /// What the steps made of each item.
    Results(Vec<Result<Bundle, Arc<ItemError>>>),
}

/// The names of the steps, for messages.
pub(super) type Names<'a> = &'a dyn Fn(usize) -> &'a str;

/// The input of a step that does not gather. `of` returns what a step handed on.
///
/// # Errors
/// If a tensor is missing, or two steps hand on tensors of the same name. The text names them.
pub(super) fn joined<'a>(
    inputs: &Inputs,
    names: Names<'_>,
    of: impl Fn(usize) -> Option<&'a Bundle>,
) -> Result<Bundle, String> {
    let given = |source: &Source| of(source.from).ok_or_else(|| absent(names(source.from)));
    let context = match inputs.sources.first() {
        Some(first) => Arc::clone(&given(first)?.context),
        None => Arc::from([]),
    };
    let mut tensors = Tensors::new();
    let mut known = KnownNames::default();
    for source in &inputs.sources {
        for (name, tensor) in selected(source, given(source)?, names)? {
            let name = source.rename.as_ref().unwrap_or(name);
            if let Some(first) = known.add(name, source.from) {
                return Err(twice(name, names(first), names(source.from)));
            }
            tensors.push((name.clone(), tensor.clone()));
        }
    }
    Ok(Bundle { tensors, context })
}

/// The input of a step that takes everything that one other step has handed on, and alone: nothing is copied.
///
/// # Errors
/// If that step hands on two tensors of the same name. The text names it.
pub(super) fn handed(from: usize, names: Names<'_>, bundle: Bundle) -> Result<Bundle, String> {
    if bundle.tensors.len() < 2 {
        return Ok(bundle);
    }
    let repeated = {
        let mut known = KnownNames::default();
        let mut names_of = bundle.tensors.iter().map(|(name, _)| name);
        names_of.find(|name| known.add(name, from).is_some()).map(|name| twice(name, names(from), names(from)))
    };
    repeated.map_or(Ok(bundle), Err)
}

/// The names of tensors with the steps that hand them on. A few are compared one by one, which needs no table.
#[derive(Default)]
struct KnownNames<'a> {
    few: Vec<(&'a str, usize)>,
    many: HashMap<&'a str, usize>,
}

impl<'a> KnownNames<'a> {
    const FEW: usize = 8;

    /// Adds a name. If it is there, the step that handed it on first is returned.
    fn add(&mut self, name: &'a str, step: usize) -> Option<usize> {
        if let Some((_, first)) = self.few.iter().find(|(known, _)| *known == name) {
            return Some(*first);
        }
        if self.few.len() < Self::FEW {
            self.few.push((name, step));
            return None;
        }
        self.many.insert(name, step)
    }
}

/// The input of a step that gathers items. `base` is the context from before the items.
///
/// # Errors
/// As [`joined`].
pub(super) fn gathered<'a>(
    inputs: &'a Inputs,
    names: Names<'_>,
    base: Option<&Arc<[u8]>>,
    of: impl Fn(usize) -> Option<&'a Value>,
) -> Result<Bundle, String> {
    let mut tensors = Tensors::new();
    let mut known = HashSet::new();
    let mut contexts: Option<Vec<Result<&[u8], &ItemError>>> = None;
    for source in &inputs.sources {
        let mut add = |item: Option<usize>, bundle: &'a Bundle| -> Result<(), String> {
            for (name, tensor) in selected(source, bundle, names)? {
                let name = source.rename.as_ref().unwrap_or(name);
                if item.is_none() && gathered::is_of_item(name) {
                    return Err(format!(
                        "step `{}` runs once and hands on a tensor `{name}`: a name that begins with a number and `/` stands \
                         for a tensor of an item; rename it",
                        names(source.from)
                    ));
                }
                let gathered = item.map_or_else(|| name.clone(), |item| gathered::name(item, name));
                if !known.insert((item, name.as_str())) {
                    return Err(format!("step `{}` hands on a second tensor `{gathered}`", names(source.from)));
                }
                tensors.push((gathered, tensor.clone()));
            }
            Ok(())
        };
        match of(source.from).ok_or_else(|| absent(names(source.from)))? {
            Value::One(bundle) => add(None, bundle)?,
            Value::Items(_) => return Err(absent(names(source.from))),
            Value::Results(results) => {
                for (item, result) in results.iter().enumerate() {
                    result.as_ref().map_or(Ok(()), |bundle| add(Some(item), bundle))?;
                }
                let of_items =
                    || results.iter().map(|result| result.as_ref().map(|it| &*it.context).map_err(|it| &**it));
                contexts = contexts.or_else(|| Some(of_items().collect()));
            }
        }
    }
    let base = base.map(|base| &**base).unwrap_or_default();
    let context = gathered::context(base, &contexts.unwrap_or_default());
    Ok(Bundle { tensors, context })
}

/// The bytes of all contexts that [`gathered`] joins.
pub(super) fn contexts<'a>(
    inputs: &Inputs,
    base: Option<&Arc<[u8]>>,
    of: impl Fn(usize) -> Option<&'a Value>,
) -> usize {
    let of_source = |value: &Value| match value {
        Value::One(_) | Value::Items(_) => 0,
        Value::Results(results) => {
            let bytes = |result: &Result<Bundle, Arc<ItemError>>| match result {
                Ok(bundle) => bundle.context.len(),
                Err(error) => error.context.len() + error.message.len(),
            };
            results.iter().map(bytes).sum()
        }
    };
    let items = inputs.sources.iter().filter_map(|source| of(source.from)).map(of_source).max();
    base.map_or(0, |base| base.len()) + items.unwrap_or(0)
}

/// The number of tensors that [`gathered`] joins.
pub(super) fn gathered_tensors<'a>(inputs: &Inputs, of: impl Fn(usize) -> Option<&'a Value>) -> usize {
    let of_source = |source: &Source| {
        let of_bundle = |bundle: &Bundle| if source.tensor.is_some() { 1 } else { bundle.tensors.len() };
        match of(source.from) {
            Some(Value::One(bundle)) => of_bundle(bundle),
            Some(Value::Results(results)) => results.iter().flatten().map(of_bundle).sum(),
            Some(Value::Items(_)) | None => 0,
        }
    };
    inputs.sources.iter().map(of_source).sum()
}

/// What these sources take of a step; `None` if that is everything.
pub(super) fn only<'a>(bundle: &Bundle, sources: impl Iterator<Item = &'a Source>) -> Option<Bundle> {
    let mut wanted = Vec::new();
    for source in sources {
        match &source.tensor {
            // A name that the step does not have is an error of the step that takes it, which lists those that it has.
            Some(wanted_name) if bundle.tensors.iter().any(|(name, _)| name == wanted_name) => wanted.push(wanted_name),
            _ => return None,
        }
    }
    let tensors = bundle.tensors.iter().filter(|(name, _)| wanted.contains(&name)).cloned().collect();
    Some(Bundle { tensors, context: Arc::clone(&bundle.context) })
}

/// The tensors that a source takes of a step.
fn selected<'a>(
    source: &Source,
    bundle: &'a Bundle,
    names: Names<'_>,
) -> Result<&'a [(String, crate::tensor::Tensor)], String> {
    let Some(wanted) = &source.tensor else { return Ok(&bundle.tensors) };
    match bundle.tensors.iter().position(|(name, _)| name == wanted) {
        Some(at) => Ok(&bundle.tensors[at..=at]),
        None => {
            let known: Vec<_> = bundle.tensors.iter().map(|(name, _)| name.as_str()).collect();
            Err(format!("step `{}` hands on no tensor `{wanted}`; it has {}", names(source.from), known.join(", ")))
        }
    }
}

fn absent(step: &str) -> String {
    format!("step `{step}` has handed on nothing")
}

fn twice(name: &str, first: &str, second: &str) -> String {
    if first == second {
        return format!("step `{first}` hands on two tensors `{name}`");
    }
    format!(
        "the steps `{first}` and `{second}` both hand on a tensor `{name}`; take one of them under another name, `from = \
         [\"{first}\", \"{second}.{name} as OTHER\"]`, or take only one"
    )
}
