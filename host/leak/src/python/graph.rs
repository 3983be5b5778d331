//! What holds the objects: the shortest chain of references from a module's global to each of them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::rc::Rc;

use super::objects::Objects;
use super::owners::{Claim, Owners};
use super::references::{Edge, Reference, Step};
use crate::heap::word;

/// What a chain begins with if no module leads to the object.
pub(super) const INTERPRETER: &str = "the interpreter itself";

/// Steps at the beginning and at the end of a long chain that are kept. Otherwise the chains of all objects of a linked
/// list would together be the square of its length.
const KEPT: usize = 256;

/// How an object was reached first.
#[derive(Debug, Clone)]
struct Reached {
    parent: Parent,
    /// Steps from the root.
    depth: usize,
    /// The object of the same chain that has [`KEPT`] steps from the root, or fewer if the chain ends before.
    early: u32,
}

#[derive(Debug, Clone)]
enum Parent {
    /// It is a module with this name, or something that the interpreter itself refers to.
    Root(Rc<str>),
    /// Another object refers to it.
    Object(u32, Edge),
}

/// References that are followed later: the first to each object.
#[derive(Default)]
struct Later {
    targets: HashSet<u32>,
    references: VecDeque<(u32, u32, Edge)>,
}

impl Later {
    fn add(&mut self, from: u32, target: u32, edge: Edge) {
        if self.targets.insert(target) {
            self.references.push_back((from, target, edge));
        }
    }

    fn next(&mut self) -> Option<(u32, u32, Edge)> {
        self.references.pop_front()
    }
}

/// Notes how an object is reached. Returns false if it was reached before.
fn reach(reached: &mut HashMap<u32, Reached>, parent: u32, target: u32, edge: Edge) -> bool {
    let Some(Reached { depth, early, .. }) = reached.get(&parent) else { return false };
    let depth = depth + 1;
    let early = if depth <= KEPT { target } else { *early };
    match reached.entry(target) {
        Entry::Vacant(entry) => {
            entry.insert(Reached { parent: Parent::Object(parent, edge), depth, early });
            true
        }
        Entry::Occupied(_) => false,
    }
}

/// What holds each object.
pub(crate) struct Graph<'a> {
    pub(crate) objects: Objects<'a>,
    reached: HashMap<u32, Reached>,
    owners: Owners,
}

impl<'a> Graph<'a> {
    /// Follows the references from all modules, then from `statics`. `None` if the objects cannot be what they seem to be,
    /// because they have more references than the memory has room for.
    pub(crate) fn new(objects: Objects<'a>, statics: Range<u32>) -> Option<Self> {
        let count = objects.blocks().blocks.len();
        let mut this = Self { objects, reached: HashMap::new(), owners: Owners::new(count) };
        let mut queue = VecDeque::new();
        for (name, module) in this.modules() {
            if this.reached.insert(module, Reached::root(module, name.into())).is_none() {
                queue.push_back(module);
            }
        }
        this.follow(queue);
        let mut queue = VecDeque::new();
        for address in statics.step_by(4) {
            let Some(target) = word(this.objects.memory, address) else { break };
            if !this.reached.contains_key(&target) && this.objects.is_object(target) {
                this.reached.insert(target, Reached::root(target, INTERPRETER.into()));
                queue.push_back(target);
            }
        }
        this.follow(queue);
        // Blocks that no module leads to have owners, too: the objects of a cycle that is garbage.
        let mut claims = Vec::new();
        for object in (0..count).filter_map(|index| this.objects.in_block(index)) {
            if !this.reached.contains_key(&object) {
                let owners = &mut this.owners;
                this.objects.references(object, false, &mut |reference| match reference {
                    Reference::Storage(block) => owners.note(block, object),
                    Reference::Words(block) => claims.push(Claim { block, object }),
                    Reference::Object(..) => {}
                });
            }
        }
        this.owners.give(&claims, &this.objects, |_| false, |_, _, _| {});
        (!this.objects.are_too_many()).then_some(this)
    }

    /// The modules of `sys.modules` with their names.
    fn modules(&self) -> Vec<(String, u32)> {
        let mut found = Vec::new();
        let Some(modules) = self.objects.interpreter.modules(self.objects.memory) else { return found };
        self.objects.references(modules, false, &mut |reference| {
            if let Reference::Object(module, Edge::Item(name)) = reference
                && let Some(name) = self.objects.text(name)
            {
                found.push((name, module));
            }
        });
        found
    }

    /// Follows references from the objects of a queue. Those that are certain come first, because otherwise a stale
    /// word in a buffer could be reported as the holder of an object that a list holds.
    fn follow(&mut self, mut queue: VecDeque<u32>) {
        let (mut hidden, mut loose, mut claims) = (Later::default(), Later::default(), Vec::new());
        loop {
            let Some(object) = queue.pop_front() else {
                let next = hidden.next().or_else(|| {
                    let reached = &self.reached;
                    let is_new = |target| !reached.contains_key(&target);
                    let claims = std::mem::take(&mut claims);
                    self.owners.give(&claims, &self.objects, is_new, |object, target, edge| {
                        loose.add(object, target, edge);
                    });
                    loose.next()
                });
                let Some((parent, target, edge)) = next else { break };
                if reach(&mut self.reached, parent, target, edge) {
                    queue.push_back(target);
                }
                continue;
            };
            let Some(Reached { parent, .. }) = self.reached.get(&object) else { continue };
            let is_namespace = matches!(parent, Parent::Object(_, Edge::Namespace));
            let (reached, owners) = (&mut self.reached, &mut self.owners);
            self.objects.references(object, is_namespace, &mut |reference| match reference {
                Reference::Object(target, _) if reached.contains_key(&target) => {}
                Reference::Object(target, Edge::Hidden) => hidden.add(object, target, Edge::Hidden),
                Reference::Object(target, Edge::Loose) => loose.add(object, target, Edge::Loose),
                Reference::Object(target, edge) => {
                    if reach(reached, object, target, edge) {
                        queue.push_back(target);
                    }
                }
                Reference::Storage(block) => owners.note(block, object),
                Reference::Words(block) => claims.push(Claim { block, object }),
            });
        }
    }

    /// The object in the block with an index, or to which the block belongs.
    pub(crate) fn owner(&self, block: usize) -> Option<u32> {
        self.objects.in_block(block).or_else(|| self.owners.of(block))
    }

    /// The steps from a root to an object; `None` if nothing leads to it.
    pub(super) fn steps(&self, object: u32) -> Option<Steps> {
        let reached = self.reached.get(&object)?;
        let left_out = reached.depth.saturating_sub(2 * KEPT);
        let mut late = Vec::new();
        let mut at = object;
        if left_out > 0 {
            at = self.back(at, KEPT, &mut late)?.err()?;
            at = self.reached.get(&at)?.early;
        }
        let mut early = Vec::new();
        let root = self.back(at, usize::MAX, &mut early)?.ok()?;
        Some(Steps { root, length: reached.depth, early, left_out, late })
    }

    /// Goes back at most `most` steps of a chain, and adds them in their order. Returns the root's name, or where it stopped.
    fn back(&self, from: u32, most: usize, steps: &mut Vec<Step>) -> Option<Result<Rc<str>, u32>> {
        let mut at = from;
        let end = loop {
            match &self.reached.get(&at)?.parent {
                Parent::Root(name) => break Ok(Rc::clone(name)),
                Parent::Object(..) if steps.len() == most => break Err(at),
                Parent::Object(from, edge) => {
                    steps.push(Step { edge: edge.clone(), from: *from, to: at });
                    at = *from;
                }
            }
        };
        steps.reverse();
        Some(end)
    }
}

/// The steps from a root to an object.
pub(super) struct Steps {
    /// The name of the root.
    pub(super) root: Rc<str>,
    /// How many steps there are.
    pub(super) length: usize,
    /// All steps; or, of a long chain: the first steps, how many steps are left out, and the last steps.
    pub(super) early: Vec<Step>,
    pub(super) left_out: usize,
    pub(super) late: Vec<Step>,
}

impl Reached {
    fn root(object: u32, name: Rc<str>) -> Self {
        Self { parent: Parent::Root(name), depth: 0, early: object }
    }
}
