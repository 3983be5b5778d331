//! What holds the objects of a synthetic interpreter.

use super::layout::{BASE, MEMBERS};
use super::{Class, Image};
use crate::python::graph::Graph;
use crate::python::interpreter::Python;
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

/// The table of CPython 3.15 has the same offsets at other places.
#[test]
fn a_later_table_is_read_by_its_structures() {
    let offsets = |is_later: bool, field: u32, value: u32| {
        let (mut image, _) = Image::new(2);
        if is_later {
            image.become_later();
            image.put(super::layout::RUNTIME + 8 * field, value);
        }
        let python = Python::find(&image.memory);
        (format!("{:?}", python.known().map(|interpreter| interpreter.offsets)), python)
    };
    let (before, _) = offsets(false, 0, 0);
    let cookie = u32::from_le_bytes(*b"xdeb");
    let (later, python) = offsets(true, 0, cookie);
    assert_eq!(later, before);
    assert_eq!(python.known().map(|python| python.version.to_string()).as_deref(), Some("3.15.0"));
    // A list of another size, a frame whose variables are not at its end, an interpreter without a lock.
    for (field, value) in [(66, 24), (42, 36), (2, 1)] {
        let (_, python) = offsets(true, field, value);
        assert!(matches!(python, Python::Unknown(version) if version.to_string() == "3.15.0"), "{field}: {python:?}");
    }
}

#[test]
fn a_later_version_with_other_exceptions_is_not_read() {
    let (mut image, _) = Image::new(2);
    image.become_later();
    image.members(Class::Exception, 14, &[("__suppress_context__", 36)]);
    assert!(matches!(Python::find(&image.memory), Python::Unknown(_)));
}

/// Three nodes, of which only the first is an owner's: a dict in C with fields of its own.
#[test]
fn blocks_without_an_object_belong_to_the_object_that_leads_to_them() {
    let make = |image: &mut Image| {
        let value = image.object(Class::Node, &[0, 0]);
        let nodes = [image.block(16), image.block(16), image.block(16)];
        image.words(nodes[0], &[0, nodes[1]]);
        image.words(nodes[1], &[nodes[0], nodes[2], 0]);
        image.words(nodes[2], &[nodes[1], 0, value]);
        let keys = image.block(32);
        image.put(keys + 4, 3 << 8);
        let dict = image.object(Class::Ordered, &[0, keys, 0, 0, nodes[0], 0]);
        (dict, (dict, nodes, value))
    };
    with_global(2, make, |graph, (dict, nodes, value)| {
        let graph = graph.expect("objects");
        for node in nodes {
            let (index, _) = graph.objects.blocks().holding(node).expect("a block");
            assert_eq!(graph.owner(index), Some(dict));
        }
        assert_eq!(graph.path(value).expect("a chain").text, "m.X → Node (Node)");
    });
}

/// The nodes of a dict in C, and one word that is left in a block of another object and leads to one of them.
#[test]
fn a_word_that_is_left_in_a_block_takes_no_blocks_of_another_object() {
    // What leads to the nodes: an array, a field to the first and one to the last, or a field to the first.
    for (leads, has_links_back) in [("array", true), ("ends", true), ("first", false)] {
        let make = |image: &mut Image| {
            let nodes: Vec<u32> = (0..50).map(|_| image.block(16)).collect();
            for pair in nodes.windows(2) {
                image.put(pair[0] + 4, pair[1]);
                image.put(pair[1], if has_links_back { pair[0] } else { 0 });
            }
            let left = image.block(16);
            image.put(left + 8, nodes[20]);
            let array = image.block(200);
            image.words(array, &nodes);
            let fields = match leads {
                "array" => [array, 0],
                "ends" => [nodes[0], nodes[49]],
                _ => [nodes[0], 0],
            };
            let dicts = [[left, 0], fields].map(|fields| ordered(image, fields));
            let items = image.block(8);
            image.words(items, &dicts);
            (image.list(items, 2), (dicts[1], nodes))
        };
        with_global(2, make, |graph, (dict, nodes)| {
            let graph = graph.expect("objects");
            for (number, node) in nodes.into_iter().enumerate() {
                let (index, _) = graph.objects.blocks().holding(node).expect("a block");
                assert_eq!(graph.owner(index), Some(dict), "{leads}: node {number}");
            }
        });
    }
}

/// A field that was never set takes the block to which it leads, and no other one that something else leads to.
#[test]
fn a_field_that_is_not_set_takes_one_block() {
    let make = |image: &mut Image| {
        let nodes: Vec<u32> = (0..50).map(|_| image.block(16)).collect();
        for pair in nodes.windows(2) {
            image.put(pair[0] + 4, pair[1]);
            image.put(pair[1], pair[0]);
        }
        let dicts = [[nodes[20], 0], [nodes[0], nodes[49]]].map(|fields| ordered(image, fields));
        let items = image.block(8);
        image.words(items, &dicts);
        (image.list(items, 2), (dicts, nodes))
    };
    with_global(2, make, |graph, (dicts, nodes)| {
        let graph = graph.expect("objects");
        let owners = nodes.iter().map(|&node| graph.owner(graph.objects.blocks().holding(node).expect("a block").0));
        let wrong: Vec<usize> =
            owners.enumerate().filter(|(_, owner)| *owner != Some(dicts[1])).map(|it| it.0).collect();
        assert_eq!(wrong, [20]);
    });
}

/// A dict in C with two words in its own fields.
fn ordered(image: &mut Image, [first, second]: [u32; 2]) -> u32 {
    let keys = image.block(32);
    image.put(keys + 4, 3 << 8);
    image.object(Class::Ordered, &[0, keys, 0, 0, first, second])
}

/// Two lists of blocks in C, as those of deques: a block that one of them freed is the last one of the other, and a word is left on
/// both sides. A third object's only block has its address left in two others.
#[test]
fn words_that_are_left_on_both_sides_join_no_lists() {
    let make = |image: &mut Image| {
        let lists: [Vec<u32>; 2] = [0, 1].map(|_| (0..20).map(|_| image.block(16)).collect());
        for pair in lists.iter().flat_map(|list| list.windows(2)) {
            image.put(pair[0] + 4, pair[1]);
            image.put(pair[1], pair[0]);
        }
        image.put(lists[0][0], lists[1][19]);
        image.put(lists[1][19] + 4, lists[0][0]);
        let own = image.block(16);
        image.put(lists[0][5] + 8, own);
        image.put(lists[0][6] + 8, own);
        let objects = [[lists[0][0], lists[0][19]], [lists[1][0], lists[1][19]], [own, 0]];
        let objects = objects.map(|fields| ordered(image, fields));
        let items = image.block(12);
        image.words(items, &objects);
        let [first, second] = lists;
        (image.list(items, 3), [(objects[0], first), (objects[1], second), (objects[2], vec![own])])
    };
    with_global(2, make, |graph, expected| {
        let graph = graph.expect("objects");
        for (object, block) in
            expected.iter().flat_map(|(object, blocks)| blocks.iter().map(move |block| (object, block)))
        {
            let (index, _) = graph.objects.blocks().holding(*block).expect("a block");
            assert_eq!(graph.owner(index), Some(*object));
        }
    });
}

/// A str whose characters are not ASCII has a copy in UTF-8 after it went to the host.
#[test]
fn the_copy_of_a_text_belongs_to_it() {
    let make = |image: &mut Image| {
        let copy = image.block(16);
        let text = image.object(Class::Str, &[2, 0, 1 << 2 | 1 << 5, 3, copy]);
        (text, (text, copy))
    };
    with_global(2, make, |graph, (text, copy)| {
        let graph = graph.expect("objects");
        let (index, _) = graph.objects.blocks().holding(copy).expect("a block");
        assert_eq!(graph.owner(index), Some(text));
    });
}
