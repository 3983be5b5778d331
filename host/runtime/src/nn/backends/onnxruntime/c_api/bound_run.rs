//! A run whose inputs and outputs are bound (`OrtIoBinding`): the library copies the inputs to the device before the run, and
//! writes each output to the memory that the caller chooses.

use std::ptr::{self, NonNull};
use std::sync::PoisonError;

use ort::session::{RunOptions, SessionInputValue};
use ort::value::DynValue;
use ort::{AsPointer, Error, sys};

use super::host_memory::Place;
use super::shared_session::{Outputs, SharedSession};

/// The bindings of one run.
struct Binding(NonNull<sys::OrtIoBinding>);

impl Drop for Binding {
    #[allow(unsafe_code, reason = "see `SharedSession::run_bound`")]
    fn drop(&mut self) {
        // SAFETY: the handle is from `CreateIoBinding` and is released once. The values that it holds are counted by the
        // library: those that were taken from it live on.
        unsafe { (ort::api().ReleaseIoBinding)(self.0.as_ptr()) };
    }
}

impl SharedSession {
    /// As [`SharedSession::run`], with the outputs at the given places, one for each output.
    #[allow(unsafe_code, reason = "the crate's function takes `&mut Session`, and copies inputs that it does not own")]
    pub(in crate::nn) fn run_bound<'r>(
        &'r self,
        inputs: &'r [SessionInputValue<'r>],
        places: &[&Place],
        options: &RunOptions,
    ) -> Result<Outputs<'r>, Error> {
        self.check_count(inputs.len())?;
        if places.len() != self.outputs.len() {
            return Err(Error::new(format!(
                "{} outputs are bound, and the model has {}",
                places.len(),
                self.outputs.len()
            )));
        }
        let api = ort::api();
        let turn = self.one_at_a_time.as_ref().map(|turn| turn.lock().unwrap_or_else(PoisonError::into_inner));
        // SAFETY: `onnxruntime_c_api.h` documents these functions. Each returns a status, which is taken over once.
        //
        // Lifetimes: the binding is made for this run and is released before this function returns, also after an error;
        // no other run knows it, so two runs in flight share nothing of it. What it is given lives longer: the session and
        // the names in `self`, the descriptions of memory in `places`, and the inputs, which are views of the caller's
        // buffers, in the borrowed slice. `BindInput` either copies an input to the device, or keeps a reference to the
        // same memory, until the binding is released; the buffers are borrowed for `'r`, which ends after that, and also
        // after the last use of the outputs, because `Outputs` has this lifetime: an output may be the memory of an input.
        //
        // `SynchronizeBoundInputs` waits until copies that were only queued have ended. A run waits at its end for everything
        // that it queued (the library's option `disable_synchronize_execution_providers` is not set), and
        // `SynchronizeBoundOutputs` once more for the providers, so the outputs are written when they are read. If the
        // run is terminated by its options, it returns an error, and what it had queued is waited for in the same way before
        // the binding and the buffers are released.
        //
        // Concurrent calls: `RunWithBinding` is `Run` with the values of the binding, so what the comment in
        // `shared_session.rs` says about the session, and `turn`, hold here too.
        let binding = unsafe {
            let mut binding = ptr::null_mut();
            Error::result_from_status((api.CreateIoBinding)(self.session.ptr().cast_mut(), &mut binding))?;
            let binding = NonNull::new(binding).map(Binding);
            let binding = binding.ok_or_else(|| Error::new("the library made no binding"))?;
            let raw = binding.0.as_ptr();
            let mut inputs = self.inputs.iter().zip(inputs);
            let bound = inputs.try_for_each(|(name, input)| {
                Error::result_from_status((api.BindInput)(raw, name.as_ptr(), input.ptr()))
            });
            let mut outputs = self.outputs.iter().zip(places);
            let bound = bound.and_then(|()| {
                outputs.try_for_each(|(name, place)| {
                    Error::result_from_status((api.BindOutputToDevice)(raw, name.as_ptr(), place.ptr()))
                })
            });
            // Both waits also after an error, or a run that was stopped: nothing may read or write what is released next.
            let copied = Error::result_from_status((api.SynchronizeBoundInputs)(raw));
            let ran = bound.and(copied).and_then(|()| {
                Error::result_from_status((api.RunWithBinding)(self.session.ptr().cast_mut(), options.ptr(), raw))
            });
            let is_done = Error::result_from_status((api.SynchronizeBoundOutputs)(raw));
            ran?;
            is_done?;
            binding
        };
        drop(turn);
        Ok(Outputs::new(self.bound_outputs(&binding)?))
    }

    /// The outputs of a binding after its run, in the order in which they were bound.
    #[allow(unsafe_code, reason = "see `run_bound`")]
    fn bound_outputs(&self, binding: &Binding) -> Result<Vec<DynValue>, Error> {
        let api = ort::api();
        let (mut values, mut count, mut allocator) = (ptr::null_mut(), 0, ptr::null_mut());
        let mut taken = Vec::with_capacity(self.outputs.len());
        // SAFETY: `GetAllocatorWithDefaultOptions` writes the library's allocator of ordinary memory, which several threads
        // may use and which is never released. `GetBoundOutputValues` writes an array of `count` values, allocated with it;
        // the array and the values belong to the caller. Each value is taken over once, by `DynValue` or by `ReleaseValue`,
        // and the array is freed once. A value that is not there (an optional output) has no type that the crate could read.
        // The statuses are taken over once.
        unsafe {
            Error::result_from_status((api.GetAllocatorWithDefaultOptions)(&mut allocator))?;
            let status = (api.GetBoundOutputValues)(binding.0.as_ptr(), allocator, &mut values, &mut count);
            Error::result_from_status(status)?;
            for index in 0..count {
                let Some(value) = NonNull::new(*values.add(index)) else { continue };
                let mut is_there = 0;
                let status = (api.HasValue)(value.as_ptr(), &mut is_there);
                match Error::result_from_status(status) {
                    Ok(()) if is_there != 0 => {
                        taken.push(DynValue::from_ptr(value, Some(self.session.allocator())));
                    }
                    _ => (api.ReleaseValue)(value.as_ptr()),
                }
            }
            if !values.is_null() {
                Error::result_from_status((api.AllocatorFree)(allocator, values.cast()))?;
            }
        }
        match taken.len() == self.outputs.len() && count == self.outputs.len() {
            true => Ok(taken),
            false => Err(Error::new("the run did not compute an output")),
        }
    }
}
