"""Products of matrices: MatMul, Gemm, Einsum, and Det."""

import numpy as np

from builder import operator


def matmul_shapes(b):
    """Shapes of both operands: vectors, matrices and broadcast batches."""
    m, k, n = b.integer(1, 5), b.integer(1, 6), b.integer(1, 5)
    batch = b.shape(0, 3, 3)
    left_batch = [1 if b.chance(0.25) else s for s in batch][b.integer(0, len(batch)) if b.chance(0.4) else 0:]
    right_batch = [1 if b.chance(0.25) else s for s in batch][b.integer(0, len(batch)) if b.chance(0.4) else 0:]
    left, right = [*left_batch, m, k], [*right_batch, k, n]
    if b.chance(0.15):
        left = [k]
    if b.chance(0.15):
        right = [k]
    return left, right


@operator("MatMul", weight=5)
def matmul(b, name):
    dtype = b.pick_type(name)
    left, right = matmul_shapes(b)
    scale = 100_000 if dtype == "int64" and b.chance(0.4) else None
    values = [b.values(s, dtype, -scale if scale else None, scale) for s in (left, right)]
    b.single(name, [b.data(values[0]), b.tensor(values[1])])


@operator("Gemm", weight=4)
def gemm(b, name):
    dtype = b.pick_type(name)
    m, k, n = b.integer(1, 5), b.integer(1, 6), b.integer(1, 5)
    attributes = b.some(0.5, transA=b.integer(0, 1), transB=b.integer(0, 1), alpha=b.pick(0.5, 2.0, 0.0),
                        beta=b.pick(0.5, 2.0, 0.0))
    if np.dtype(dtype).kind != "f":
        attributes.pop("alpha", None), attributes.pop("beta", None)
    left = [k, m] if attributes.get("transA") else [m, k]
    right = [n, k] if attributes.get("transB") else [k, n]
    inputs = [b.data(b.values(left, dtype)), b.tensor(b.values(right, dtype))]
    if b.opset < 11 or b.chance(0.7):
        shape = b.pick([n], [m, n], [1, n], [m, 1], [1], [], [1, 1])
        inputs.append(b.tensor(b.values(shape, dtype)))
    elif b.chance(0.2):
        inputs.append("")
    b.single(name, inputs, **attributes)


EQUATIONS = [
    "ij,jk->ik", "ij,jk", "bij,bjk->bik", "ij->ji", "ij->", "ij->i", "ij->j", "ii->i", "ii->", "ii", "i,i->",
    "i,j->ij",
    "bhid,bhjd->bhij", "bhij,bhjd->bhid", "...ij,...jk->...ik", "...ii->...i", "ij,kj->ik", "abc,cd->abd",
    "ba,cd->acbd",
    "ij,ij->ij", "bij,bij->b", "i,ij,j->", "ab,bc,cd->ad", "abc->cab", "bqhd,bkhd->bhqk", "nctkv,kvw->nctw", "ab,b->a",
    "i j , j k -> i k", "a,ab,abc->abc", "ijk,jil->kl", "...,...->...", "bi,bj->bij", "...a->a...", "ba",
]


@operator("Einsum", weight=5)
def einsum(b, name):
    dtype = b.pick_type(name, allowed=("float32", "float64", "int32", "int64"))
    equation = EQUATIONS[b.integer(0, len(EQUATIONS) - 1)]
    sizes = {letter: b.integer(1, 4) for letter in equation if letter.isalpha()}
    batch = b.shape(0, 2, 3)
    inputs = []
    for term in equation.split("->")[0].replace(" ", "").split(","):
        shape = []
        for part in term.replace("...", "*"):
            shape += batch if part == "*" else [sizes[part]]
        inputs.append(b.tensor(b.values(shape, dtype)))
    b.single(name, inputs, equation=equation)


@operator("Det", weight=0.7)
def determinant(b, name):
    size = b.integer(1, 4)
    shape = [*b.shape(0, 2, 2), size, size]
    b.single(name, [b.data((b.values(shape, low=-1, high=1) + 3 * np.eye(size)).astype("float32"))])
