//! The contract of `wit/` as wasmtime generates it.
//!
//! 1. `imports` has the types and the host traits that `linker.rs` and `wasi_nn.rs` implement.
//! 2. The four worlds share those types and add the typed call of their export.
#![allow(missing_docs, unreachable_pub, reason = "generated; the documentation is in wit/stage.wit")]

pub mod imports {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "imports",
        imports: {
            "wasi:nn/inference.[method]graph-execution-context.compute": async | trappable,
            default: trappable,
        },
        with: {
            "wasi:nn/tensor.tensor": crate::tensor::Tensor,
            "wasi:nn/graph.graph": crate::nn::handles::Graph,
            "wasi:nn/inference.graph-execution-context": crate::nn::handles::ExecutionContext,
            "wasi:nn/errors.error": crate::nn::NnError,
        },
        require_store_data_send: true,
    });
}

pub use imports::plimsoll::stage::types::{Failure, Prepared, Reply, Request};

macro_rules! world {
    ($module:ident, $world:literal $(, graph: $graph:literal)? $(, regions: $regions:literal)?) => {
        pub mod $module {
            wasmtime::component::bindgen!({
                path: "../../wit",
                world: $world,
                exports: { default: async },
                with: {
                    "plimsoll:stage/types": super::imports::plimsoll::stage::types,
                    "plimsoll:stage/assets": super::imports::plimsoll::stage::assets,
                    $($regions: super::imports::plimsoll::stage::regions,)?
                    "wasi:config/store": super::imports::wasi::config::store,
                    "wasi:nn/tensor": super::imports::wasi::nn::tensor,
                    $($graph: super::imports::wasi::nn::graph,)?
                    "wasi:nn/inference": super::imports::wasi::nn::inference,
                    "wasi:nn/errors": super::imports::wasi::nn::errors,
                },
                require_store_data_send: true,
            });
        }
    };
}

world!(preprocessor, "preprocessor");
world!(inferencer, "inferencer", graph: "wasi:nn/graph");
world!(transformer, "transformer", regions: "plimsoll:stage/regions");
world!(postprocessor, "postprocessor");
