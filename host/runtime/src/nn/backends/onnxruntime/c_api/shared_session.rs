//! A session whose runs share one copy of the weights. The crate `ort` lets a session make one run at a time
//! (`Session::run` takes `&mut self`), so concurrent runs would need a session, and a copy of the weights, each.

use std::ffi::{CString, NulError};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};

use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::{DynValue, Outlet};
use ort::{AsPointer, Error};

/// A session that several threads may run.
pub(in crate::nn) struct SharedSession {
    pub(super) session: Session,
    pub(super) inputs: Vec<CString>,
    pub(super) outputs: Vec<CString>,
    /// Held during a run if concurrent runs are not allowed.
    pub(super) one_at_a_time: Option<Mutex<()>>,
}

/// The outputs of a run, in the order of the session. They outlive neither the session nor the inputs of the run: an output
/// that is an input of the model (directly, or through operators that the library removes) is the memory of that input.
pub(in crate::nn) struct Outputs<'r> {
    values: Vec<DynValue>,
    run: PhantomData<(&'r Session, &'r [SessionInputValue<'r>])>,
}

impl Outputs<'_> {
    /// `values` are the outputs of a run with these lifetimes.
    pub(super) fn new(values: Vec<DynValue>) -> Self {
        Self { values, run: PhantomData }
    }

    pub(in crate::nn) fn values(&self) -> &[DynValue] {
        &self.values
    }
}

impl SharedSession {
    /// `is_concurrent`: the execution provider of the session is known to compute concurrent runs. Otherwise a run waits
    /// for the one before.
    pub(in crate::nn) fn new(session: Session, is_concurrent: bool) -> Result<Self, NulError> {
        let names = |outlets: &[Outlet]| {
            outlets.iter().map(|outlet| CString::new(outlet.name())).collect::<Result<Vec<_>, _>>()
        };
        let (inputs, outputs) = (names(session.inputs())?, names(session.outputs())?);
        Ok(Self { session, inputs, outputs, one_at_a_time: (!is_concurrent).then(Mutex::default) })
    }

    pub(in crate::nn) fn session(&self) -> &Session {
        &self.session
    }

    pub(super) fn check_count(&self, given: usize) -> Result<(), Error> {
        match given == self.inputs.len() {
            true => Ok(()),
            false => Err(Error::new(format!("{given} inputs were given, and the model has {}", self.inputs.len()))),
        }
    }

    /// Runs the session. `inputs` are in the order of [`Session::inputs`].
    #[allow(unsafe_code, reason = "measured: 100 MB of weights and four runs at once take 132 instead of 383 MiB")]
    pub(in crate::nn) fn run<'r>(
        &'r self,
        inputs: &'r [SessionInputValue<'r>],
        options: &RunOptions,
    ) -> Result<Outputs<'r>, Error> {
        self.check_count(inputs.len())?;
        let input_names: Vec<_> = self.inputs.iter().map(|name| name.as_ptr()).collect();
        let output_names: Vec<_> = self.outputs.iter().map(|name| name.as_ptr()).collect();
        let inputs: Vec<_> = inputs.iter().map(|input| input.ptr()).collect();
        let mut outputs = vec![ptr::null_mut(); output_names.len()];
        let turn = self.one_at_a_time.as_ref().map(|turn| turn.lock().unwrap_or_else(PoisonError::into_inner));
        // SAFETY: `OrtApi::Run` reads the arrays of names and inputs, within their lengths, which are equal to the
        // numbers of elements, and writes one pointer to each place of `outputs`. All of them live during the call: the
        // names in `self`, the values in the borrowed slice, the options in the borrowed `RunOptions`.
        //
        // The session is not exclusive here, though the function takes a mutable pointer. ONNX Runtime defines that
        // `Run` may be called on one session by several threads ("Is InferenceSession.Run thread-safe?",
        // microsoft/onnxruntime issue 114; `onnxruntime_perf_test -c N` does that): after it is made, a session is only
        // read, each run has its own execution frame, and what runs share is locked in the library (the arena, the cache
        // of memory patterns, the thread pool). Where an execution provider says that it does not support concurrent
        // runs (`ConcurrentRunSupported`), the library itself makes them one after another. The crate `ort` does not
        // trust this, because providers crashed in earlier versions. Therefore only sessions of providers on which our
        // tests run concurrently (`is_concurrent` in `settings.rs`), or for which the administrator allows it,
        // have no lock (`shared_sessions.rs` compares the answers of concurrent runs byte by byte). Nothing else
        // changes a session: this crate never calls a function that takes `&mut Session`, because `session` is only known in
        // this folder, which never borrows it mutably, and lent as `&Session`.
        let status = unsafe {
            (ort::api().Run)(
                self.session.ptr().cast_mut(),
                options.ptr(),
                input_names.as_ptr(),
                inputs.as_ptr(),
                inputs.len(),
                output_names.as_ptr(),
                output_names.len(),
                outputs.as_mut_ptr(),
            )
        };
        drop(turn);
        // SAFETY: the status is the result of a function of the library, and is taken over once.
        unsafe { Error::result_from_status(status) }?;
        // SAFETY: the run was successful, so the library has written values that belong to the caller; each is taken over
        // once. Their memory belongs to the session's allocator, or to an input that the model returns. Both the session
        // and the inputs are borrowed as long as they live.
        let take = |output| unsafe { DynValue::from_ptr(output, Some(self.session.allocator())) };
        let values: Vec<_> = outputs.iter().map(|&output| NonNull::new(output).map(take)).collect();
        let values = values.into_iter().collect::<Option<_>>();
        let values = values.ok_or_else(|| Error::new("the run did not compute an output"))?;
        Ok(Outputs::new(values))
    }
}
