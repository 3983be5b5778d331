// Resizes by area averaging: each output pixel is the mean of the area that it covers, so every pixel of the image
// counts, however much smaller the result is.

// Takes the size of the image, a function that writes row `y` into a Float32Array, and the size of the result. Returns
// the result, row-major. Only one row of the image is in memory as floats at a time.
export function averageArea(image, readRow, width, height) {
  const row = new Float32Array(image.width);
  const narrow = new Float32Array(width);
  const columns = spans(image.width, width);
  const rows = spans(image.height, height);
  const result = new Float32Array(width * height);

  let read = -1;
  rows.forEach((span, y) => {
    for (let source = span.first; source <= span.last; source++) {
      // Two adjacent output rows can share the row on their border; it is read only once.
      if (source !== read) {
        readRow(source, row);
        columns.forEach((column, x) => (narrow[x] = mean(row, column)));
        read = source;
      }
      const weight = covered(span, source) / (span.to - span.from);
      for (let x = 0; x < width; x++) result[y * width + x] += weight * narrow[x];
    }
  });
  return result;
}

// For each of `count` output pixels, returns the span of the `size` original pixels that it covers: from `from` to
// `to`. The pixels `first` to `last` lie in the span, fully or partly.
function spans(size, count) {
  return Array.from({ length: count }, (_, index) => {
    const from = (index * size) / count;
    const to = ((index + 1) * size) / count;
    return { from, to, first: Math.floor(from), last: Math.min(Math.ceil(to), size) - 1 };
  });
}

// The share of the original pixel `index` that lies in the span, from 0 to 1.
function covered(span, index) {
  return Math.min(span.to, index + 1) - Math.max(span.from, index);
}

// The mean of the pixels in the span. Only the first and the last pixel can be covered partly.
function mean(row, span) {
  const { first, last } = span;
  let sum = covered(span, first) * row[first];
  if (last > first) {
    for (let index = first + 1; index < last; index++) sum += row[index];
    sum += covered(span, last) * row[last];
  }
  return sum / (span.to - span.from);
}
