//! Small components that would keep the compiler busy for long, or need gigabytes of its memory, are refused before they are
//! compiled.

use plimsoll_tests::{Site, stamped, stamped_reply};

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
