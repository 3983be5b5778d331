//! What the fuzzing target of the Python heap needs.

use super::layout::{HEAP, RUNTIME, STATE};
use super::{Class, Image};
use crate::heap::Heap;
use crate::python::frames::{PlaceNames, running};
use crate::python::graph::Graph;
use crate::python::interpreter::Python;
use crate::python::objects::Objects;

/// Reads all objects of a memory, and what holds each of them, if it has an interpreter and a heap. Returns the number of
/// objects that have a chain.
pub(crate) fn read_all(memory: &[u8]) -> Option<usize> {
    let interpreter = Python::find(memory).known()?;
    let heap = Heap::find(memory, HEAP)?;
    let blocks = heap.walk(memory)?;
    let mut names = PlaceNames::default();
    for place in running(memory, &interpreter).into_iter().flatten() {
        names.number(memory, &interpreter, place);
    }
    let objects = Objects::new(memory, interpreter, &blocks);
    let graph = Graph::new(objects, RUNTIME..heap.start())?;
    let owners = (0..blocks.blocks.len()).filter_map(|index| graph.owner(index));
    Some(owners.filter(|&object| graph.path(object).is_some()).count())
}

/// A memory of one page with a list, a tuple, a few nodes, and a function that runs.
pub(crate) fn example() -> Vec<u8> {
    let (mut image, attributes) = Image::new(1);
    let text = image.text("value");
    let mut next = 0;
    let nodes: Vec<u32> = (0..4)
        .map(|_| {
            next = image.object(Class::Node, &[next, text]);
            next
        })
        .collect();
    let items = image.block(16);
    image.words(items, &nodes);
    let list = image.list(items, 4);
    let tuple = image.object(Class::Tuple, &[2, text, list]);
    let (name, other) = (image.text("NODES"), image.text("TUPLE"));
    image.fill(attributes, &[(name, list), (other, tuple)]);
    let names = image.object(Class::Tuple, &[1, text]);
    let (function, file) = (image.text("check"), image.text("m.py"));
    let lines = image.object(Class::Bytes, &[8, 0, 0x0107_0781, 0x0B01_F882]);
    let code = image.object(Class::Code, &[0, 0, 0, 0, 0, 0, 0, 1, names, file, 0, function, lines]);
    let frame = image.block(64);
    image.words(frame, &[code, 0, 0, 0, code + 104, 0, 0, frame + 48, 0, 0, list, tuple]);
    image.words(STATE, &[STATE + 16]);
    image.put(STATE + 16 + 4, frame);
    image.finish().0
}
