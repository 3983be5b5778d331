// The postprocess stage `{{name}}`: returns the model's outputs, which must be tensors of 32-bit floats, as JSON.
//
// Reply: `{"outputs":[{"name":"logits","shape":[1,3],"values":[0.5,-1.0,2.25]}, …]}`.
//
// Exceptions are not supported: `new` and the standard library abort where they would throw, which is a trap.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "stage.h"

// A text as a JSON string.
static std::string quoted(const uint8_t *text, size_t length) {
  std::string result = "\"";
  for (size_t index = 0; index < length; index++) {
    char byte = static_cast<char>(text[index]);
    if (byte == '"' || byte == '\\') {
      result += '\\';
      result += byte;
    } else if (text[index] < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", text[index]);
      result += escape;
    } else {
      result += byte;
    }
  }
  return result + '"';
}

static bool append_output(std::string &json, const plimsoll_named_tensor_t &tensor, plimsoll_failure_t *err) {
  float *values;
  size_t count;
  if (!plimsoll_read_f32(&tensor, &values, &count, err)) return false;
  wasi_nn_tensor_tensor_dimensions_t shape = plimsoll_shape(&tensor);
  json += "{\"name\":" + quoted(tensor.f0.ptr, tensor.f0.len) + ",\"shape\":[";
  for (size_t index = 0; index < shape.len; index++) {
    if (index) json += ',';
    json += std::to_string(shape.ptr[index]);
  }
  plimsoll_shape_free(&shape);
  std::vector<float> numbers(values, values + count);
  std::free(values);
  json += "],\"values\":[";
  for (size_t index = 0; index < count; index++) {
    // JSON has no NaN. It is a fault of the model or of this plugin, never of the caller's request.
    if (!std::isfinite(numbers[index])) {
      return plimsoll_internal(err, "value %zu of output `%.*s` is not a finite number", index,
                               static_cast<int>(tensor.f0.len), reinterpret_cast<const char *>(tensor.f0.ptr));
    }
    char text[32];
    std::snprintf(text, sizeof text, index ? ",%.9g" : "%.9g", static_cast<double>(numbers[index]));
    json += text;
  }
  json += "]}";
  return true;
}

static bool reply(const exports_plimsoll_stage_postprocess_list_named_tensor_t *outputs, plimsoll_stage_types_reply_t *ret,
                  plimsoll_failure_t *err) {
  std::string json = "{\"outputs\":[";
  for (size_t index = 0; index < outputs->len; index++) {
    if (index) json += ',';
    if (!append_output(json, outputs->ptr[index], err)) return false;
  }
  json += "]}";

  // What the stage returns is allocated with `malloc`, because the bindings free it.
  plimsoll_string_dup(&ret->content_type, "application/json");
  ret->body.ptr = static_cast<uint8_t *>(std::malloc(json.size()));
  if (!ret->body.ptr) return plimsoll_internal(err, "there is no memory for the reply");
  std::memcpy(ret->body.ptr, json.data(), json.size());
  ret->body.len = json.size();
  return true;
}

extern "C" bool exports_plimsoll_stage_postprocess_run(plimsoll_request_t *request,
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
