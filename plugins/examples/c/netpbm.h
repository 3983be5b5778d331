// Reads binary Netpbm pictures: PGM (`P5`) and PPM (`P6`), see https://netpbm.sourceforge.net/doc/pgm.html.
#ifndef NETPBM_H
#define NETPBM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A picture in the bytes of a body.
typedef struct {
  uint32_t width, height;
  // The sample that is white, from 1 to 65535. Above 255 a sample has two bytes, the more significant one first.
  uint32_t white;
  // 1 for PGM, 3 for PPM.
  uint32_t channels;
  const uint8_t *samples;
} picture_t;

typedef enum { NETPBM_OK, NETPBM_OTHER_FORMAT, NETPBM_DAMAGED } netpbm_result_t;

// Finds the picture in a body. `*problem` says what is damaged.
netpbm_result_t netpbm_read(const uint8_t *body, size_t length, picture_t *picture, const char **problem);

// The grey value of a pixel, from 0 (black) to 1 (white). Colours are weighted as in ITU-R BT.601.
float netpbm_grey(const picture_t *picture, uint32_t x, uint32_t y);

#endif
