//! Converts resized luma and chroma to red, green and blue.

/// Elements computed per loop iteration. A larger number saves time, because compiled WebAssembly checks its deadline
/// in every iteration.
pub(super) const CHUNK: usize = 16;

/// Converts luma and chroma to red, green and blue, as defined by JFIF.
pub(super) fn ycbcr_to_rgb(rgb: [&mut [f32]; 3], [y, cb, cr]: [&[f32]; 3]) {
    let pixel = |y: f32, cb: f32, cr: f32| colour_of(y, cb, cr).map(clamp_to_byte);
    let [r, g, b] = rgb.map(|channel| channel.as_chunks_mut::<CHUNK>());
    let [y, cb, cr] = [y, cb, cr].map(|channel| channel.as_chunks::<CHUNK>());
    for (((r, g), b), ((y, cb), cr)) in r.0.iter_mut().zip(g.0).zip(b.0).zip(y.0.iter().zip(cb.0).zip(cr.0)) {
        for at in 0..CHUNK {
            [r[at], g[at], b[at]] = pixel(y[at], cb[at], cr[at]);
        }
    }
    for (((r, g), b), ((y, cb), cr)) in r.1.iter_mut().zip(g.1).zip(b.1).zip(y.1.iter().zip(cb.1).zip(cr.1)) {
        [*r, *g, *b] = pixel(*y, *cb, *cr);
    }
}

/// Like [`ycbcr_to_rgb`], but red, green and blue are added to `added` before they are clamped.
pub(super) fn add_ycbcr(rgb: [&mut [f32]; 3], ycbcr: [&[f32]; 3], added: [&[f32]; 3]) {
    let [r, g, b] = rgb.map(|channel| channel.as_chunks_mut::<CHUNK>());
    let [y, cb, cr] = ycbcr.map(|channel| channel.as_chunks::<CHUNK>());
    let added = added.map(|channel| channel.as_chunks::<CHUNK>());
    let whole = added[0].0.iter().zip(added[1].0).zip(added[2].0);
    for ((((r, g), b), ((y, cb), cr)), ((red, green), blue)) in
        r.0.iter_mut().zip(g.0).zip(b.0).zip(y.0.iter().zip(cb.0).zip(cr.0)).zip(whole)
    {
        for at in 0..CHUNK {
            let colour = colour_of(y[at], cb[at], cr[at]);
            r[at] = clamp_to_byte(colour[0] + red[at]);
            g[at] = clamp_to_byte(colour[1] + green[at]);
            b[at] = clamp_to_byte(colour[2] + blue[at]);
        }
    }
    let rest = added[0].1.iter().zip(added[1].1).zip(added[2].1);
    for ((((r, g), b), ((y, cb), cr)), ((red, green), blue)) in
        r.1.iter_mut().zip(g.1).zip(b.1).zip(y.1.iter().zip(cb.1).zip(cr.1)).zip(rest)
    {
        let colour = colour_of(*y, *cb, *cr);
        *r = clamp_to_byte(colour[0] + red);
        *g = clamp_to_byte(colour[1] + green);
        *b = clamp_to_byte(colour[2] + blue);
    }
}

/// Red, green and blue before they are clamped.
#[inline(always)]
fn colour_of(y: f32, cb: f32, cr: f32) -> [f32; 3] {
    let (cb, cr) = (cb - 128.0, cr - 128.0);
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb]
}

pub(super) fn clamp_to_byte(value: f32) -> f32 {
    // Two comparisons, because vector instructions exist for them; `clamp` would also handle NaN, which does not occur.
    let value = if value < 0.0 { 0.0 } else { value };
    if value > 255.0 { 255.0 } else { value }
}
