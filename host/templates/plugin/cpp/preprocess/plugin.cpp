// The preprocess stage `{{name}}`: converts the bytes of the body into the tensor `image` of 32-bit floats from 0 to 1.
//
// Configuration: `shape`, the sizes of the tensor's dimensions, for example `[1, 1, 8, 8]`. The body must have one byte per
// element. Without `shape`, the tensor is one row with all bytes of the body.
//
// Exceptions are not supported: `new` and the standard library abort where they would throw, which is a trap.

#include <cstdlib>
#include <vector>

#include "stage.h"

static bool prepare(const plimsoll_list_u8_t *body, plimsoll_stage_types_prepared_t *ret, plimsoll_failure_t *err) {
  uint32_t *sizes;
  size_t rank;
  if (!plimsoll_config_sizes("shape", &sizes, &rank, err)) return false;
  std::vector<uint32_t> shape(sizes, sizes + rank);
  std::free(sizes);
  if (shape.empty()) shape = {1, static_cast<uint32_t>(body->len)};

  if (body->len == 0) return plimsoll_invalid_input(err, "the body is empty");
  size_t needed = plimsoll_elements(shape.data(), shape.size());
  if (body->len < needed) {
    return plimsoll_invalid_input(err, "the body has %zu bytes, but the tensor needs %zu", body->len, needed);
  }
  if (body->len > needed) {
    return plimsoll_too_large(err, "the body has %zu bytes, but the tensor needs %zu", body->len, needed);
  }

  std::vector<float> values;
  values.reserve(needed);
  for (size_t index = 0; index < needed; index++) values.push_back(static_cast<float>(body->ptr[index]) / 255.0f);

  // What the stage returns is allocated with `malloc`, because the bindings free it.
  auto *tensors = static_cast<plimsoll_named_tensor_t *>(std::malloc(sizeof(plimsoll_named_tensor_t)));
  if (!tensors) return plimsoll_internal(err, "there is no memory");
  *tensors = plimsoll_tensor_f32("image", shape.data(), shape.size(), values.data());
  ret->tensors.ptr = tensors;
  ret->tensors.len = 1;
  // The context is passed to postprocessing unchanged. Example: the size of the original image.
  ret->context.ptr = nullptr;
  ret->context.len = 0;
  return true;
}

extern "C" bool exports_plimsoll_stage_preprocess_run(plimsoll_request_t *request, plimsoll_list_u8_t *body,
                                                      plimsoll_stage_types_prepared_t *ret, plimsoll_failure_t *err) {
  bool done = prepare(body, ret, err);
  // The arguments belong to the stage. Here the end of the instance would free them too; `plimsoll leak` reports what is left.
  plimsoll_stage_types_request_free(request);
  plimsoll_list_u8_free(body);
  return done;
}
