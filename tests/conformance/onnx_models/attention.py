"""Attention and rotary embeddings as single operators."""

import numpy as np

from builder import operator


@operator("Attention", weight=5)
def attention(b, name):
    batch, kv_heads, length, total = b.integer(1, 2), b.integer(1, 2), b.integer(1, 4), b.integer(1, 4)
    heads, width, value_width = kv_heads * b.pick(1, 1, 2), b.integer(1, 4), b.integer(1, 4)
    if b.chance(0.5):
        value_width = width
    attributes = b.some(0.35, scale=b.pick(0.25, 1.0), is_causal=b.integer(0, 1), softcap=b.pick(0.0, 2.0))
    if b.chance(0.4):
        shapes = [[batch, length, heads * width], [batch, total, kv_heads * width],
                  [batch, total, kv_heads * value_width]]
        attributes.update(q_num_heads=heads, kv_num_heads=kv_heads)
    else:
        shapes = [[batch, heads, length, width], [batch, kv_heads, total, width], [batch, kv_heads, total, value_width]]
    inputs = [b.data(b.values(s, low=-2, high=2)) for s in shapes]
    past = b.integer(1, 3) if b.chance(0.3) else 0
    mask = ""
    if b.chance(0.4):
        shape = b.pick([length, total + past], [batch, 1, length, total + past], [1, 1, length, total + past],
                       [batch, heads, length, total + past])
        if b.chance(0.5):
            allowed = b.values(shape, "bool")
            allowed[..., 0] = True  # at least one key is visible
            mask = b.tensor(allowed)
        else:
            mask = b.tensor(b.values(shape))
    outputs = 1
    if past:
        inputs += [mask, b.tensor(b.values([batch, kv_heads, past, width])),
                   b.tensor(b.values([batch, kv_heads, past, value_width]))]
        outputs = 3
    elif mask:
        inputs.append(mask)
    if b.chance(0.2):
        outputs = [True, bool(past), bool(past), True]
        attributes.update(b.some(0.8, qk_matmul_output_mode=b.integer(0, 3)))
    b.single(name, inputs, outputs, **attributes)


@operator("RotaryEmbedding", weight=3)
def rotary_embedding(b, name):
    batch, heads, length, width = b.integer(1, 2), b.integer(1, 3), b.integer(1, 4), 2 * b.integer(1, 4)
    attributes = b.some(0.5, interleaved=b.integer(0, 1))
    rotary = width
    if b.chance(0.3) and width > 2:
        rotary = 2
        attributes["rotary_embedding_dim"] = rotary
    if b.chance(0.4):
        x = b.values([batch, length, heads * width])
        attributes["num_heads"] = heads
    else:
        x = b.values([batch, heads, length, width])
    positions = 6
    with_positions = b.chance(0.6)
    cache = [positions, rotary // 2] if with_positions else [batch, length, rotary // 2]
    angles = b.random.random(cache) * 3
    inputs = [b.data(x), b.tensor(np.cos(angles).astype("float32")), b.tensor(np.sin(angles).astype("float32"))]
    if with_positions:
        inputs.append(b.tensor(b.random.integers(0, positions, [batch, length])))
    b.single(name, inputs, **attributes)
