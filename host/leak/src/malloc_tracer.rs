//! Traces allocations in an unmodified component. Breakpoints at the entries and exits of the malloc family report each
//! allocation with its call stack, size and address.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::{DebugEvent, DebugHandler, FrameHandle, ModulePC, StoreContextMut, Val};

use super::module::{CoreModule, Function};
use super::python::frames::{self, PlaceNames};
use super::python::interpreter::Interpreter;
use super::subject::Subject;
use plimsoll_runtime::stage::StoreState;

/// Frames of a call stack that are kept, from the innermost.
const MAX_FRAMES: usize = 64;

/// Native frames above an allocation in which the function of componentize-py's runtime is looked for.
const RUNTIME_FRAMES: usize = 8;

/// A call stack, innermost first: instruction offsets in the core module, without frames of other modules (adapters). Of a
/// plugin in Python, the numbers of its functions and lines in [`PlaceNames`].
pub(crate) type Stack = Arc<[u32]>;

/// What a function of the malloc family does, and the indices of its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Returns a block of `size` bytes, or of `size` times `count`.
    Allocate { size: u32, count: Option<u32> },
    /// Returns a block of `size` bytes that replaces the block at `old`.
    Reallocate { old: u32, size: u32 },
    /// Allocates a block of `size` bytes and writes its address to the word at `out`.
    AllocateTo { out: u32, size: u32 },
    /// Frees the block at `old`.
    Free { old: u32 },
}

/// The role of a function, by name and number of parameters. Covers wasi-libc's functions, dlmalloc's own functions,
/// and Rust's allocator shims, because optimisation can inline some of them. The number of parameters distinguishes
/// functions that have the same name.
fn role(name: &str, parameters: usize) -> Option<Role> {
    let base = name.rsplit("::").next().unwrap_or(name);
    let one = |size| Some(Role::Allocate { size, count: None });
    match (base, parameters) {
        ("malloc" | "dlmalloc", 1) => one(0),
        ("calloc" | "dlcalloc", 2) => Some(Role::Allocate { size: 0, count: Some(1) }),
        ("realloc" | "dlrealloc", 2) => Some(Role::Reallocate { old: 0, size: 1 }),
        ("aligned_alloc" | "memalign" | "dlmemalign" | "internal_memalign", 2) => one(1),
        ("posix_memalign" | "dlposix_memalign", 3) => Some(Role::AllocateTo { out: 0, size: 2 }),
        ("free" | "dlfree", 1) => Some(Role::Free { old: 0 }),
        // The methods of Rust's dlmalloc have the allocator's state as the first parameter.
        ("malloc", 2) if name.contains("Dlmalloc") => one(1),
        ("memalign", 3) if name.contains("Dlmalloc") => one(2),
        ("free", 2) if name.contains("Dlmalloc") => Some(Role::Free { old: 1 }),
        ("__rust_alloc" | "__rdl_alloc" | "__rg_alloc", 2) => one(0),
        ("__rust_alloc_zeroed" | "__rdl_alloc_zeroed" | "__rg_alloc_zeroed", 2) => one(0),
        ("__rust_realloc" | "__rdl_realloc" | "__rg_realloc", 4) => Some(Role::Reallocate { old: 0, size: 3 }),
        ("__rust_dealloc" | "__rdl_dealloc" | "__rg_dealloc", 3) => Some(Role::Free { old: 0 }),
        _ => None,
    }
}

/// The malloc family of one module. Function indices count only the functions that the module defines.
pub(crate) struct Family {
    /// By function index.
    functions: HashMap<u32, Role>,
    /// Function index by the offset of the entry.
    entries: HashMap<u32, u32>,
    /// Function index by the offsets of the exits.
    exits: HashMap<u32, u32>,
}

impl Family {
    pub(crate) fn of(module: &CoreModule) -> Self {
        let mut this = Self { functions: HashMap::new(), entries: HashMap::new(), exits: HashMap::new() };
        for (index, Function { name, entry, exits, arity, .. }) in module.functions.iter().enumerate() {
            let Some(role) = role(name, arity.0) else { continue };
            let index = index as u32;
            this.functions.insert(index, role);
            this.entries.insert(*entry, index);
            this.exits.extend(exits.iter().map(|&exit| (exit, index)));
        }
        this
    }

    /// The number of functions of the family.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns true if no function of the family was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// An allocation or a release, in the order of the calls.
pub(crate) enum Event {
    /// `size` bytes were requested. `address` is `None` if the allocation failed or the address could not be read.
    Allocated { stack: Stack, size: u32, address: Option<u32> },
    /// The block at `address` was freed.
    Freed { address: u32 },
}

/// The allocation in progress: the outermost function of the family that was entered and has not returned.
struct Pending {
    function: u32,
    role: Role,
    arguments: [u32; 4],
    stack: Stack,
}

#[derive(Default)]
struct TracerState {
    pending: Option<Pending>,
    events: Vec<Event>,
}

/// The breakpoint handler of a traced subject. Clones share their state.
#[derive(Clone)]
pub(crate) struct Tracer {
    family: Arc<Family>,
    state: Arc<Mutex<TracerState>>,
    python: Option<PythonTracer>,
}

/// The additional parts of the tracer of a plugin in Python.
#[derive(Clone)]
pub(crate) struct PythonTracer {
    pub(crate) interpreter: Interpreter,
    /// The names of the places in the stacks.
    pub(crate) places: Arc<Mutex<PlaceNames>>,
    /// componentize-py's runtime, and the indices of its functions whose blocks are never freed.
    pub(crate) runtime: Option<(wasmtime::Module, Vec<u32>)>,
}

impl Tracer {
    pub(crate) fn new(family: Family, python: Option<PythonTracer>) -> Self {
        Self { family: Arc::new(family), state: Arc::default(), python }
    }

    /// Sets the breakpoints in a subject; `module` is the compiled module of the family.
    ///
    /// # Errors
    /// If the engine has no debugging interface, or does not accept a breakpoint.
    pub(crate) fn attach(&self, subject: &mut Subject<'_>, module: &wasmtime::Module) -> wasmtime::Result<()> {
        subject.store.set_debug_handler(self.clone());
        let edit = subject.store.edit_breakpoints();
        let mut edit = edit.ok_or_else(|| wasmtime::Error::msg("the engine has no debugging interface"))?;
        for &offset in self.family.entries.keys().chain(self.family.exits.keys()) {
            edit.add_breakpoint(module, ModulePC::new(offset))?;
        }
        Ok(())
    }

    /// Takes the events since the previous call. Call this after every call of the subject.
    pub(crate) fn take(&self) -> Vec<Event> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pending = None;
        std::mem::take(&mut state.events)
    }

    /// Handles a breakpoint. Fails only if the frame is gone, which cannot happen while the guest is stopped.
    fn on_breakpoint(&self, store: &mut StoreContextMut<'_, StoreState>) -> wasmtime::Result<()> {
        let Some(frame) = store.debug_exit_frames().next() else { return Ok(()) };
        let Some((function, offset)) = frame.wasm_function_index_and_pc(&mut *store)? else { return Ok(()) };
        let (function, offset) = (function.as_u32(), offset.raw());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_exit = self.family.exits.get(&offset) == Some(&function);
        if let Some(pending) = state.pending.take_if(|pending| is_exit && pending.function == function) {
            let result = last_on_stack(&frame, store)?;
            pending.finish(result, store, &mut state.events);
        } else if self.family.entries.get(&offset) == Some(&function) && state.pending.is_none() {
            let Some(&role) = self.family.functions.get(&function) else { return Ok(()) };
            let mut arguments = [0; 4];
            let count = frame.num_locals(&mut *store)?.min(4);
            for (index, argument) in arguments.iter_mut().enumerate().take(count as usize) {
                *argument = frame.local(&mut *store, index as u32)?.i32().map_or(0, i32::cast_unsigned);
            }
            if let Role::Free { old } = role {
                state.events.push(Event::Freed { address: arguments[old as usize] });
                return Ok(());
            }
            let stack = match &self.python {
                None => callers(&frame, store)?,
                Some(python) if python.is_of_runtime(&frame, store)? => return Ok(()),
                Some(python) => python.stack(&frame, store)?,
            };
            state.pending = Some(Pending { function, role, arguments, stack });
        }
        Ok(())
    }
}

impl PythonTracer {
    /// Returns true if the allocation is one that componentize-py's runtime never frees: no leak of the plugin.
    fn is_of_runtime(
        &self,
        frame: &FrameHandle,
        store: &mut StoreContextMut<'_, StoreState>,
    ) -> wasmtime::Result<bool> {
        let Some((runtime, functions)) = &self.runtime else { return Ok(false) };
        let mut at = frame.parent(&mut *store)?;
        for _ in 0..RUNTIME_FRAMES {
            let Some(frame) = at else { break };
            let instance = frame.instance(&mut *store)?;
            if wasmtime::Module::same(instance.module(&*store), runtime)
                && let Some((function, _)) = frame.wasm_function_index_and_pc(&mut *store)?
                && functions.contains(&function.as_u32())
            {
                return Ok(true);
            }
            at = frame.parent(&mut *store)?;
        }
        Ok(false)
    }

    /// The Python functions that run.
    fn stack(&self, frame: &FrameHandle, store: &mut StoreContextMut<'_, StoreState>) -> wasmtime::Result<Stack> {
        let instance = frame.instance(&mut *store)?;
        let Some(memory) = instance.debug_memory(&mut *store, 0) else { return Ok(Arc::default()) };
        let memory = memory.data(&*store);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let running = frames::running(memory, &self.interpreter);
        let numbers = running.into_iter().map(|place| places.number(memory, &self.interpreter, place) as u32);
        Ok(numbers.collect())
    }
}

impl Pending {
    /// Adds the events of an allocation whose function returns `result`.
    fn finish(self, result: Option<u32>, store: &mut StoreContextMut<'_, StoreState>, events: &mut Vec<Event>) {
        let Self { role, arguments, stack, function: _ } = self;
        let argument = |index: u32| arguments[index as usize];
        let address = result.filter(|&address| address != 0);
        match role {
            Role::Allocate { size, count } => {
                let size = argument(size).saturating_mul(count.map_or(1, argument));
                events.push(Event::Allocated { stack, size, address });
            }
            Role::Reallocate { old, size } => {
                // If it fails, the old block stays allocated.
                if address.is_some() {
                    events.push(Event::Freed { address: argument(old) });
                    events.push(Event::Allocated { stack, size: argument(size), address });
                }
            }
            Role::AllocateTo { out, size } => {
                let address = read_word(store, argument(out));
                events.push(Event::Allocated { stack, size: argument(size), address });
            }
            Role::Free { .. } => {}
        }
    }
}

/// Reads a word from the memory of the innermost frame's instance.
fn read_word(store: &mut StoreContextMut<'_, StoreState>, address: u32) -> Option<u32> {
    let frame = store.debug_exit_frames().next()?;
    let instance = frame.instance(&mut *store).ok()?;
    let memory = instance.debug_memory(&mut *store, 0)?;
    super::heap::word(memory.data(&*store), address)
}

/// The topmost value on the frame's operand stack: at an exit, the function's result.
pub(crate) fn last_on_stack(
    frame: &FrameHandle,
    store: &mut StoreContextMut<'_, StoreState>,
) -> wasmtime::Result<Option<u32>> {
    let depth = frame.num_stacks(&mut *store)?;
    let Some(last) = depth.checked_sub(1) else { return Ok(None) };
    Ok(match frame.stack(&mut *store, last)? {
        Val::I32(value) => Some(value.cast_unsigned()),
        _ => None,
    })
}

/// The call stack above a function of the family, without that function.
fn callers(frame: &FrameHandle, store: &mut StoreContextMut<'_, StoreState>) -> wasmtime::Result<Stack> {
    let own = frame.instance(&mut *store)?;
    let own = own.module(&*store).clone();
    let mut offsets = Vec::with_capacity(MAX_FRAMES);
    let mut at = frame.parent(&mut *store)?;
    while let Some(frame) = at {
        let instance = frame.instance(&mut *store)?;
        let is_own = wasmtime::Module::same(instance.module(&*store), &own);
        if let Some((_, offset)) = frame.wasm_function_index_and_pc(&mut *store)?
            && is_own
        {
            // The offset is that of the instruction after the call, which can belong to another source line.
            offsets.push(offset.raw().saturating_sub(1));
        }
        if offsets.len() == MAX_FRAMES {
            break;
        }
        at = frame.parent(&mut *store)?;
    }
    Ok(offsets.into())
}

impl DebugHandler for Tracer {
    type Data = StoreState;

    async fn handle(&self, mut store: StoreContextMut<'_, StoreState>, event: DebugEvent<'_>) {
        if matches!(event, DebugEvent::Breakpoint)
            && let Err(error) = self.on_breakpoint(&mut store)
        {
            tracing::warn!("an allocation could not be traced: {error:#}");
        }
    }
}
