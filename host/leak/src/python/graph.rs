//! What holds the objects: the shortest chain of references from a module's global to each of them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::rc::Rc;

use super::objects::Objects;
use super::references::{Edge, Reference, Step};
use crate::heap::word;

/// What a chain begins with if no module leads to the object.
pub(super) const INTERPRETER: &str = "the interpreter itself";

/// How an object was reached first.
#[derive(Debug, Clone)]
enum Parent {
    /// It is a module with this name, or something that the interpreter itself refers to.
    Root(Rc<str>),
    /// Another object refers to it.
    Object(u32, Edge),
}

/// What holds each object.
pub(crate) struct Graph<'a> {
    pub(crate) objects: Objects<'a>,
    parents: HashMap<u32, Parent>,
    /// For each block without an object, the object to which it belongs.
    owners: Vec<Option<u32>>,
}

impl<'a> Graph<'a> {
    /// Follows the references from all modules, then from `statics`.
    pub(crate) fn new(objects: Objects<'a>, statics: Range<u32>) -> Self {
        let count = objects.blocks().blocks.len();
        let mut this = Self { objects, parents: HashMap::new(), owners: vec![None; count] };
        let mut queue = VecDeque::new();
        for (name, module) in this.modules() {
            if this.parents.insert(module, Parent::Root(name.into())).is_none() {
                queue.push_back(module);
            }
        }
        this.follow(queue);
        let mut queue = VecDeque::new();
        for address in statics.step_by(4) {
            let Some(target) = word(this.objects.memory, address) else { break };
            if !this.parents.contains_key(&target) && this.objects.is_object(target) {
                this.parents.insert(target, Parent::Root(INTERPRETER.into()));
                queue.push_back(target);
            }
        }
        this.follow(queue);
        // Blocks that no module leads to have owners, too: the objects of a cycle that is garbage.
        let count = this.objects.blocks().blocks.len();
        for object in (0..count).filter_map(|index| this.objects.in_block(index)) {
            if !this.parents.contains_key(&object) {
                let owners = &mut this.owners;
                this.objects.references(object, false, &mut |reference| {
                    if let Reference::Storage(index) = reference {
                        owners[index].get_or_insert(object);
                    }
                });
            }
        }
        this
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

    fn follow(&mut self, mut queue: VecDeque<u32>) {
        while let Some(object) = queue.pop_front() {
            let is_namespace = matches!(self.parents.get(&object), Some(Parent::Object(_, Edge::Namespace)));
            let (parents, owners) = (&mut self.parents, &mut self.owners);
            self.objects.references(object, is_namespace, &mut |reference| match reference {
                Reference::Object(target, edge) => {
                    if let Entry::Vacant(parent) = parents.entry(target) {
                        parent.insert(Parent::Object(object, edge));
                        queue.push_back(target);
                    }
                }
                Reference::Storage(index) => {
                    owners[index].get_or_insert(object);
                }
            });
        }
    }

    /// The object in the block with an index, or to which the block belongs.
    pub(crate) fn owner(&self, block: usize) -> Option<u32> {
        self.objects.in_block(block).or_else(|| self.owners.get(block).copied().flatten())
    }

    /// The steps from a root to an object, and the root's name; `None` if nothing leads to it.
    pub(super) fn steps(&self, object: u32) -> Option<(Rc<str>, Vec<Step>)> {
        let mut steps = Vec::new();
        let mut at = object;
        loop {
            match self.parents.get(&at)? {
                Parent::Root(name) => {
                    steps.reverse();
                    return Some((Rc::clone(name), steps));
                }
                Parent::Object(from, edge) => {
                    steps.push(Step { edge: edge.clone(), from: *from, to: at });
                    at = *from;
                }
            }
        }
    }
}
