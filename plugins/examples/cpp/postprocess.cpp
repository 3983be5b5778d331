// Postprocess stage for classifiers: converts the scores of one image into its most probable labels.
//
// Reply: `{"predictions":[{"label":"7","index":7,"probability":0.98}, …]}`, most probable first. If two classes have the same
// probability, the lower index comes first.
//
// Configuration:
// - `top_k`: the number of predictions (default 5).
// - `labels`: the asset with one label per line. Without it, the label is the class index as text.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "stage.h"

// A text as a JSON string.
static std::string quoted(const std::string &text) {
  std::string result = "\"";
  for (char byte : text) {
    if (byte == '"' || byte == '\\') {
      result += '\\';
      result += byte;
    } else if (static_cast<unsigned char>(byte) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned char>(byte));
      result += escape;
    } else {
      result += byte;
    }
  }
  return result + '"';
}

// The lines of the asset that the key `labels` names, or the class indices.
static bool read_labels(size_t count, std::vector<std::string> &labels, plimsoll_failure_t *err) {
  char *configured = plimsoll_config("labels");
  if (!configured) {
    for (size_t index = 0; index < count; index++) labels.push_back(std::to_string(index));
    return true;
  }
  std::string name = configured;
  std::free(configured);
  plimsoll_list_u8_t bytes;
  if (!plimsoll_asset(name.c_str(), &bytes, err)) return false;
  std::string text(reinterpret_cast<const char *>(bytes.ptr), bytes.len);
  plimsoll_list_u8_free(&bytes);
  text.erase(text.find_last_not_of(" \r\n\t") + 1);
  for (size_t at = 0; at <= text.size();) {
    size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    labels.push_back(line);
    at = end + 1;
  }
  if (labels.size() != count) {
    return plimsoll_internal(err, "the model returned %zu scores, but `%s` has %zu labels", count, name.c_str(), labels.size());
  }
  return true;
}

static bool reply(const exports_plimsoll_stage_postprocess_list_named_tensor_t *outputs, plimsoll_stage_types_reply_t *ret,
                  plimsoll_failure_t *err) {
  long top_k;
  if (!plimsoll_config_integer("top_k", 5, 1, 1000000, &top_k, err)) return false;
  if (outputs->len != 1) return plimsoll_internal(err, "expected one output, but the model returned %zu", outputs->len);
  float *values;
  size_t count;
  if (!plimsoll_read_f32(&outputs->ptr[0], &values, &count, err)) return false;
  if (count == 0) return plimsoll_internal(err, "the output of the model is empty");
  std::vector<float> scores(values, values + count);
  std::free(values);
  std::vector<std::string> labels;
  if (!read_labels(count, labels, err)) return false;

  // The greatest score is subtracted first, so that no exponential overflows.
  float greatest = *std::max_element(scores.begin(), scores.end());
  std::vector<double> probabilities;
  for (float score : scores) probabilities.push_back(std::exp(static_cast<double>(score) - greatest));
  double total = std::accumulate(probabilities.begin(), probabilities.end(), 0.0);
  // NaN or infinity means that the model or its preprocessing is wrong, so a ranking would be meaningless.
  if (!std::isfinite(total)) return plimsoll_internal(err, "a score of the model is not a finite number");

  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return probabilities[a] > probabilities[b]; });
  order.resize(std::min(count, static_cast<size_t>(top_k)));

  std::string json = "{\"predictions\":[";
  for (size_t index : order) {
    char number[32];
    std::snprintf(number, sizeof number, "%.9g", probabilities[index] / total);
    if (json.back() == '}') json += ',';
    json += "{\"label\":" + quoted(labels[index]) + ",\"index\":" + std::to_string(index) + ",\"probability\":" + number + '}';
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
  // The arguments belong to the stage.
  exports_plimsoll_stage_postprocess_list_named_tensor_free(outputs);
  plimsoll_list_u8_free(context);
  plimsoll_stage_types_request_free(request);
  return done;
}
