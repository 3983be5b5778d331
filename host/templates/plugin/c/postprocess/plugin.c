// The postprocess stage `{{name}}`: returns the model's outputs, which must be tensors of 32-bit floats, as JSON.
//
// Reply: `{"outputs":[{"name":"logits","shape":[1,3],"values":[0.5,-1.0,2.25]}, …]}`.

#define _GNU_SOURCE  // open_memstream
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "stage.h"

// Writes a text as a JSON string.
static void write_text(FILE *out, const uint8_t *text, size_t length) {
  fputc('"', out);
  for (size_t index = 0; index < length; index++) {
    uint8_t byte = text[index];
    if (byte == '"' || byte == '\\') {
      fprintf(out, "\\%c", byte);
    } else if (byte < 0x20) {
      fprintf(out, "\\u%04x", byte);
    } else {
      fputc(byte, out);
    }
  }
  fputc('"', out);
}

static bool write_output(FILE *out, const plimsoll_named_tensor_t *tensor, plimsoll_failure_t *err) {
  float *values;
  size_t count;
  if (!plimsoll_read_f32(tensor, &values, &count, err)) return false;
  wasi_nn_tensor_tensor_dimensions_t shape = plimsoll_shape(tensor);
  fputs("{\"name\":", out);
  write_text(out, tensor->f0.ptr, tensor->f0.len);
  fputs(",\"shape\":[", out);
  for (size_t index = 0; index < shape.len; index++) fprintf(out, index ? ",%u" : "%u", (unsigned)shape.ptr[index]);
  plimsoll_shape_free(&shape);
  fputs("],\"values\":[", out);
  for (size_t index = 0; index < count; index++) {
    // JSON has no NaN. It is a fault of the model or of this plugin, never of the caller's request.
    if (!isfinite(values[index])) {
      free(values);
      return plimsoll_internal(err, "value %zu of output `%.*s` is not a finite number", index, (int)tensor->f0.len,
                               (const char *)tensor->f0.ptr);
    }
    fprintf(out, index ? ",%.9g" : "%.9g", (double)values[index]);
  }
  fputs("]}", out);
  free(values);
  return true;
}

static bool reply(const exports_plimsoll_stage_postprocess_list_named_tensor_t *outputs, plimsoll_stage_types_reply_t *ret,
                  plimsoll_failure_t *err) {
  char *body;
  size_t length;
  FILE *out = open_memstream(&body, &length);
  if (!out) return plimsoll_internal(err, "there is no memory for the reply");
  fputs("{\"outputs\":[", out);
  for (size_t index = 0; index < outputs->len; index++) {
    if (index) fputc(',', out);
    if (!write_output(out, &outputs->ptr[index], err)) {
      fclose(out);
      free(body);
      return false;
    }
  }
  fputs("]}", out);
  fclose(out);

  plimsoll_string_dup(&ret->content_type, "application/json");
  ret->body.ptr = (uint8_t *)body;
  ret->body.len = length;
  return true;
}

bool exports_plimsoll_stage_postprocess_run(plimsoll_request_t *request,
                                            exports_plimsoll_stage_postprocess_list_named_tensor_t *outputs,
                                            plimsoll_list_u8_t *context, plimsoll_stage_types_reply_t *ret,
                                            plimsoll_failure_t *err) {
  bool done = reply(outputs, ret, err);
  // The arguments belong to the stage. Here the end of the instance would free them too; `plimsoll leak` reports what is left.
  exports_plimsoll_stage_postprocess_list_named_tensor_free(outputs);
  plimsoll_list_u8_free(context);
  plimsoll_stage_types_request_free(request);
  return done;
}
