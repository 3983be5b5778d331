// The preprocess stage `{{name}}`: converts the bytes of the body into the tensor `image` of 32-bit floats from 0 to 1.
//
// Configuration: `shape`, the sizes of the tensor's dimensions, for example `[1, 1, 8, 8]`. The body must have one byte per
// element. Without `shape`, the tensor is one row with all bytes of the body.

#include <stdlib.h>

#include "stage.h"

static bool prepare(const plimsoll_list_u8_t *body, plimsoll_stage_types_prepared_t *ret, plimsoll_failure_t *err) {
  uint32_t *configured;
  size_t rank;
  if (!plimsoll_config_sizes("shape", &configured, &rank, err)) return false;
  uint32_t row[] = {1, (uint32_t)body->len};
  const uint32_t *shape = configured;
  if (!shape) {
    shape = row;
    rank = 2;
  }

  if (body->len == 0) return plimsoll_invalid_input(err, "the body is empty");
  size_t needed = plimsoll_elements(shape, rank);
  if (body->len < needed) {
    return plimsoll_invalid_input(err, "the body has %zu bytes, but the tensor needs %zu", body->len, needed);
  }
  if (body->len > needed) {
    return plimsoll_too_large(err, "the body has %zu bytes, but the tensor needs %zu", body->len, needed);
  }

  float *values = malloc(needed * sizeof(float));
  if (!values) return plimsoll_too_large(err, "there is no memory for %zu numbers", needed);
  for (size_t index = 0; index < needed; index++) values[index] = (float)body->ptr[index] / 255.0f;

  ret->tensors.len = 1;
  ret->tensors.ptr = malloc(sizeof(plimsoll_named_tensor_t));
  if (!ret->tensors.ptr) return plimsoll_internal(err, "there is no memory");
  ret->tensors.ptr[0] = plimsoll_tensor_f32("image", shape, rank, values);
  free(values);
  free(configured);
  // The context is passed to postprocessing unchanged. Example: the size of the original image.
  ret->context.ptr = NULL;
  ret->context.len = 0;
  return true;
}

bool exports_plimsoll_stage_preprocess_run(plimsoll_request_t *request, plimsoll_list_u8_t *body,
                                           plimsoll_stage_types_prepared_t *ret, plimsoll_failure_t *err) {
  bool done = prepare(body, ret, err);
  // The arguments belong to the stage. Here the end of the instance would free them too; `plimsoll leak` reports what is left.
  plimsoll_stage_types_request_free(request);
  plimsoll_list_u8_free(body);
  return done;
}
