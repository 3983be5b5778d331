//! The features of WebAssembly in `host/docs/plugins.md`: the engine accepts those that the page allows, and only those.

use plimsoll_runtime::engine::config;
use wasmtime::Engine;

use crate::documents::Page;

/// A module, or a component, that needs the feature.
fn example(feature: &str) -> &'static str {
    match feature {
        "simd" => "(module (func (result v128) (v128.const i32x4 0 0 0 0)))",
        "relaxed-simd" => {
            "(module (func (param v128 v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 1))))"
        }
        "bulk-memory" => "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 1))))",
        "multi-value" => "(module (func (result i32 i32) (i32.const 1) (i32.const 2)))",
        "reference-types" => "(module (table 1 externref) (func (result externref) (table.get 0 (i32.const 0))))",
        "sign-extension" => "(module (func (param i32) (result i32) (i32.extend8_s (local.get 0))))",
        "saturating-float-to-int" => "(module (func (param f32) (result i32) (i32.trunc_sat_f32_s (local.get 0))))",
        "tail-call" => "(module (func $f (return_call $f)))",
        "multi-memory" => "(module (memory 1) (memory 1))",
        "extended-const" => "(module (global i32 (i32.add (i32.const 1) (i32.const 2))))",
        "memory64" => "(module (memory i64 1))",
        "threads" => "(module (memory 1 1 shared))",
        "gc" => "(module (type (struct (field i32))) (func (drop (struct.new_default 0))))",
        "exceptions" => "(module (tag) (func (throw 0)))",
        "wide-arithmetic" => {
            "(module (func (param i64) (result i64 i64) (i64.mul_wide_u (local.get 0) (local.get 0))))"
        }
        "custom-page-sizes" => "(module (memory 1 (pagesize 1)))",
        "stack-switching" => "(module (type $f (func)) (type (cont $f)))",
        "component-model-async" => "(component (type (future u8)))",
        other => panic!("add an example of {other}"),
    }
}

#[test]
fn the_features_of_the_documents_are_those_of_the_engine() {
    let engine = Engine::new(&config()).expect("an engine");
    let page = Page::read("host/docs/plugins.md");
    let rows = page.rows();
    let rows = rows.iter().skip_while(|row| row[0] != "feature").skip(2);
    let rows: Vec<_> = rows.take_while(|row| row.len() == 2).collect();
    assert!(rows.len() >= 15, "{} rows", rows.len());
    for row in rows {
        let feature = row[0].trim_matches('`');
        let bytes = wat::parse_str(example(feature)).expect("a valid text");
        let compiled = match bytes[4..8] {
            [1, 0, 0, 0] => wasmtime::Module::new(&engine, &bytes).err(),
            _ => wasmtime::component::Component::new(&engine, &bytes).err(),
        };
        let allowed = row[1].starts_with("yes");
        assert!(allowed || row[1].starts_with("no"), "{feature}: {:?} is neither yes nor no", row[1]);
        assert_eq!(compiled.is_none(), allowed, "{feature}: {compiled:?}");
    }
}
