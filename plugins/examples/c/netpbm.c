#include "netpbm.h"

// The bytes that are not read yet.
typedef struct {
  const uint8_t *at, *end;
} reader_t;

static bool is_space(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

// Reads a number after white space and comments, which go from `#` to the end of the line. 0 if there is none, or it is
// larger than `maximum`.
static uint32_t number(reader_t *reader, uint32_t maximum) {
  while (reader->at < reader->end && (is_space(*reader->at) || *reader->at == '#')) {
    if (*reader->at++ == '#') {
      while (reader->at < reader->end && *reader->at != '\n' && *reader->at != '\r') reader->at++;
    }
  }
  uint32_t value = 0;
  while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9') {
    value = value * 10 + (uint32_t)(*reader->at++ - '0');
    if (value > maximum) return 0;
  }
  return value;
}

netpbm_result_t netpbm_read(const uint8_t *body, size_t length, picture_t *picture, const char **problem) {
  if (length < 3 || body[0] != 'P' || (body[1] != '5' && body[1] != '6') || !is_space(body[2])) {
    return NETPBM_OTHER_FORMAT;
  }
  reader_t reader = {body + 2, body + length};
  picture->channels = body[1] == '5' ? 1 : 3;
  picture->width = number(&reader, 1u << 20);
  picture->height = number(&reader, 1u << 20);
  picture->white = number(&reader, 65535);
  // One byte of white space separates the header from the samples.
  if (!picture->width || !picture->height || !picture->white || reader.at == reader.end || !is_space(*reader.at)) {
    *problem = "the header has no size and largest sample";
    return NETPBM_DAMAGED;
  }
  picture->samples = reader.at + 1;
  uint64_t bytes = (uint64_t)picture->width * picture->height * picture->channels * (picture->white > 255 ? 2 : 1);
  if ((uint64_t)(reader.end - picture->samples) < bytes) {
    *problem = "the picture is cut off";
    return NETPBM_DAMAGED;
  }
  return NETPBM_OK;
}

static float sample(const picture_t *picture, size_t index) {
  const uint8_t *bytes = picture->samples;
  uint32_t value = picture->white > 255 ? (uint32_t)bytes[2 * index] << 8 | bytes[2 * index + 1] : bytes[index];
  // A sample above white is invalid. It is taken as white, so that it stays in the range that the model knows.
  return value < picture->white ? (float)value / (float)picture->white : 1.0f;
}

float netpbm_grey(const picture_t *picture, uint32_t x, uint32_t y) {
  size_t index = ((size_t)y * picture->width + x) * picture->channels;
  if (picture->channels == 1) return sample(picture, index);
  return 0.299f * sample(picture, index) + 0.587f * sample(picture, index + 1) + 0.114f * sample(picture, index + 2);
}
