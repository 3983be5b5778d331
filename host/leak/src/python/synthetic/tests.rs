//! What holds the objects of a synthetic interpreter.

use super::layout::{BASE, MEMBERS};
use super::{Class, Image};
use crate::python::graph::Graph;
use crate::python::objects::Objects;

/// Makes an image with what `make` returns as the global `m.X`, and passes on what holds the objects.
fn with_global<T>(pages: u32, make: impl FnOnce(&mut Image) -> (u32, T), check: impl FnOnce(Option<Graph<'_>>, T)) {
    let (mut image, attributes) = Image::new(pages);
    let (object, more) = make(&mut image);
    let name = image.text("X");
    image.fill(attributes, &[(name, object)]);
    let (memory, heap, interpreter) = image.finish();
    let blocks = heap.walk(&memory).expect("a whole heap");
    let objects = Objects::new(&memory, interpreter, &blocks);
    check(Graph::new(objects, 0..heap.start()), more);
}

#[test]
fn a_list_of_nodes_is_held_by_its_global() {
    let make = |image: &mut Image| {
        let first = image.object(Class::Node, &[0, 0]);
        let second = image.object(Class::Node, &[first, 0]);
        let items = image.block(8);
        image.words(items, &[second, 0]);
        (image.list(items, 1), first)
    };
    with_global(2, make, |graph, first| {
        let path = graph.expect("objects").path(first).expect("a chain");
        assert_eq!(path.text, "m.X[…].next (Node)");
    });
}

/// Together the chains of these nodes have 2 × 10^7 steps.
#[test]
fn a_long_linked_list_has_short_chains() {
    const NODES: u32 = 20_000;
    let make = |image: &mut Image| {
        let mut nodes = vec![0];
        for _ in 0..NODES {
            let next = image.object(Class::Node, &[nodes[nodes.len() - 1], 0]);
            nodes.push(next);
        }
        (nodes[nodes.len() - 1], nodes)
    };
    with_global(16, make, |graph, nodes| {
        let graph = graph.expect("objects");
        let some = nodes[1..].iter().step_by(10);
        let paths: Vec<_> = some.map(|&node| graph.path(node).expect("a chain")).collect();
        assert_eq!(paths[0].length, NODES as usize + 1);
        assert_eq!(paths[0].text, "m.X.next × 254 … 19489 steps … .next × 256 (Node)");
        assert!(paths.iter().all(|path| path.pattern == "m.X.next (Node)"), "chains of any length are alike");
    });
}

#[test]
fn a_ring_has_chains() {
    let make = |image: &mut Image| {
        let first = image.object(Class::Node, &[0, 0]);
        let second = image.object(Class::Node, &[first, 0]);
        image.put(first + 8, second);
        (first, second)
    };
    with_global(2, make, |graph, second| {
        assert_eq!(graph.expect("objects").path(second).expect("a chain").text, "m.X.next (Node)");
    });
}

/// 10,000 lists that share 200,000 items: 2 × 10^9 references.
#[test]
fn lists_that_share_their_items_are_given_up() {
    let make = |image: &mut Image| {
        let shared = image.block(800_000);
        let lists: Vec<u32> = (0..10_000).map(|_| image.list(shared, 200_000)).collect();
        let items = image.block(40_000);
        image.words(items, &lists);
        (image.list(items, 10_000), ())
    };
    with_global(64, make, |graph, ()| assert!(graph.is_none()));
}

#[test]
fn a_class_and_its_bases_have_a_bounded_number_of_members() {
    let (mut image, _) = Image::new(4);
    let name = image.name("member");
    let mut base = Class::Object.address();
    for first in [0, 200] {
        let class = image.object(Class::Type, &[0; 36]);
        let node = Class::Node.address() as usize;
        image.memory.copy_within(node + 8..node + 152, class as usize + 8);
        let table = image.block(20 * 201);
        for member in 0..200 {
            image.words(table + 20 * member, &[name, 6, first + member]);
        }
        image.put(class + MEMBERS, table);
        image.put(class + BASE, base);
        base = class;
    }
    let (memory, _, interpreter) = image.finish();
    let types = crate::python::types::Types::new(&memory, interpreter);
    assert_eq!(types.get(base).map(|ty| ty.members.len()), Some(256));
}
