//! Traces allocations in an unmodified component. Breakpoints at the entries and exits of the malloc family report each
//! allocation with its call stack, size and address.

use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::{DebugEvent, DebugHandler, FrameHandle, ModulePC, StoreContextMut, Val};

use super::malloc_family::{Family, Role};
use super::python::frames::{self, PlaceNames};
use super::python::interpreter::Interpreter;
use super::python::native::{Native, Natives};
use super::subject::Subject;
use plimsoll_runtime::stage::StoreState;

/// Frames of a call stack that are kept, from the innermost.
const MAX_FRAMES: usize = 64;

/// Frames of libraries that are read above an allocation of a plugin in Python.
const MAX_NATIVE_FRAMES: usize = 256;

/// Native frames above an allocation in which the function of componentize-py's runtime is looked for.
const RUNTIME_FRAMES: usize = 8;

/// A call stack, innermost first: instruction offsets in the core module, without frames of other modules (adapters). Of a
/// plugin in Python, the numbers of its functions and lines, and of functions of its libraries, in [`PlaceNames`].
pub(crate) type Stack = Arc<[u32]>;

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
    /// The names of the libraries' functions.
    pub(crate) natives: Arc<Natives>,
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

    /// The functions above an allocation: those of Python, and between them those of the libraries that they call. What runs
    /// Python functions is shown as these functions.
    fn stack(&self, frame: &FrameHandle, store: &mut StoreContextMut<'_, StoreState>) -> wasmtime::Result<Stack> {
        let instance = frame.instance(&mut *store)?;
        let Some(memory) = instance.debug_memory(&mut *store, 0) else { return Ok(Arc::default()) };
        let memory = memory.data(&*store);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut number = |place| places.number(memory, &self.interpreter, place) as u32;
        let running = frames::running(memory, &self.interpreter);
        let running: Vec<Vec<u32>> =
            running.into_iter().map(|part| part.into_iter().map(&mut number).collect()).collect();
        let mut running = running.into_iter();
        let mut stack = Vec::new();
        let mut at = frame.parent(&mut *store)?;
        for _ in 0..MAX_NATIVE_FRAMES {
            let Some(frame) = at else { break };
            let instance = frame.instance(&mut *store)?;
            if let Some(library) = self.natives.number(instance.module(&*store))
                && let Some((function, _)) = frame.wasm_function_index_and_pc(&mut *store)?
            {
                let function = function.as_u32();
                match self.natives.kind(library, function) {
                    Native::Evaluation => stack.extend(running.next().into_iter().flatten()),
                    Native::Named => stack.push(places.native(&self.natives, library, function) as u32),
                    Native::Unnamed => {}
                }
            }
            at = frame.parent(&mut *store)?;
        }
        stack.extend(running.flatten());
        Ok(stack.into())
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
