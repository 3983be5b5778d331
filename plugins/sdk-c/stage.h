// Helpers for Plimsoll plugins in C and C++. The types are those of `plimsoll.h`.
//
// The stage is one function, which the host calls once for each request in a new instance. It returns true and fills
// `ret`, or returns the result of one of the failure functions. What it returns must be allocated with `malloc`, because the
// bindings free it. The arguments belong to the stage.
#ifndef PLIMSOLL_STAGE_H
#define PLIMSOLL_STAGE_H

#include "plimsoll.h"

#ifdef __cplusplus
extern "C" {
#endif

// A name and its tensor.
typedef wasi_nn_inference_named_tensor_t plimsoll_named_tensor_t;
// The reason why a stage failed.
typedef plimsoll_stage_types_failure_t plimsoll_failure_t;
// The request that a stage processes.
typedef plimsoll_stage_types_request_t plimsoll_request_t;

// These functions end a request with an error and return false. The text, made as by `printf`, says what is wrong and, if
// possible, how to mend it. The caller gets it, except that of `plimsoll_internal`, which is only logged.

// The plugin does not support the format of the body: status 415.
bool plimsoll_unsupported_media_type(plimsoll_failure_t *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// The body or a parameter is invalid: status 422.
bool plimsoll_invalid_input(plimsoll_failure_t *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Processing the body would exceed a limit of the plugin: status 413.
bool plimsoll_too_large(plimsoll_failure_t *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
// A fault of the plugin, its configuration or the model: status 500.
bool plimsoll_internal(plimsoll_failure_t *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

// The text of a key of the stage's table `config`, with a NUL at its end, or NULL if the key is not set. Numbers and
// booleans are text; a list is the texts of its items joined by commas. The stage frees the text.
char *plimsoll_config(const char *key);

// The whole number of a key, or `fallback` if it is not set. Returns false with the failure if the text is not a whole
// number from `minimum` to `maximum`.
bool plimsoll_config_integer(const char *key, long fallback, long minimum, long maximum, long *value,
                             plimsoll_failure_t *err);

// The whole numbers of a list. Returns false with the failure if an item is not a number from 1 to 4294967295. `*numbers`
// is NULL and `*count` is 0 if the key is not set. The stage frees `*numbers`.
bool plimsoll_config_sizes(const char *key, uint32_t **numbers, size_t *count, plimsoll_failure_t *err);

// The bytes of a file of the stage's table `assets`. Returns false with the failure if there is no such file.
bool plimsoll_asset(const char *name, plimsoll_list_u8_t *bytes, plimsoll_failure_t *err);

// The number of elements of a tensor of this shape; SIZE_MAX if it does not fit.
size_t plimsoll_elements(const uint32_t *shape, size_t rank);

// A tensor of 32-bit floats with this name. The values are row-major and copied.
plimsoll_named_tensor_t plimsoll_tensor_f32(const char *name, const uint32_t *shape, size_t rank, const float *values);

// The values of a tensor of 32-bit floats, row-major. Returns false with the failure if its elements have another type.
// The stage frees `*values`.
bool plimsoll_read_f32(const plimsoll_named_tensor_t *tensor, float **values, size_t *count, plimsoll_failure_t *err);

// The sizes of a tensor's dimensions. `plimsoll_shape_free` frees them.
wasi_nn_tensor_tensor_dimensions_t plimsoll_shape(const plimsoll_named_tensor_t *tensor);
void plimsoll_shape_free(wasi_nn_tensor_tensor_dimensions_t *shape);

#ifdef __cplusplus
}
#endif
#endif
