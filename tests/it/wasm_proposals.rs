//! What a plugin may use of WebAssembly's proposals: exceptions, garbage collection and others work, and the objects of the
//! garbage-collected heap count towards `max_memory`. What is not supported is refused by name.

use plimsoll_tests::{Server, TempDir, guests_config};

const PAGE: u64 = 64 << 10;

/// A preprocess stage whose module B has this content. Its function `grow` is called once for each request; the stage
/// fails with invalid-input "done" if it returns another number than −1.
fn plugin(content: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/wat/two-memories.wat");
    let text = std::fs::read_to_string(path).expect("readable");
    let start = text.find("(core module $b").expect("module B");
    let end =
        text.find("  (core instance $b").expect("the end of module B").min(text.find("  ;; Memory A").expect("A"));
    wat::parse_str(format!("{}(core module $b {content})\n{}", &text[..start], &text[end..])).expect("valid text")
}

/// A configuration of one pipeline with this component and a cap of `pages` pages.
fn config(folder: &TempDir, component: &[u8], pages: u64) -> String {
    let file = folder.path().join("proposal.wasm");
    std::fs::write(&file, component).expect("written");
    guests_config("tester", &format!("max_memory = {}", pages * PAGE))
        .replace("[plugins.tester]\nfile = ", "[plugins.unused]\nfile = ")
        .replace("plugin = \"tester\"", "plugin = \"proposal\"")
        + &format!("[plugins.proposal]\nfile = {file:?}\n")
}

/// Throws an exception with a number and returns the number that was caught, `count` times.
fn throws(count: u32) -> String {
    format!(
        "(tag $t (param i32))
         (func (export \"grow\") (result i32) (local $left i32)
           (local.set $left (i32.const {count}))
           (loop $again
             (block $caught (result i32)
               (try_table (catch $t $caught) (throw $t (local.get $left)))
               (unreachable))
             (drop)
             (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
           (i32.const 7))"
    )
}

/// Makes `count` objects of 64 bytes and more, and keeps the last one or, as a list, all.
fn objects(count: u32, keeps_all: bool) -> String {
    let next = if keeps_all { "(local.get $kept)" } else { "(ref.null $s)" };
    format!(
        "(type $s (struct (field (ref null $s)) (field i64 i64 i64 i64 i64 i64 i64 i64)))
         (func (export \"grow\") (result i32) (local $left i32) (local $kept (ref null $s))
           (local.set $left (i32.const {count}))
           (loop $again
             (local.set $kept (struct.new $s {next}
               (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)
               (i64.const 5) (i64.const 6) (i64.const 7) (i64.const 8)))
             (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
           (i32.wrap_i64 (struct.get $s 1 (local.get $kept))))"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_may_use_exceptions_and_garbage_collection_within_their_cap() {
    let folder = TempDir::new().expect("a folder");
    for (what, content) in [
        ("an exception", throws(1)),
        ("100,000 exceptions, one after the other", throws(100_000)),
        ("one object", objects(1, false)),
        // More than 70 MB of objects in a heap that may have 2 MiB.
        ("a million objects that are garbage", objects(1_000_000, false)),
        ("a list of 1,000 objects", objects(1_000, true)),
        (
            "an array",
            "(type $a (array i8)) (func (export \"grow\") (result i32)
               (array.len (array.new_default $a (i32.const 100000))))"
                .to_owned(),
        ),
        (
            "wide arithmetic",
            "(func (export \"grow\") (result i32)
               (i64.add128 (i64.const -1) (i64.const 0) (i64.const 1) (i64.const 4))
               (i32.wrap_i64) (return))"
                .to_owned(),
        ),
        (
            "a tail call",
            "(func $five (result i32) (i32.const 5)) (func (export \"grow\") (result i32) (return_call $five))"
                .to_owned(),
        ),
    ] {
        let server = Server::start(&config(&folder, &plugin(&content), 40)).await;
        for _ in 0..3 {
            let reply = server.infer("p", "", "").await;
            assert_eq!((reply.status, reply.code().as_str()), (422, "invalid_input"), "{what}: {}", reply.text);
            assert!(reply.text.contains("done"), "{what}: {}", reply.text);
            let mark = reply.high_water("preprocess");
            println!("{what}: {} pages", mark / PAGE);
            assert!(mark <= 40 * PAGE, "{what}: {mark}");
            // Module A has one page and grows by three. The heap of objects is counted with them.
            let has_heap = content.contains("$s") || content.contains("$a ") || content.contains("throw");
            assert_eq!(mark > 4 * PAGE, has_heap, "{what}: {mark}");
        }
    }
}

/// Objects that are kept, and an array that is larger than the cap, end the request at the cap; the host goes on.
#[tokio::test(flavor = "multi_thread")]
async fn objects_above_the_cap_are_a_memory_limit() {
    let folder = TempDir::new().expect("a folder");
    let array = "(type $a (array i64)) (func (export \"grow\") (result i32)
        (array.len (array.new_default $a (i32.const 400000000))))";
    for (what, content) in [("a list", objects(1_000_000, true)), ("an array", array.to_owned())] {
        let message = Server::rejection(&config(&folder, &plugin(&content), 40)).await;
        println!("{what}: {message}");
        assert!(message.contains("memory_limit") && message.contains("`max_memory`"), "{what}: {message}");
    }
}

/// An exception that nobody catches is a trap of the plugin.
#[tokio::test(flavor = "multi_thread")]
async fn an_exception_that_is_not_caught_is_a_crash_of_the_plugin() {
    let folder = TempDir::new().expect("a folder");
    let content = "(tag $t) (func (export \"grow\") (result i32) (throw $t))";
    let message = Server::rejection(&config(&folder, &plugin(content), 40)).await;
    println!("{message}");
    assert!(message.contains("trap: the plugin crashed") && message.contains("exception"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn proposals_that_are_not_supported_are_refused_by_name() {
    let folder = TempDir::new().expect("a folder");
    let function = "(func (export \"grow\") (result i32) (i32.const 5))";
    for (content, words) in [
        ("(memory 1 1 shared)", vec!["threads", "-pthread"]),
        ("(memory i64 1)", vec!["64-bit memories"]),
        ("(memory i64 1 1 shared)", vec!["threads", "64-bit memories"]),
        ("(memory 1 (pagesize 1))", vec!["custom page sizes"]),
        ("(func try catch_all end)", vec!["old form of exceptions", "-wasm-use-legacy-eh=false"]),
        ("(type $f (func)) (type $c (cont $f))", vec!["stack switching"]),
    ] {
        let message = Server::rejection(&config(&folder, &plugin(&format!("{content} {function}")), 40)).await;
        println!("{content}: {message}");
        assert!(message.contains("what this host does not support"), "{content}: {message}");
        for word in words {
            assert!(message.contains(word), "{content}: {word:?} is missing in {message}");
        }
    }
}

/// `init` of a component whose modules share a tag, as C++ libraries do. There is no snapshot of it, so `init` runs in
/// every instance.
#[tokio::test(flavor = "multi_thread")]
async fn a_component_with_an_imported_tag_may_have_init() {
    let folder = TempDir::new().expect("a folder");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/wat/two-memories.wat");
    let text = std::fs::read_to_string(path).expect("readable");
    let export = "(export \"cabi_realloc\" (func $realloc))";
    assert_eq!(text.matches(export).count(), 1);
    let text = text.replace(export, &format!("{export} (func (export \"init\") (result i32) (i32.const 64))"));
    let text = format!(
        "{}
         (core module $one (tag (export \"tag\") (param i32)))
         (core instance $one (instantiate $one))
         (core module $two (import \"one\" \"tag\" (tag (param i32))))
         (core instance $two (instantiate $two (with \"one\" (instance $one))))
         (alias core export $main \"init\" (core func $init))
         (type $answer (result (error string)))
         (type $of-init (func (result $answer)))
         (func $init (type $of-init) (canon lift (core func $init) (memory $memory)))
         (instance $lifecycle (export \"init\" (func $init)))
         (export \"plimsoll:stage/lifecycle@0.1.0\" (instance $lifecycle)))",
        text.trim_end().strip_suffix(')').expect("the end of the component")
    );
    let component = wat::parse_str(text).expect("valid text");
    let server = Server::start(&config(&folder, &component, 40)).await;
    for _ in 0..3 {
        let reply = server.infer("p", "", "").await;
        assert!(reply.status == 422 && reply.text.contains("done"), "{}", reply.text);
    }
}
