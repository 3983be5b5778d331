//! The table of `host/docs/protocol.md` says what the tests find.

use super::datatypes::TABLE;

/// The rows of the table: the datatypes, and the text of each column.
fn documented() -> Vec<(Vec<String>, [String; 3])> {
    let text = include_str!("../../../host/docs/protocol.md");
    let table =
        text.split("| datatype | `onnxruntime` | `openvino` | `rten`, `infer-wasm` |\n").nth(1).expect("a table");
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        let [names, onnxruntime, openvino, rten] = cells.try_into().expect("four columns");
        let names = names.trim_end_matches(" (strings)").split(", ").map(str::to_owned).collect();
        (names, [onnxruntime, openvino, rten])
    })
    .collect()
}

#[test]
fn the_table_of_the_documents_is_that_of_the_tests() {
    let documented = documented();
    let mut names: Vec<_> = documented.iter().flat_map(|(names, _)| names.clone()).collect();
    names.sort_unstable();
    let mut known: Vec<_> = TABLE.iter().map(|(name, _)| (*name).to_owned()).chain(["BYTES".to_owned()]).collect();
    known.sort_unstable();
    assert_eq!(names, known, "each datatype is in one row");
    for (names, [onnxruntime, openvino, rten]) in documented {
        assert!(onnxruntime == "the same" || onnxruntime.starts_with("the same; "), "{onnxruntime}");
        for name in names {
            let refuses_large = openvino.contains("a number beyond 32 bits is refused");
            assert!(openvino.starts_with("the same") || name == "BYTES", "{name}: {openvino}");
            assert_eq!(refuses_large, name == "INT64" || name == "UINT32", "{name}: {openvino}");
            let on_rten = TABLE.iter().find(|(known, _)| *known == name).map_or("", |(_, returned)| returned);
            let expected = match on_rten {
                "" => rten.starts_with("a model with such an input or output is rejected"),
                same if same == name => rten == "the same",
                other => rten.contains(&format!("returned as {other}")),
            };
            assert!(expected, "{name} is returned as {on_rten:?}, and the table says: {rten}");
        }
    }
}
