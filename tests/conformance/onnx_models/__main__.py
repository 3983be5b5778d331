"""Makes random ONNX models with inputs and the right outputs, to find wrong answers of the inference engine.

    python tests/conformance/onnx_models OUT [--count N] [--seed S] [--only OP]

OUT has the layout of ONNX's node tests: OUT/<name>/model.onnx and OUT/<name>/test_data_set_0/{input,output}_<i>.pb.
A name such as gen_softmax_opset11_0007 contains the operator, the opset and a number. The same seed makes the same
models, with --only as well.

The reference is onnxruntime 1.32.0 on the CPU without graph optimisations (requirements: onnx 1.23.2, onnxruntime,
numpy). Models that onnxruntime refuses are drawn again, up to ATTEMPTS times. Floats are mostly multiples of 1/16, so
that sums of products are exact and only a wrong answer differs by more than rounding errors.
"""

import argparse
import collections
import pathlib
import sys
import time

# Each of these modules registers its generators.
import arithmetic, attention, casts, control_flow, convolution, detection, elementwise, indexing  # noqa: E401,F401
import layout, lookalikes, matrices, networks, normalization, odd_sizes, pooling, quantization, random_graphs  # noqa: E401,F401
import recurrent, reductions, resampling, sequences, transformer_graphs, transforms  # noqa: E401,F401
from builder import GENERATORS, ModelBuilder, random_for
from reference import Rejected, finish, write

ATTEMPTS = 12


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, help="folder of the tests (made if absent)")
    parser.add_argument("--count", type=int, default=3000, help="number of models (default 3000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="OP", help="only this operator or kind of graph")
    parser.add_argument("--rejected", action="store_true", help="print why models were rejected")
    arguments = parser.parse_args()

    generators = sorted(GENERATORS.values(), key=lambda g: g.name)
    if arguments.only:
        generators = [g for g in generators if g.name.lower() == arguments.only.lower()]
        if not generators:
            sys.exit(f"there is no generator named {arguments.only}; known: {' '.join(sorted(GENERATORS))}")
    start = time.monotonic()
    made, operators, reasons = make_all(generators, arguments)
    if arguments.rejected:
        for (name, reason), count in sorted(reasons.items()):
            print(f"rejected {count:4} {name}: {reason}")
    print("models that contain an operator:")
    for name in sorted(operators):
        print(f"  {name:28} {operators[name]}")
    absent = [g.name for g in generators if not made[g.name]]
    if absent:
        print(f"no model made: {' '.join(absent)}")
    print(f"{sum(made.values())} models of {len(generators)} generators in {time.monotonic() - start:.0f} s")


def make_all(generators, arguments):
    """Makes the models. Each generator gets a share of `count` in proportion to its weight."""
    made, operators, reasons = collections.Counter(), collections.Counter(), collections.Counter()
    total = sum(g.weight for g in generators)
    carried = 0.0
    for generator in generators:
        carried += arguments.count * generator.weight / total
        share = round(carried)
        carried -= share
        for index in range(share):
            model = make_one(generator, index, arguments, reasons)
            if model is not None:
                made[generator.name] += 1
                operators.update(operators_of(model.graph))
    return made, operators, reasons


def make_one(generator, index, arguments, reasons):
    for attempt in range(ATTEMPTS):
        random = random_for(arguments.seed, generator.name, index, attempt)
        opset = generator.pick_opset(random)
        builder = ModelBuilder(random, opset)
        try:
            generator.build(builder, generator.name)
            model, results = finish(builder)
        except Rejected as rejected:
            reasons[generator.name, f"opset {opset} " + str(rejected)[-200:].replace("\n", " ")] += 1
            continue
        name = f"gen_{generator.name.lower()}_opset{opset}_{index:04}"
        write(arguments.out / name, model, builder, results)
        return model
    return None


def operators_of(graph):
    """The set of operators of a graph and the bodies in it."""
    found = {node.op_type for node in graph.node}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found |= operators_of(attribute.g)
    return found


if __name__ == "__main__":
    main()
