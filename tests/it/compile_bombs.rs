//! Small components that would keep the compiler busy for long, need gigabytes of its memory or all of its stack, are refused
//! before they are compiled. A component of the maximum size is deployed.

use plimsoll_tests::{Site, stamped, stamped_reply};

use crate::wrapped::{Wrapped, site, until};

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (number & 0x7F) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

fn section(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number][..], &leb(content.len()), content].concat()
}

/// The component of a stage, with one more core module of one function, with local variables of i32 and this body.
fn component(locals: usize, body: &[u8]) -> Vec<u8> {
    let body = [&[1][..], &leb(locals), &[0x7F], body, &[0x0B]].concat();
    let code = [&[1][..], &leb(body.len()), &body].concat();
    let sections = [section(1, &[1, 0x60, 0, 0]), section(3, &[1, 0]), section(10, &code)].concat();
    let module = [b"\0asm\x01\0\0\0", &sections[..]].concat();
    [stamped(1), section(1, &module)].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_that_are_too_large_for_the_compiler_are_refused_by_name() {
    let site = Site::new("");
    let server = site.serve().await;
    // Conditions without contents, each of which is a block.
    let conditions = |count: usize| [0x41, 1, 0x04, 0x40, 0x0B].repeat(count);
    for (bytes, words) in [
        (component(1, &vec![0x01; 3 << 20]), "has 3145732 bytes, but 2097152 are allowed"),
        (component(40_000, &conditions(40_000)), "has 40000 local variables and 40000 blocks"),
        (component(8_000, &conditions(8_000)), "has 8000 local variables and 8000 blocks"),
    ] {
        let put = server.send("PUT", "/v1/plugins/bomb", &[], bytes).await;
        assert_eq!((put.status, &*put.code()), (422, "plugin_refused"), "{}", put.text);
        assert!(put.text.contains("it is not compiled") && put.text.contains(words), "{}", put.text);
    }
    // A function below the limits is compiled.
    for bytes in [component(1, &vec![0x01; 1 << 20]), component(100, &conditions(2_000))] {
        let put = server.send("PUT", "/v1/plugins/bomb", &[], bytes).await;
        assert_eq!(put.status, 200, "{}", put.text);
    }
    let put = server.send("PUT", "/v1/plugins/stamp?version=1", &[], stamped(1)).await;
    assert_eq!(put.status, 200, "{}", put.text);
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(1));
}

/// The start of a component, and of a core module.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// A component in a component, and so on.
fn nested(depth: usize) -> Vec<u8> {
    let mut starts = Vec::new();
    let mut length = COMPONENT.len();
    for _ in 0..depth {
        let start = [COMPONENT, &[4], &leb(length)].concat();
        length += start.len();
        starts.push(start);
    }
    [starts.into_iter().rev().flatten().collect(), COMPONENT.to_vec()].concat()
}

/// A component with a type that has one declaration: such a type, and so on. 0x41 is a component's, 0x42 an instance's.
fn nested_types(kind: u8, depth: usize) -> Vec<u8> {
    let types = [&[1][..], &[kind, 1, 1].repeat(depth), &[kind, 0]].concat();
    [COMPONENT, &section(7, &types)].concat()
}

/// A plugin with a component that it does not use.
fn plugin_with(component: &[u8]) -> Vec<u8> {
    [stamped(1), section(4, component)].concat()
}

/// Readers that call themselves for each level would take all of the stack, and a process without stack ends.
#[tokio::test(flavor = "multi_thread")]
async fn components_and_types_that_are_nested_too_deep_do_not_end_the_process() {
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    let description = [&[16][..], b"component-type:a", &nested_types(0x41, 100_000)].concat();
    let bombs = [
        nested(100_000),
        nested_types(0x41, 100_000),
        nested_types(0x42, 100_000),
        plugin_with(&nested(5_000)),
        plugin_with(&nested_types(0x41, 1_000)),
        plugin_with(&nested_types(0x42, 100_000)),
        [MODULE, &section(0, &description)].concat(),
    ];
    for (at, bomb) in bombs.iter().enumerate() {
        let (status, reply) = served.json("PUT", "/v1/plugins/bomb", bomb.clone()).await;
        assert_eq!((status, &reply["code"]), (422, &"plugin_refused".into()), "{at}: {reply}");
        assert!(reply["detail"].as_str().expect("text").contains("nested more than 32 levels deep"), "{at}: {reply}");
    }
    // As files, and for the command line.
    for (at, bomb) in bombs.iter().enumerate() {
        site.drop_in(&format!("bomb{at}.wasm"), bomb);
        until("the file is refused", async || served.states(&format!("bomb{at}")).await == ["refused"]).await;
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_plimsoll-under-test"))
            .args(["inspect", &site.plugin(&format!("bomb{at}.wasm")).display().to_string()])
            .output()
            .expect("the binary starts");
        assert!(output.status.code().is_some(), "{at}: {output:?}");
    }
    // Types that refer to each other are limited by the validation, and flat ones may be many.
    let lists = (0..5_000).fold(leb(5_001), |list, at| match at {
        0 => [list, vec![0x70, 0x7D, 0x70, 0]].concat(),
        at => [list, vec![0x70], signed_leb(at)].concat(),
    });
    let lists = plugin_with(&[COMPONENT, &section(7, &lists)].concat());
    let (status, reply) = served.json("PUT", "/v1/plugins/lists", lists).await;
    assert!(status == 422 && reply["detail"].as_str().expect("text").contains("type nesting is too deep"), "{reply}");
    let flat = [leb(100_000), [0x70, 0x7D].repeat(100_000)].concat();
    let (status, reply) =
        served.json("PUT", "/v1/plugins/flat", plugin_with(&[COMPONENT, &section(7, &flat)].concat())).await;
    assert_eq!(status, 200, "{reply}");
    assert_eq!(served.reply().await, stamped_reply(0), "it was the same process for all of them");
}

/// A signed number, as the index of a type has it.
fn signed_leb(number: usize) -> Vec<u8> {
    let mut bytes = leb(number);
    if bytes.last().is_some_and(|last| last & 0x40 != 0) {
        *bytes.last_mut().expect("a byte") |= 0x80;
        bytes.push(0);
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_the_maximum_size_is_deployed_and_one_byte_more_is_refused() {
    const MOST: usize = 128 << 20;
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    let sized = |mark: u32, size: usize| {
        let component = stamped(mark);
        // A custom section: its number, its size in five bytes, and a name of one letter.
        let content = size - component.len() - 6;
        let length = (0..5).map(|at| (content >> (7 * at) & 0x7F) as u8 | if at < 4 { 0x80 } else { 0 });
        let start: Vec<_> = [0].into_iter().chain(length).chain([1, b'x']).collect();
        [component, start, vec![7; content - 2]].concat()
    };
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp?version=1", sized(1, MOST)).await;
    assert_eq!((status, &reply["state"], &reply["durable"]), (200, &"serving".into(), &true.into()), "{reply}");
    assert_eq!(served.reply().await, stamped_reply(1));
    // The server may answer before it has read everything.
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp?version=2", sized(2, MOST + 1)).await;
    assert_eq!((status, &reply["code"]), (413, &"too_large".into()), "{reply}");
    assert!(reply["detail"].as_str().expect("text").contains("deploy.max_plugin"), "{reply}");
    site.drop_in("large.wasm", &sized(3, MOST + 1));
    until("the file is refused", async || served.states("large").await == ["refused"]).await;
    site.drop_in("stamp.wasm", &sized(4, MOST));
    until("the file serves", async || served.reply().await == stamped_reply(4)).await;
    let report = served.json("GET", "/v1/memory", Vec::new()).await.1;
    println!("afterwards {} bytes are resident", report["process"]["resident_bytes"]);
}
