//! Who allocated it? The functions of the malloc family are watched through breakpoints at their entries and exits,
//! so every allocation is known with its call stack, size and address, in the component as it is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use indicatif::ProgressBar;
use wasmtime::{DebugEvent, DebugHandler, FrameHandle, ModulePC, StoreContextMut, Val};

use super::corpus::Sample;
use super::module::{CoreModule, Function};
use super::subject::{PluginUnderTest, Subject, outcome, survives};
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::StoreState;

/// Frames of a stack that are kept, from the innermost.
const MAX_FRAMES: usize = 64;

/// What a function of the family does, and where its arguments stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Gives a block of `size` bytes, or of `size` times `count`.
    Allocate { size: u32, count: Option<u32> },
    /// Gives a block for the one at `old`.
    Reallocate { old: u32, size: u32 },
    /// Writes the address of a block of `size` bytes to where `out` points.
    AllocateTo { out: u32, size: u32 },
    /// Takes back the block at `old`.
    Free { old: u32 },
}

/// The family by name: wasi-libc's functions, dlmalloc's own, and Rust's allocator shims, which optimisation may have
/// made the only ones left. Names come with the number of parameters that tells a function from its namesakes.
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
        // Rust's own dlmalloc takes its state as the first parameter.
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

/// A call stack: offsets of instructions in the core module, the innermost first. Frames of other modules (adapters)
/// are left out.
pub type Stack = Arc<[u32]>;

/// What one stack allocated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Bytes asked for.
    pub alloc_space: u64,
    /// Blocks asked for.
    pub alloc_objects: u64,
    /// Bytes of those that were not given back, the first round's left out: what is made once is no leak.
    pub inuse_space: u64,
    /// Blocks of those.
    pub inuse_objects: u64,
}

/// Every stack that allocated, by class of the call (an index that the caller gives a meaning).
pub struct Allocations {
    /// By class and stack.
    pub stacks: HashMap<(usize, Stack), Totals>,
    /// Allocations whose address was not seen: they count as allocated, and never as in use.
    pub unresolved: u64,
}

/// Runs rounds over the samples in a fresh instance and records each allocation. `class_of` gives the class of a
/// sample by its index and outcome.
///
/// # Errors
/// When no function of the family is known by name, or the instance does not start.
pub async fn record(
    plugin: &PluginUnderTest,
    samples: &[Sample],
    chosen: &[usize],
    rounds: usize,
    class_of: impl Fn(usize, Outcome) -> usize,
    progress: &ProgressBar,
) -> Result<Allocations, String> {
    let family = Family::of(&plugin.module);
    if family.entries.is_empty() {
        let why = if plugin.module.has_names() {
            "none of its functions has the name of an allocator"
        } else {
            "it has no name section"
        };
        return Err(format!("allocations cannot be traced: {why}; build the plugin without stripping its names"));
    }
    let mut subject = plugin.subject().await?;
    let tracer = Tracer { family: Arc::new(family), state: Arc::default() };
    tracer.attach(&mut subject)?;
    let mut allocations = Allocations { stacks: HashMap::new(), unresolved: 0 };
    // Address → the class and the stack that made it, and its bytes; `None` for what the first round made.
    let mut live: HashMap<u32, Option<(usize, Stack, u64)>> = HashMap::new();
    'rounds: for round in 0..rounds {
        for &sample in chosen {
            let result = subject.call(&samples[sample]).await;
            let outcome = outcome(&result);
            let events = tracer.take();
            let class = class_of(sample, outcome);
            for event in events {
                match event {
                    Event::Allocated { stack, size, address } => {
                        let totals = allocations.stacks.entry((class, Arc::clone(&stack))).or_default();
                        totals.alloc_space += u64::from(size);
                        totals.alloc_objects += 1;
                        match address {
                            Some(address) => {
                                live.insert(address, (round > 0).then(|| (class, stack, u64::from(size))));
                            }
                            None => allocations.unresolved += 1,
                        }
                    }
                    Event::Freed { address } => {
                        live.remove(&address);
                    }
                }
            }
            progress.inc(1);
            if !survives(outcome) {
                break 'rounds;
            }
        }
    }
    for (class, stack, size) in live.into_values().flatten() {
        let totals = allocations.stacks.entry((class, stack)).or_default();
        totals.inuse_space += size;
        totals.inuse_objects += 1;
    }
    Ok(allocations)
}

/// The functions of the family in one module.
struct Family {
    /// By the function's index among the defined ones.
    functions: HashMap<u32, Role>,
    entries: HashMap<u32, u32>,
    exits: HashMap<u32, u32>,
}

impl Family {
    fn of(module: &CoreModule) -> Self {
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
}

enum Event {
    Allocated { stack: Stack, size: u32, address: Option<u32> },
    Freed { address: u32 },
}

/// The allocation that is going on: the outermost function of the family that was entered and not yet left.
struct Pending {
    function: u32,
    role: Role,
    arguments: [u32; 4],
    stack: Stack,
}

#[derive(Default)]
struct Recording {
    pending: Option<Pending>,
    events: Vec<Event>,
}

#[derive(Clone)]
struct Tracer {
    family: Arc<Family>,
    state: Arc<Mutex<Recording>>,
}

impl Tracer {
    fn attach(&self, subject: &mut Subject<'_>) -> Result<(), String> {
        subject.store.set_debug_handler(self.clone());
        let module = subject.module.clone();
        let mut edit = subject.store.edit_breakpoints().ok_or("the engine has no debugging interface")?;
        for &offset in self.family.entries.keys().chain(self.family.exits.keys()) {
            edit.add_breakpoint(&module, ModulePC::new(offset)).map_err(|error| format!("{error:#}"))?;
        }
        Ok(())
    }

    fn take(&self) -> Vec<Event> {
        let mut state = self.state.lock().expect("no holder panics");
        state.pending = None;
        std::mem::take(&mut state.events)
    }

    /// Looks at the function that stopped; an error means that the frame is gone, which cannot be while it is stopped.
    fn stopped(&self, store: &mut StoreContextMut<'_, StoreState>) -> wasmtime::Result<()> {
        let Some(frame) = store.debug_exit_frames().next() else { return Ok(()) };
        let Some((function, offset)) = frame.wasm_function_index_and_pc(&mut *store)? else { return Ok(()) };
        let (function, offset) = (function.as_u32(), offset.raw());
        let mut state = self.state.lock().expect("no holder panics");
        let is_pending = state.pending.as_ref().is_some_and(|pending| pending.function == function);
        if is_pending && self.family.exits.get(&offset) == Some(&function) {
            let pending = state.pending.take().expect("just seen");
            let result = last_on_stack(&frame, store)?;
            pending.end(result, store, &mut state.events);
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
            let stack = callers(&frame, store)?;
            state.pending = Some(Pending { function, role, arguments, stack });
        }
        Ok(())
    }
}

impl Pending {
    fn end(self, result: Option<u32>, store: &mut StoreContextMut<'_, StoreState>, events: &mut Vec<Event>) {
        let Self { role, arguments, stack, function: _ } = self;
        let argument = |index: u32| arguments[index as usize];
        let address = result.filter(|&address| address != 0);
        match role {
            Role::Allocate { size, count } => {
                let size = argument(size).saturating_mul(count.map_or(1, argument));
                events.push(Event::Allocated { stack, size, address });
            }
            Role::Reallocate { old, size } => {
                // One that failed leaves the old block as it was.
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

/// The word at an address of the memory of the innermost frame's instance.
fn read_word(store: &mut StoreContextMut<'_, StoreState>, address: u32) -> Option<u32> {
    let frame = store.debug_exit_frames().next()?;
    let instance = frame.instance(&mut *store).ok()?;
    let memory = instance.debug_memory(&mut *store, 0)?;
    super::heap::word(memory.data(&*store), address)
}

fn last_on_stack(frame: &FrameHandle, store: &mut StoreContextMut<'_, StoreState>) -> wasmtime::Result<Option<u32>> {
    let depth = frame.num_stacks(&mut *store)?;
    let Some(last) = depth.checked_sub(1) else { return Ok(None) };
    Ok(match frame.stack(&mut *store, last)? {
        Val::I32(value) => Some(value.cast_unsigned()),
        _ => None,
    })
}

/// The offsets of the frames above the function of the family.
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
            // A caller stands at the instruction after its call, which may belong to another line.
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
            && let Err(error) = self.stopped(&mut store)
        {
            tracing::warn!("an allocation was not seen: {error:#}");
        }
    }
}
