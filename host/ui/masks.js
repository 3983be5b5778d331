// Masks of segments in the compressed form of COCO.

import { el } from '/console/dom.js';

// The lengths of the runs, alternately outside and inside of the segment, by columns.
export function runs(counts) {
  const lengths = [];
  for (let at = 0; at < counts.length;) {
    let [value, bits, code] = [0, 0, 0];
    do {
      code = counts.charCodeAt(at++) - 48;
      value |= (code & 31) << bits;
      bits += 5;
    } while (code & 32 && at < counts.length);
    if (code & 16) value |= -1 << bits;
    lengths.push(lengths.length > 2 ? value + lengths[lengths.length - 2] : value);
  }
  return lengths;
}

const MAX_PIXELS = 2 ** 26;
// Pixels of all segments together. They may overlap.
const MAX_DRAWN = 2 ** 28;

// A picture of the segments over the image. `segments` are `[segment, colour]`, `colours` are `[red, green, blue]`.
export function mask(segments, width, height, colours) {
  const isSize = (side) => Number.isInteger(side) && side > 0;
  if (!isSize(width) || !isSize(height) || width * height > MAX_PIXELS) throw new Error('no size of a picture');
  const canvas = el('canvas', { class: 'mask', width, height, role: 'img', 'aria-label': `The masks of ${segments.length} segments` });
  const context = canvas.getContext('2d');
  const picture = context.createImageData(width, height);
  let left = MAX_DRAWN;
  segments.forEach(([{ rle }, colour]) => {
    let place = 0;
    runs(rle.counts).forEach((length, turn) => {
      const end = Math.min(place + Math.max(0, length), width * height);
      if (turn % 2 === 1) {
        left -= end - place;
        if (left < 0) throw new Error('too many pixels of segments');
        for (; place < end; place += 1) {
          const pixel = 4 * ((place % height) * width + Math.floor(place / height));
          picture.data.set([...colours[colour], 255], pixel);
        }
      }
      place = end;
    });
  });
  context.putImageData(picture, 0, 0);
  return canvas;
}
