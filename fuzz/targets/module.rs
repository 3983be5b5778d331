//! Any bytes as a component: its core module, names and DWARF are read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_leak::debug_info::DebugInfo;
use plimsoll_leak::module::CoreModule;

fuzz_target!(|bytes: &[u8]| {
    let Ok(module) = CoreModule::of_component(bytes) else { return };
    let _ = CoreModule::libraries(bytes);
    let debug_info = DebugInfo::of_module(&module);
    for offset in [0, 100, 1 << 16] {
        let _ = debug_info.locations(&module, offset);
        let _ = module.function_at(offset);
        let _ = module.initial_word(offset);
        let _ = debug_info.static_at(offset);
    }
});
