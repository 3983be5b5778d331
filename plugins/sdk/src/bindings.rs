//! The bindings that `wit-bindgen` generates from `wit/`: the imports once, and for each world only its export.
#![allow(missing_docs, reason = "generated; the documentation is in wit/stage.wit")]

/// The imports of all kinds of plugins. The worlds below share these types.
pub mod imports {
    wit_bindgen::generate!({ path: "../../wit", world: "imports", generate_all });
}

pub use imports::plimsoll::stage::types::{Failure, NamedTensor, Prepared, Reply, Request};
pub use imports::wasi::nn::tensor::{Tensor, TensorType};

/// The files of the plugin's deployment.
pub use imports::plimsoll::stage::assets;
/// Reads parts of tensors.
pub use imports::plimsoll::stage::regions;
/// `wasi:nn`: graphs, execution contexts and their errors.
pub use imports::wasi::nn;

pub mod preprocessor {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "preprocessor",
        pub_export_macro: true,
        export_macro_name: "export_preprocessor",
        default_bindings_module: "plimsoll_sdk::bindings::preprocessor",
        with: {
            "plimsoll:stage/assets@0.1.0": super::imports::plimsoll::stage::assets,
            "wasi:config/store@0.2.0-rc.1": super::imports::wasi::config::store,
            "plimsoll:stage/types@0.1.0": super::imports::plimsoll::stage::types,
            "wasi:nn/tensor@0.2.0-rc-2024-10-28": super::imports::wasi::nn::tensor,
            "wasi:nn/inference@0.2.0-rc-2024-10-28": super::imports::wasi::nn::inference,
            "wasi:nn/errors@0.2.0-rc-2024-10-28": super::imports::wasi::nn::errors,
        },
    });
}

pub mod inferencer {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "inferencer",
        pub_export_macro: true,
        export_macro_name: "export_inferencer",
        default_bindings_module: "plimsoll_sdk::bindings::inferencer",
        with: {
            "plimsoll:stage/assets@0.1.0": super::imports::plimsoll::stage::assets,
            "wasi:config/store@0.2.0-rc.1": super::imports::wasi::config::store,
            "plimsoll:stage/types@0.1.0": super::imports::plimsoll::stage::types,
            "wasi:nn/tensor@0.2.0-rc-2024-10-28": super::imports::wasi::nn::tensor,
            "wasi:nn/graph@0.2.0-rc-2024-10-28": super::imports::wasi::nn::graph,
            "wasi:nn/inference@0.2.0-rc-2024-10-28": super::imports::wasi::nn::inference,
            "wasi:nn/errors@0.2.0-rc-2024-10-28": super::imports::wasi::nn::errors,
        },
    });
}

pub mod transformer {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "transformer",
        pub_export_macro: true,
        export_macro_name: "export_transformer",
        default_bindings_module: "plimsoll_sdk::bindings::transformer",
        with: {
            "plimsoll:stage/assets@0.1.0": super::imports::plimsoll::stage::assets,
            "plimsoll:stage/regions@0.1.0": super::imports::plimsoll::stage::regions,
            "wasi:config/store@0.2.0-rc.1": super::imports::wasi::config::store,
            "plimsoll:stage/types@0.1.0": super::imports::plimsoll::stage::types,
            "wasi:nn/tensor@0.2.0-rc-2024-10-28": super::imports::wasi::nn::tensor,
            "wasi:nn/inference@0.2.0-rc-2024-10-28": super::imports::wasi::nn::inference,
            "wasi:nn/errors@0.2.0-rc-2024-10-28": super::imports::wasi::nn::errors,
        },
    });
}

pub use transformer::exports::plimsoll::stage::transform::{Bundle, Outcome};

pub mod postprocessor {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "postprocessor",
        pub_export_macro: true,
        export_macro_name: "export_postprocessor",
        default_bindings_module: "plimsoll_sdk::bindings::postprocessor",
        with: {
            "plimsoll:stage/assets@0.1.0": super::imports::plimsoll::stage::assets,
            "wasi:config/store@0.2.0-rc.1": super::imports::wasi::config::store,
            "plimsoll:stage/types@0.1.0": super::imports::plimsoll::stage::types,
            "wasi:nn/tensor@0.2.0-rc-2024-10-28": super::imports::wasi::nn::tensor,
            "wasi:nn/inference@0.2.0-rc-2024-10-28": super::imports::wasi::nn::inference,
            "wasi:nn/errors@0.2.0-rc-2024-10-28": super::imports::wasi::nn::errors,
        },
    });
}

pub mod initialized {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "initialized",
        pub_export_macro: true,
        export_macro_name: "export_initialized",
        default_bindings_module: "plimsoll_sdk::bindings::initialized",
        with: {
            "plimsoll:stage/assets@0.1.0": super::imports::plimsoll::stage::assets,
            "wasi:config/store@0.2.0-rc.1": super::imports::wasi::config::store,
        },
    });
}
