//! The plan of a graph of steps: what runs for each item, what waits for what. It depends only on the shape of the graph,
//! so a configuration is checked without its plugins.

/// What a step takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// Where its tensors come from, in this order.
    pub sources: Vec<Source>,
    /// True if it runs once for all items.
    pub gather: bool,
}

/// Tensors that a step takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The step that hands them on: 0 is preprocessing, 1 the first step after it.
    pub from: usize,
    /// The one tensor that is taken; `None` for all.
    pub tensor: Option<String>,
    /// The name under which the tensor is taken, if it is another one.
    pub rename: Option<String>,
}

/// A step without its plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Its name.
    pub name: String,
    /// What it takes.
    pub inputs: Inputs,
    /// True if it makes items.
    pub makes_items: bool,
}

/// Why steps do not make a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanError {
    /// The step.
    pub step: String,
    /// Its key in the configuration.
    pub key: &'static str,
    /// The reason.
    pub reason: String,
}

/// The steps that run for each item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Region {
    /// The step that makes the items.
    pub(super) maker: usize,
    /// The steps, in their order.
    pub(super) steps: Vec<usize>,
    /// The steps whose tensors a gathering step takes; may include the maker.
    pub(super) exits: Vec<usize>,
    /// The steps outside whose tensors its steps take, too.
    pub(super) shared: Vec<usize>,
}

/// What runs at once, as far as other steps are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// A step that runs once.
    Step(usize),
    /// The steps that run for each item.
    Region(usize),
}

/// The order of a graph. Steps have numbers: 0 is preprocessing, the last one is postprocessing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Units in an order in which they can run one after the other.
    pub(super) units: Vec<Unit>,
    /// For each unit, the units that it waits for.
    pub(super) needs: Vec<Vec<usize>>,
    pub(super) regions: Vec<Region>,
    /// For each unit, what it takes from steps outside of it; the last one is postprocessing.
    pub(super) taken: Vec<Vec<Source>>,
    /// For each step, the region in which it hands on items.
    pub(super) region_of: Vec<Option<usize>>,
    /// True if units can run at the same time.
    pub(super) has_branches: bool,
}

impl Plan {
    /// Plans the steps after preprocessing; the last one is postprocessing.
    ///
    /// # Errors
    /// If the steps do not make a graph that can run.
    pub fn new(first: &str, steps: &[Shape]) -> Result<Self, PlanError> {
        let name = |step: usize| step.checked_sub(1).map_or(first, |at| &steps[at].name);
        let mut plan = Self {
            units: vec![],
            needs: vec![],
            regions: vec![],
            taken: vec![],
            region_of: vec![None],
            has_branches: false,
        };
        for (at, shape) in steps.iter().enumerate() {
            let region = plan.region_of_inputs(shape, &name)?;
            if let Some(region) = region.filter(|_| at + 1 == steps.len()) {
                let maker = name(plan.regions[region].maker);
                let reason = format!("it takes the items of `{maker}`, and there is one reply; set `gather = true`");
                return Err(PlanError { step: shape.name.clone(), key: "gather", reason });
            }
            plan.add(at + 1, shape, region);
        }
        let is_used = |step: &usize| steps.iter().any(|shape| shape.inputs.sources.iter().any(|it| it.from == *step));
        if let Some(step) = (0..steps.len()).find(|step| !is_used(step)) {
            let reason = "no later step takes its tensors; name it in the `from` of a later step, or remove it";
            return Err(PlanError { step: name(step).to_owned(), key: "name", reason: reason.to_owned() });
        }
        plan.finish(steps.len(), steps, &name)?;
        Ok(plan)
    }

    /// The region whose items a step takes one by one; `None` if it runs once.
    fn region_of_inputs<'a>(&self, shape: &Shape, name: &dyn Fn(usize) -> &'a str) -> Result<Option<usize>, PlanError> {
        let refused = |key, reason| PlanError { step: shape.name.clone(), key, reason };
        let Inputs { sources, gather } = &shape.inputs;
        let mut items = sources.iter().filter_map(|source| Some((source.from, self.region_of[source.from]?)));
        let Some((from, region)) = items.next() else {
            let reason = "none of the steps that it takes from makes items; remove it".to_owned();
            return if *gather { Err(refused("gather", reason)) } else { Ok(None) };
        };
        if let Some((other, _)) = items.find(|(_, other)| *other != region) {
            let reason = format!(
                "it takes items of two steps (`{}` and `{}`), which have nothing to do with each other; gather one of them \
                 in a step before",
                name(from),
                name(other)
            );
            return Err(refused("from", reason));
        }
        match gather {
            true => Ok(None),
            false if shape.makes_items => {
                let reason = format!(
                    "it runs for each item of `{}`, so it cannot make items itself; gather them first",
                    name(self.regions[region].maker)
                );
                Err(refused("items", reason))
            }
            false => Ok(Some(region)),
        }
    }

    /// Adds a step that runs for each item of `region`, or once.
    fn add(&mut self, step: usize, shape: &Shape, region: Option<usize>) {
        for source in &shape.inputs.sources {
            let add = |list: &mut Vec<usize>| {
                if !list.contains(&source.from) {
                    list.push(source.from);
                }
            };
            match (self.region_of[source.from], region) {
                (Some(taken), None) => add(&mut self.regions[taken].exits),
                (None, Some(region)) => add(&mut self.regions[region].shared),
                _ => {}
            }
        }
        if let Some(region) = region {
            self.regions[region].steps.push(step);
        }
        let made = shape.makes_items.then(|| {
            self.regions.push(Region { maker: step, steps: vec![], exits: vec![], shared: vec![] });
            self.regions.len() - 1
        });
        self.region_of.push(made.or(region));
    }

    /// Orders the units; the last step is postprocessing.
    fn finish<'a>(&mut self, last: usize, steps: &[Shape], name: &dyn Fn(usize) -> &'a str) -> Result<(), PlanError> {
        let in_region = |step: usize| self.regions.iter().position(|region| region.steps.contains(&step));
        // A region comes before the first step that takes from it. That step comes after all steps that the region takes.
        let mut pending: Vec<Unit> = (1..last).filter(|&step| in_region(step).is_none()).map(Unit::Step).collect();
        pending.extend((0..self.regions.len()).map(Unit::Region));
        let taken = |unit: &Unit| -> Vec<usize> {
            let mut taken: Vec<usize> = match *unit {
                Unit::Step(step) => steps[step - 1].inputs.sources.iter().map(|source| source.from).collect(),
                Unit::Region(region) => {
                    let Region { maker, shared, .. } = &self.regions[region];
                    std::iter::once(*maker).chain(shared.iter().copied()).collect()
                }
            };
            taken.sort_unstable();
            taken.dedup();
            taken
        };
        // The unit after which a step's tensors are there for a unit outside of its region.
        let source = |unit: &Unit, step: usize| match (unit, self.region_of[step]) {
            (Unit::Step(_), Some(region)) => Some(Unit::Region(region)),
            _ => (step > 0).then_some(Unit::Step(step)),
        };
        let (mut units, mut needs) = (Vec::new(), Vec::new());
        while !pending.is_empty() {
            let place = |unit: &Unit| units.iter().position(|known| known == unit);
            let needed = |unit: &Unit| -> Option<Vec<usize>> {
                let sources = taken(unit).into_iter().filter_map(|step| source(unit, step));
                sources.map(|source| place(&source)).collect()
            };
            let ready = pending.iter().enumerate().find_map(|(at, unit)| Some((at, needed(unit)?)));
            // Steps take only from steps before them, so one is always ready, except if a step for each item takes what was
            // gathered from the same items.
            let Some((at, need)) = ready else { return Err(self.waits_for_itself(&pending, &units, steps, name)) };
            units.push(pending.remove(at));
            needs.push(need);
        }
        let all = units.iter().copied().chain([Unit::Step(last)]);
        self.taken = all.map(|unit| self.sources_of(unit, steps)).collect();
        // Units are in the order in which they may run, so nothing lies between a unit and the one before it.
        self.has_branches = needs.iter().enumerate().any(|(at, need)| at > 0 && !need.contains(&(at - 1)));
        (self.units, self.needs) = (units, needs);
        Ok(())
    }

    /// What a unit takes from steps outside of it.
    fn sources_of(&self, unit: Unit, steps: &[Shape]) -> Vec<Source> {
        match unit {
            Unit::Step(step) => steps[step - 1].inputs.sources.clone(),
            Unit::Region(region) => {
                let Region { maker, steps: inner, shared, .. } = &self.regions[region];
                let sources = inner.iter().flat_map(|&step| &steps[step - 1].inputs.sources);
                let shared = sources.filter(|source| shared.contains(&source.from)).cloned();
                std::iter::once(Source { from: *maker, tensor: None, rename: None }).chain(shared).collect()
            }
        }
    }

    /// The error for a step that runs for each item and takes what was gathered from them.
    fn waits_for_itself<'a>(
        &self,
        pending: &[Unit],
        units: &[Unit],
        steps: &[Shape],
        name: &dyn Fn(usize) -> &'a str,
    ) -> PlanError {
        let is_missing = |step: usize| step > 0 && !units.contains(&Unit::Step(step));
        let regions = pending.iter().filter_map(|unit| match unit {
            Unit::Region(region) => Some(&self.regions[*region]),
            Unit::Step(_) => None,
        });
        let taken = regions.flat_map(|region| region.steps.iter().map(move |&step| (region, step)));
        let found = taken.into_iter().find_map(|(region, step)| {
            let mut sources = steps[step - 1].inputs.sources.iter();
            let source = sources.find(|it| region.shared.contains(&it.from) && is_missing(it.from))?;
            Some((name(step), name(region.maker), name(source.from)))
        });
        let (step, maker, source) = found.unwrap_or(("", "", ""));
        let reason = format!(
            "it runs for each item of `{maker}` and takes tensors of `{source}`, which needs all items first; make the items \
             again after `{source}`"
        );
        PlanError { step: step.to_owned(), key: "from", reason }
    }
}

#[cfg(test)]
mod tests;
