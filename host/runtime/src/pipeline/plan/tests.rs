use super::*;

/// A step from `name: from from`; `!` gathers, `*` makes items.
fn shapes(texts: &[&str]) -> Vec<Shape> {
    let mut names = vec!["in".to_owned()];
    let mut shapes = Vec::new();
    for text in texts {
        let (name, from) = text.split_once(':').expect("a name");
        let plain = name.trim_matches(['!', '*']);
        let from = from.split_whitespace().map(|from| names.iter().position(|known| known == from).expect("known"));
        let sources = from.map(|from| Source { from, tensor: None, rename: None }).collect();
        let inputs = Inputs { sources, gather: name.contains('!') };
        shapes.push(Shape { name: plain.to_owned(), inputs, makes_items: name.contains('*') });
        names.push(plain.to_owned());
    }
    shapes
}

fn plan(texts: &[&str]) -> Plan {
    Plan::new("in", &shapes(texts)).unwrap_or_else(|error| panic!("{error:?}"))
}

/// The steps that each unit takes from; the last one is postprocessing.
fn taken(plan: &Plan) -> Vec<Vec<usize>> {
    plan.taken.iter().map(|sources| sources.iter().map(|source| source.from).collect()).collect()
}

fn refused(texts: &[&str]) -> (String, &'static str) {
    let PlanError { step, key, .. } = Plan::new("in", &shapes(texts)).expect_err("refused");
    (step, key)
}

#[test]
fn three_steps_are_one_unit_without_branches() {
    let plan = plan(&["a: in", "out: a"]);
    assert_eq!((&plan.units, &plan.needs), (&vec![Unit::Step(1)], &vec![vec![]]));
    assert_eq!(taken(&plan), [vec![0], vec![1]]);
    assert!(!plan.has_branches && plan.regions.is_empty());
}

#[test]
fn branches_are_found_and_a_chain_has_none() {
    assert!(!plan(&["a: in", "b: a", "c: a b", "out: c in"]).has_branches);
    assert!(plan(&["a: in", "b: in", "out: a b"]).has_branches);
    let joined = plan(&["a: in", "b: in", "c: a", "d: c b", "out: d"]);
    assert_eq!(joined.needs, [vec![], vec![], vec![0], vec![1, 2]]);
}

/// Each step takes from the two before it, so the number of paths doubles with each.
#[test]
fn a_graph_with_very_many_paths_is_planned_at_once() {
    let texts: Vec<_> = (2..100).map(|at| format!("s{at}: s{} s{}", at - 2, at - 1)).collect();
    let texts: Vec<_> = ["s0: in", "s1: in s0"].into_iter().chain(texts.iter().map(String::as_str)).collect();
    assert!(!plan(&texts).has_branches);
}

#[test]
fn the_steps_between_items_and_gathering_are_a_region() {
    let plan =
        plan(&["detect: in", "crop*: detect in", "class: crop", "other: in", "mix: class other", "out!: detect mix"]);
    let region = Region { maker: 2, steps: vec![3, 5], exits: vec![5], shared: vec![4] };
    assert_eq!(plan.regions, [region]);
    assert_eq!(plan.units, [Unit::Step(1), Unit::Step(2), Unit::Step(4), Unit::Region(0)]);
    assert_eq!(plan.needs, [vec![], vec![0], vec![], vec![1, 2]]);
    assert_eq!(taken(&plan), [vec![0], vec![1, 0], vec![0], vec![2, 4], vec![1, 5]]);
}

#[test]
fn items_may_be_gathered_at_once_and_again_after_a_gathering_step_makes_new_ones() {
    let plan = plan(&["crop*: in", "again!*: crop", "class: again", "out!: class"]);
    assert_eq!(plan.regions[0], Region { maker: 1, steps: vec![], exits: vec![1], shared: vec![] });
    assert_eq!(plan.regions[1], Region { maker: 2, steps: vec![3], exits: vec![3], shared: vec![] });
    assert_eq!(plan.units, [Unit::Step(1), Unit::Region(0), Unit::Step(2), Unit::Region(1)]);
}

#[test]
fn what_is_no_graph_is_refused_with_step_and_key() {
    assert_eq!(refused(&["a: in", "b: in", "out: b"]), ("a".into(), "name"));
    assert_eq!(refused(&["a!: in", "out: a"]), ("a".into(), "gather"));
    assert_eq!(refused(&["a*: in", "b*: a", "out!: b"]), ("b".into(), "items"));
    assert_eq!(refused(&["a*: in", "b*: in", "out!: a b"]), ("out".into(), "from"));
    assert_eq!(refused(&["a*: in", "b: a", "c: a", "out!: b"]), ("c".into(), "name"));
    assert_eq!(refused(&["a*: in", "b: a", "out: b"]), ("out".into(), "gather"));
    // `c` needs all items of `a`, and `d` runs for each of them.
    assert_eq!(refused(&["a*: in", "b: a", "c!: b", "d: a c", "out!: d"]), ("d".into(), "from"));
}
