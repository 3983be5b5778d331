#define _GNU_SOURCE  // vasprintf

#include "stage.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// All cases of a failure carry one text at the same place.
static bool fail(plimsoll_failure_t *err, uint8_t tag, const char *format, va_list arguments) {
  char *text = NULL;
  int length = vasprintf(&text, format, arguments);
  if (length < 0) abort();
  err->tag = tag;
  err->val.internal.ptr = (uint8_t *)text;
  err->val.internal.len = (size_t)length;
  return false;
}

#define FAILURE(name, tag)                                                 \
  bool name(plimsoll_failure_t *err, const char *format, ...) {            \
    va_list arguments;                                                     \
    va_start(arguments, format);                                           \
    fail(err, tag, format, arguments);                                     \
    va_end(arguments);                                                     \
    return false;                                                          \
  }

FAILURE(plimsoll_unsupported_media_type, PLIMSOLL_STAGE_TYPES_FAILURE_UNSUPPORTED_MEDIA_TYPE)
FAILURE(plimsoll_invalid_input, PLIMSOLL_STAGE_TYPES_FAILURE_INVALID_INPUT)
FAILURE(plimsoll_too_large, PLIMSOLL_STAGE_TYPES_FAILURE_TOO_LARGE)
FAILURE(plimsoll_internal, PLIMSOLL_STAGE_TYPES_FAILURE_INTERNAL)

// Memory of this size; a plugin without memory cannot go on, so it traps.
static void *allocate(size_t size) {
  void *memory = malloc(size ? size : 1);
  if (!memory) abort();
  return memory;
}

char *plimsoll_config(const char *key) {
  plimsoll_string_t name;
  plimsoll_option_string_t value;
  wasi_config_store_error_t error;
  plimsoll_string_set(&name, key);
  if (!wasi_config_store_get(&name, &value, &error)) {
    wasi_config_store_error_free(&error);
    return NULL;
  }
  if (!value.is_some) return NULL;
  char *text = allocate(value.val.len + 1);
  memcpy(text, value.val.ptr, value.val.len);
  text[value.val.len] = '\0';
  plimsoll_option_string_free(&value);
  return text;
}

bool plimsoll_config_integer(const char *key, long fallback, long minimum, long maximum, long *value,
                             plimsoll_failure_t *err) {
  char *text = plimsoll_config(key);
  if (!text) {
    *value = fallback;
    return true;
  }
  char *end;
  errno = 0;
  *value = strtol(text, &end, 10);
  if (end == text || *end || errno || *value < minimum || *value > maximum) {
    plimsoll_internal(err, "configuration key `%s`: \"%s\" is not a whole number from %ld to %ld", key, text, minimum,
                      maximum);
    free(text);
    return false;
  }
  free(text);
  return true;
}

bool plimsoll_config_sizes(const char *key, uint32_t **numbers, size_t *count, plimsoll_failure_t *err) {
  char *text = plimsoll_config(key);
  *numbers = NULL;
  *count = 0;
  if (!text) return true;
  size_t items = 1;
  for (const char *at = text; *at; at++) items += *at == ',';
  *numbers = allocate(items * sizeof(uint32_t));
  const char *at = text;
  for (size_t index = 0; index < items; index++) {
    char *end;
    errno = 0;
    unsigned long long number = strtoull(at, &end, 10);
    if (end == at || (*end != ',' && *end) || errno || number == 0 || number > UINT32_MAX || strchr(at, '-')) {
      plimsoll_internal(err, "configuration key `%s`: \"%s\" is not a list of sizes", key, text);
      free(*numbers);
      *numbers = NULL;
      free(text);
      return false;
    }
    (*numbers)[index] = (uint32_t)number;
    at = end + 1;
  }
  *count = items;
  free(text);
  return true;
}

bool plimsoll_asset(const char *name, plimsoll_list_u8_t *bytes, plimsoll_failure_t *err) {
  plimsoll_string_t asked;
  plimsoll_string_t error;
  plimsoll_string_set(&asked, name);
  if (plimsoll_stage_assets_read(&asked, bytes, &error)) return true;
  plimsoll_internal(err, "%.*s", (int)error.len, (const char *)error.ptr);
  plimsoll_string_free(&error);
  return false;
}

size_t plimsoll_elements(const uint32_t *shape, size_t rank) {
  size_t count = 1;
  for (size_t index = 0; index < rank; index++) {
    if (__builtin_mul_overflow(count, (size_t)shape[index], &count)) return SIZE_MAX;
  }
  return count;
}

plimsoll_named_tensor_t plimsoll_tensor_f32(const char *name, const uint32_t *shape, size_t rank, const float *values) {
  wasi_nn_tensor_tensor_dimensions_t dimensions = {(uint32_t *)shape, rank};
  // The bytes of a tensor are little-endian, as those of floats in WebAssembly.
  wasi_nn_tensor_tensor_data_t data = {(uint8_t *)values, plimsoll_elements(shape, rank) * sizeof(float)};
  plimsoll_named_tensor_t tensor;
  plimsoll_string_dup(&tensor.f0, name);
  tensor.f1 = wasi_nn_tensor_constructor_tensor(&dimensions, WASI_NN_TENSOR_TENSOR_TYPE_FP32, &data);
  return tensor;
}

bool plimsoll_read_f32(const plimsoll_named_tensor_t *tensor, float **values, size_t *count, plimsoll_failure_t *err) {
  wasi_nn_tensor_borrow_tensor_t borrowed = wasi_nn_tensor_borrow_tensor(tensor->f1);
  if (wasi_nn_tensor_method_tensor_ty(borrowed) != WASI_NN_TENSOR_TENSOR_TYPE_FP32) {
    return plimsoll_internal(err, "the elements of the tensor `%.*s` are not 32-bit floats", (int)tensor->f0.len,
                             (const char *)tensor->f0.ptr);
  }
  wasi_nn_tensor_tensor_data_t data;
  wasi_nn_tensor_method_tensor_data(borrowed, &data);
  *count = data.len / sizeof(float);
  *values = allocate(data.len);
  memcpy(*values, data.ptr, data.len);
  wasi_nn_tensor_tensor_data_free(&data);
  return true;
}

wasi_nn_tensor_tensor_dimensions_t plimsoll_shape(const plimsoll_named_tensor_t *tensor) {
  wasi_nn_tensor_tensor_dimensions_t dimensions;
  wasi_nn_tensor_method_tensor_dimensions(wasi_nn_tensor_borrow_tensor(tensor->f1), &dimensions);
  return dimensions;
}

void plimsoll_shape_free(wasi_nn_tensor_tensor_dimensions_t *shape) { wasi_nn_tensor_tensor_dimensions_free(shape); }
