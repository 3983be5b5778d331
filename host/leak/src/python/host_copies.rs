//! What componentize-py's runtime allocates for every call and never frees. It is no leak of the plugin, so it is
//! counted separately.
//!
//! Two places are known (componentize-py 0.25.1 and its `wit-dylib`):
//! - `bytes` that go to the host, as an argument or in a reply, are copied (`wit_dylib_pop_list`). Lists of other types are
//!   freed at the end of the call, these copies are not.
//! - An empty list or text from the host is a block of 0 bytes (`cabi_realloc`). Only lists that are not empty are freed.
//!
//! Breakpoints at both functions give the addresses. A block counts as the runtime's as long as its bytes do not
//! change: nothing refers to it, so code that writes to it got the address from the allocator, after the block had been
//! freed.

use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::{DebugEvent, DebugHandler, ModulePC, StoreContextMut};

use crate::heap::{Block, word};
use crate::malloc_tracer::last_on_stack;
use crate::module::{CoreModule, Function};
use crate::subject::Subject;
use plimsoll_runtime::stage::StoreState;

/// The export by which componentize-py's runtime is known, the function that copies bytes, and the one that the host calls.
const RUNTIME: &str = "PyInit_componentize_py_runtime";
const POP_LIST: &str = "wit_dylib_pop_list";
const REALLOC: &str = "cabi_realloc";
/// The parameter of `POP_LIST` that says where the address is written to, and that of `REALLOC` with the size.
const POP_LIST_OUT: u32 = 2;
const REALLOC_SIZE: u32 = 3;
/// Bytes of a block that are compared: at least those of the smallest block, at most those that an object or a free block
/// would change.
const FEWEST_COMPARED: usize = 12;
const MOST_COMPARED: usize = 64;

/// Which of the two functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    PopList,
    Realloc,
}

/// A block that the runtime allocated.
#[derive(Debug, Clone)]
pub(crate) struct HostCopy {
    pub(crate) address: u32,
    /// Its first bytes.
    contents: Vec<u8>,
}

impl HostCopy {
    /// Returns true if the block is still as the runtime left it.
    pub(crate) fn is_in(&self, block: Block, memory: &[u8]) -> bool {
        let from = self.address as usize;
        block.address == self.address
            && block.usable() as usize >= self.contents.len()
            && memory.get(from..from + self.contents.len()) == Some(&self.contents)
    }
}

/// The functions of the runtime, by the offsets of their entries and exits.
#[derive(Debug)]
struct Functions {
    entries: Vec<(u32, Role)>,
    exits: Vec<(u32, Role)>,
}

/// The breakpoint handler that notes the blocks. Clones share their state.
#[derive(Clone)]
pub(crate) struct HostCopies {
    functions: Arc<Functions>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The function that was entered, and its argument.
    entered: Option<(Role, u32)>,
    found: Vec<HostCopy>,
}

/// Returns true if the module is componentize-py's runtime.
pub(crate) fn is_runtime(module: &CoreModule) -> bool {
    module.exports.iter().any(|name| name == RUNTIME)
}

/// The role of a function of the runtime.
fn role_of(function: &Function) -> Option<Role> {
    match (function.name.as_str(), function.arity) {
        (POP_LIST, (3, 1)) => Some(Role::PopList),
        (REALLOC, (4, 1)) => Some(Role::Realloc),
        _ => None,
    }
}

/// Returns true if the runtime keeps the blocks that this function allocates.
pub(crate) fn keeps(function: &Function) -> bool {
    role_of(function).is_some()
}

impl HostCopies {
    /// The handler for componentize-py's runtime; `None` if it has no such functions.
    pub(crate) fn of(runtime: &CoreModule) -> Option<Self> {
        let (mut entries, mut exits) = (Vec::new(), Vec::new());
        for (function, role) in runtime.functions.iter().filter_map(|function| Some((function, role_of(function)?))) {
            entries.push((function.entry, role));
            exits.extend(function.exits.iter().map(|&exit| (exit, role)));
        }
        let functions = Arc::new(Functions { entries, exits });
        (!functions.entries.is_empty()).then(|| Self { functions, state: Arc::default() })
    }

    /// Sets the breakpoints in a subject; `module` is the compiled runtime.
    ///
    /// # Errors
    /// If the engine does not accept a breakpoint.
    pub(crate) fn attach(&self, subject: &mut Subject<'_>, module: &wasmtime::Module) -> wasmtime::Result<()> {
        subject.store.set_debug_handler(self.clone());
        let edit = subject.store.edit_breakpoints();
        let mut edit = edit.ok_or_else(|| wasmtime::Error::msg("the engine has no debugging interface"))?;
        for (offset, _) in self.functions.entries.iter().chain(&self.functions.exits) {
            edit.add_breakpoint(module, ModulePC::new(*offset))?;
        }
        Ok(())
    }

    /// The blocks since the previous call of this function.
    pub(crate) fn take(&self) -> Vec<HostCopy> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.entered = None;
        std::mem::take(&mut state.found)
    }

    fn on_breakpoint(&self, store: &mut StoreContextMut<'_, StoreState>) -> wasmtime::Result<()> {
        let Some(frame) = store.debug_exit_frames().next() else { return Ok(()) };
        let Some((_, offset)) = frame.wasm_function_index_and_pc(&mut *store)? else { return Ok(()) };
        let offset = offset.raw();
        let role = |places: &[(u32, Role)]| places.iter().find(|(at, _)| *at == offset).map(|(_, role)| *role);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(role) = role(&self.functions.entries) {
            let parameter = if role == Role::PopList { POP_LIST_OUT } else { REALLOC_SIZE };
            let argument = frame.local(&mut *store, parameter)?.i32().map_or(0, i32::cast_unsigned);
            state.entered = Some((role, argument));
        } else if role(&self.functions.exits).is_some()
            && let Some((role, argument)) = state.entered.take()
        {
            let result = last_on_stack(&frame, store)?.unwrap_or(0);
            let instance = frame.instance(&mut *store)?;
            let Some(memory) = instance.debug_memory(&mut *store, 0) else { return Ok(()) };
            let memory = memory.data(&*store);
            let (address, size) = match role {
                Role::PopList => (word(memory, argument).unwrap_or(0), result as usize),
                Role::Realloc if argument == 0 => (result, 0),
                Role::Realloc => return Ok(()),
            };
            let from = address as usize;
            if let Some(contents) =
                memory.get(from..from + size.clamp(FEWEST_COMPARED, MOST_COMPARED)).filter(|_| address != 0)
            {
                state.found.push(HostCopy { address, contents: contents.to_vec() });
            }
        }
        Ok(())
    }
}

impl DebugHandler for HostCopies {
    type Data = StoreState;

    async fn handle(&self, mut store: StoreContextMut<'_, StoreState>, event: DebugEvent<'_>) {
        if matches!(event, DebugEvent::Breakpoint)
            && let Err(error) = self.on_breakpoint(&mut store)
        {
            tracing::warn!("an allocation of componentize-py's runtime could not be traced: {error:#}");
        }
    }
}
