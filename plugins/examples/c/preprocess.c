// Preprocess stage for scans: converts a binary PGM or PPM picture into the grey input tensor of a model.
//
// Each element of the tensor is the mean of the area that it covers in the picture; the aspect ratio is not kept. The tensor
// is f32 of shape [1, 1, height, width] with values from 0 (black) to 1 (white).
//
// Configuration:
// - `width`, `height`: the size of the model's input in pixels (default 8).
// - `max_pixels`: the maximum number of pixels of a picture (default 4000000).
//
// The context has the format of `image-preprocess`, so that postprocess stages for that plugin also work with this one.

#define _GNU_SOURCE  // asprintf
#include <stdio.h>
#include <stdlib.h>

#include "netpbm.h"
#include "stage.h"

// The part of the pixels from `index` to `index + 1` that lies between `from` and `to`.
static float covered(float from, float to, uint32_t index) {
  float first = from > (float)index ? from : (float)index;
  float last = to < (float)index + 1.0f ? to : (float)index + 1.0f;
  return last > first ? last - first : 0.0f;
}

// The mean of the picture between these borders, in pixels.
static float mean(const picture_t *picture, float left, float right, float top, float bottom) {
  float sum = 0.0f;
  for (uint32_t y = (uint32_t)top; y < picture->height && (float)y < bottom; y++) {
    float row = 0.0f;
    for (uint32_t x = (uint32_t)left; x < picture->width && (float)x < right; x++) {
      row += covered(left, right, x) * netpbm_grey(picture, x, y);
    }
    sum += covered(top, bottom, y) * row;
  }
  return sum / ((right - left) * (bottom - top));
}

static bool prepare(const plimsoll_list_u8_t *body, plimsoll_stage_types_prepared_t *ret, plimsoll_failure_t *err) {
  long width, height, max_pixels;
  if (!plimsoll_config_integer("width", 8, 1, 4096, &width, err) ||
      !plimsoll_config_integer("height", 8, 1, 4096, &height, err) ||
      !plimsoll_config_integer("max_pixels", 4000000, 1, 1000000000, &max_pixels, err)) {
    return false;
  }
  picture_t picture;
  const char *problem = "";
  switch (netpbm_read(body->ptr, body->len, &picture, &problem)) {
    case NETPBM_OTHER_FORMAT:
      return plimsoll_unsupported_media_type(err, "the body is not a binary PGM or PPM picture (P5, P6)");
    case NETPBM_DAMAGED:
      return plimsoll_invalid_input(err, "the PGM or PPM picture is damaged: %s", problem);
    case NETPBM_OK:
      break;
  }
  if ((uint64_t)picture.width * picture.height > (uint64_t)max_pixels) {
    return plimsoll_too_large(err, "the picture has %u x %u pixels; the limit is %ld pixels", (unsigned)picture.width,
                              (unsigned)picture.height, max_pixels);
  }

  float *values = malloc((size_t)(width * height) * sizeof(float));
  ret->tensors.ptr = malloc(sizeof(plimsoll_named_tensor_t));
  if (!values || !ret->tensors.ptr) return plimsoll_too_large(err, "there is no memory for %ld x %ld values", width, height);
  float step_x = (float)picture.width / (float)width, step_y = (float)picture.height / (float)height;
  for (long y = 0; y < height; y++) {
    for (long x = 0; x < width; x++) {
      values[y * width + x] = mean(&picture, (float)x * step_x, (float)(x + 1) * step_x, (float)y * step_y,
                                   (float)(y + 1) * step_y);
    }
  }
  uint32_t shape[] = {1, 1, (uint32_t)height, (uint32_t)width};
  ret->tensors.len = 1;
  ret->tensors.ptr[0] = plimsoll_tensor_f32("image", shape, 4, values);
  free(values);

  // A point of the input is at (input - offset) / scale in the picture.
  char *context;
  int length = asprintf(&context,
                        "{\"width\":%u,\"height\":%u,\"resize\":\"stretch\",\"input_width\":%ld,\"input_height\":%ld,"
                        "\"scale_x\":%.9g,\"scale_y\":%.9g,\"offset_x\":0,\"offset_y\":0}",
                        (unsigned)picture.width, (unsigned)picture.height, width, height, 1.0 / step_x, 1.0 / step_y);
  if (length < 0) return plimsoll_internal(err, "there is no memory for the context");
  ret->context.ptr = (uint8_t *)context;
  ret->context.len = (size_t)length;
  return true;
}

bool exports_plimsoll_stage_preprocess_run(plimsoll_request_t *request, plimsoll_list_u8_t *body,
                                           plimsoll_stage_types_prepared_t *ret, plimsoll_failure_t *err) {
  bool done = prepare(body, ret, err);
  // The arguments belong to the stage.
  plimsoll_stage_types_request_free(request);
  plimsoll_list_u8_free(body);
  return done;
}
