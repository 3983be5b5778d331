// The infer stage `{{name}}`: passes the tensors from preprocessing to the pipeline's model, which the host runs.
//
// Configuration: `model`, the name of a model in `plimsoll.toml`. The host sets it to the `model` of the pipeline.

#include <cstdlib>

#include "stage.h"

// Converts an error of the model to a failure, which decides the status of the reply.
static bool fail(wasi_nn_errors_own_error_t error, plimsoll_failure_t *err) {
  wasi_nn_errors_borrow_error_t borrowed = wasi_nn_errors_borrow_error(error);
  plimsoll_string_t text;
  wasi_nn_errors_method_error_data(borrowed, &text);
  if (wasi_nn_errors_method_error_code(borrowed) == WASI_NN_ERRORS_ERROR_CODE_TOO_LARGE) {
    plimsoll_too_large(err, "%.*s", static_cast<int>(text.len), reinterpret_cast<const char *>(text.ptr));
  } else {
    plimsoll_internal(err, "%.*s", static_cast<int>(text.len), reinterpret_cast<const char *>(text.ptr));
  }
  plimsoll_string_free(&text);
  wasi_nn_errors_error_drop_own(error);
  return false;
}

static bool infer(wasi_nn_inference_list_named_tensor_t *inputs, exports_plimsoll_stage_infer_list_named_tensor_t *ret,
                  plimsoll_failure_t *err) {
  char *model = plimsoll_config("model");
  if (!model) return plimsoll_internal(err, "no model is configured; set `model` of the pipeline");
  plimsoll_string_t name;
  plimsoll_string_set(&name, model);

  // By name, because the host has already loaded the model. It does not let a stage use any other model.
  wasi_nn_graph_own_graph_t graph;
  wasi_nn_errors_own_error_t error;
  bool loaded = wasi_nn_graph_load_by_name(&name, &graph, &error);
  std::free(model);
  if (!loaded) return fail(error, err);
  wasi_nn_inference_own_graph_execution_context_t context;
  if (!wasi_nn_graph_method_graph_init_execution_context(wasi_nn_graph_borrow_graph(graph), &context, &error)) {
    return fail(error, err);
  }

  // Tensors are handles: neither the inputs nor the outputs are copied into the plugin. To change tensors before or after
  // the model, read and create them here with `plimsoll_read_f32` and `plimsoll_tensor_f32`.
  wasi_nn_inference_list_named_tensor_t outputs;
  bool computed = wasi_nn_inference_method_graph_execution_context_compute(
      wasi_nn_inference_borrow_graph_execution_context(context), inputs, &outputs, &error);
  wasi_nn_inference_graph_execution_context_drop_own(context);
  wasi_nn_graph_graph_drop_own(graph);
  if (!computed) return fail(error, err);
  ret->ptr = outputs.ptr;
  ret->len = outputs.len;
  return true;
}

extern "C" bool exports_plimsoll_stage_infer_run(plimsoll_request_t *request,
                                                 exports_plimsoll_stage_infer_list_named_tensor_t *inputs,
                                                 exports_plimsoll_stage_infer_list_named_tensor_t *ret, plimsoll_failure_t *err) {
  wasi_nn_inference_list_named_tensor_t given = {inputs->ptr, inputs->len};
  bool done = infer(&given, ret, err);
  // The arguments belong to the stage, but the tensors went to the model. Here the end of the instance would free the rest too;
  // `plimsoll leak` reports what is left.
  for (size_t index = 0; index < inputs->len; index++) plimsoll_string_free(&inputs->ptr[index].f0);
  std::free(inputs->ptr);
  plimsoll_stage_types_request_free(request);
  return done;
}
