//! The answer to one message of a stream.

use super::inference::infer_parameter::ParameterChoice;
use super::inference::{InferParameter, ModelInferRequest, ModelInferResponse, ModelStreamInferResponse};
use crate::serve::error::ServeError;

/// The parameter with which a client asks that answers say if they are the last of their request, as Triton has it.
const ASKS_FOR_FINAL: &str = "triton_enable_empty_final_response";
/// The parameter that says so.
const IS_FINAL: &str = "triton_final_response";

/// What the answer to a message repeats of it.
pub(super) struct StreamAnswer {
    id: String,
    says_final: bool,
}

impl StreamAnswer {
    /// Takes the parameter that is for the stream from a message.
    pub(super) fn begin(message: &mut ModelInferRequest) -> Self {
        let asks = message.parameters.remove(ASKS_FOR_FINAL).and_then(|asks| asks.parameter_choice);
        Self { id: message.id.clone(), says_final: asks == Some(ParameterChoice::BoolParam(true)) }
    }

    /// The answer. Each message has one, so it is the last.
    pub(super) fn end(self, result: Result<ModelInferResponse, ServeError>) -> ModelStreamInferResponse {
        let (error_message, mut response) = match result {
            Ok(response) => (String::new(), response),
            Err(error) => {
                // An empty message would mean success.
                let message = match error.detail.is_empty() {
                    true => "the request failed; the log has the reason".to_owned(),
                    false => error.detail,
                };
                // The response repeats the request's id, so that the client can assign the error to its request.
                (message, ModelInferResponse { id: self.id, ..ModelInferResponse::default() })
            }
        };
        if self.says_final {
            let is_final = InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
            response.parameters.insert(IS_FINAL.to_owned(), is_final);
        }
        ModelStreamInferResponse { error_message, infer_response: Some(response) }
    }
}
