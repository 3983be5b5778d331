"""Builds one random ONNX model together with the values of its inputs.

A generator (a function marked with `operator` or `graph`) receives a `ModelBuilder`, draws values and attributes from
it, and adds nodes. Everything random comes from `builder.random`, so a model depends only on its seed.
"""

import zlib

import numpy as np
import onnx
from onnx import helper, numpy_helper

OLDEST_OPSET = 7
NEWEST_OPSET = 28  # the newest opset that onnxruntime 1.32.0 loads
USUAL_OPSETS = (9, 11, 12, 13, 14, 15, 16, 17, 18, 20)  # that exporters write today or wrote for years

NAMES_IN_SCHEMAS = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16", "tensor(int32)": "int32",
    "tensor(int64)": "int64", "tensor(uint8)": "uint8", "tensor(int8)": "int8", "tensor(bool)": "bool",
}
# How often a type is drawn if an operator accepts it.
WEIGHTS = {"float32": 40, "int64": 12, "int32": 10, "uint8": 6, "int8": 6, "bool": 5, "float64": 5, "float16": 5}

GENERATORS = {}  # name -> Generator


class Generator:
    def __init__(self, name, build, weight, since, until, is_graph):
        self.name, self.build, self.weight = name, build, weight
        self.since, self.until, self.is_graph = since, until, is_graph

    def opset_ranges(self):
        """Ranges of opsets (first, last) between which the meaning of the operator does not change."""
        first, last = max(self.since, OLDEST_OPSET), min(self.until, NEWEST_OPSET)
        if self.is_graph:
            return [(first, last)]
        starts = [s.since_version for s in SCHEMAS[self.name] if s.since_version <= last]
        ends = [start - 1 for start in starts[1:]] + [last]
        ranges = [(max(a, first), min(b, last)) for a, b in zip(starts, ends)]
        deprecated = {s.since_version for s in SCHEMAS[self.name] if s.deprecated}
        return [r for r in ranges if r[0] <= r[1] and r[0] not in deprecated]

    def pick_opset(self, random):
        """An opset, most often the first or the last in which one version of the operator applies."""
        ranges = self.opset_ranges()
        if self.is_graph:
            first, last = ranges[0]
            usual = [opset for opset in USUAL_OPSETS if first <= opset <= last]
            if random.random() < 0.6:
                return usual[random.integers(len(usual))]
            return int(random.integers(first, last + 1))
        first, last = ranges[random.integers(len(ranges))]
        kind = random.random()
        return first if kind < 0.45 else last if kind < 0.7 else int(random.integers(first, last + 1))


def all_schemas():
    schemas = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            schemas.setdefault(schema.name, []).append(schema)
    return {name: sorted(versions, key=lambda s: s.since_version) for name, versions in schemas.items()}


SCHEMAS = all_schemas()


def operator(*names, weight=1.0, since=OLDEST_OPSET, until=NEWEST_OPSET):
    """Marks `build(builder, name)` as the generator of models for each of the operators `names`."""
    def register(build):
        for name in names:
            assert name not in GENERATORS and name in SCHEMAS, name
            GENERATORS[name] = Generator(name, build, weight, since, until, is_graph=False)
        return build
    return register


def graph(name, weight=1.0, since=OLDEST_OPSET, until=NEWEST_OPSET):
    """Marks `build(builder)` as the generator of graphs of several operators."""
    def register(build):
        assert name not in GENERATORS, name
        GENERATORS[name] = Generator(name, lambda builder, _: build(builder), weight, since, until, is_graph=True)
        return build
    return register


def random_for(seed, name, index, attempt):
    return np.random.default_rng([seed, zlib.crc32(name.encode()), index, attempt])


class ModelBuilder:
    """One graph under construction. `parent` is set for the body of If, Loop and Scan."""

    def __init__(self, random, opset, parent=None):
        self.random, self.opset, self.parent = random, opset, parent
        self.nodes, self.initializers, self.outputs = [], [], []
        self.inputs = {}  # name -> value (body: type and shape of the value)
        self.counter = parent.counter if parent else [0]
        self.names_nodes = parent.names_nodes if parent else self.chance(0.5)
        self.has_dynamic_shapes = False if parent else self.chance(0.25)
        self.shares_dimensions = self.has_dynamic_shapes and self.chance(0.5)  # equal sizes get equal names
        self.has_one_name = False  # True: all dimensions of all inputs have one name, whatever their sizes
        self.is_conditioned = False  # True: check that a small change of the inputs changes the outputs little

    # Random choices

    def chance(self, probability):
        return bool(self.random.random() < probability)

    def pick(self, *options):
        return options[self.random.integers(len(options))]

    def integer(self, low, high):
        """An integer from low to high, both included."""
        return int(self.random.integers(low, high + 1))

    def integers(self, low, high, count):
        return [self.integer(low, high) for _ in range(count)]

    def shape(self, low=1, high=4, size=5):
        """A shape of `low` to `high` dimensions of 1 to `size` elements; sometimes all dimensions are equal.

        With equal dimensions an operator that takes the wrong axis does not fail, but answers wrongly.
        """
        rank = self.integer(low, high)
        return [self.integer(2, size)] * rank if self.chance(0.2) and size > 1 else self.integers(1, size, rank)

    def some(self, probability=0.6, **attributes):
        """Each attribute with the given probability, so that defaults are tested as well."""
        return {name: value for name, value in attributes.items() if self.chance(probability)}

    def axis(self, rank):
        return self.integer(-rank, rank - 1)

    def distinct_axes(self, rank, count=None):
        """Distinct axes in random order, some of them negative."""
        count = self.integer(1, rank) if count is None else count
        axes = self.random.permutation(rank)[:count]
        return [int(a) - rank if self.chance(0.3) else int(a) for a in axes]

    def pick_type(self, operator, position=0, allowed=tuple(WEIGHTS)):
        """An element type that the operator accepts for the input at `position` in this opset."""
        schema = onnx.defs.get_schema(operator, self.opset)
        types = {NAMES_IN_SCHEMAS[t] for t in schema.inputs[position].types if t in NAMES_IN_SCHEMAS}
        types = [t for t in WEIGHTS if t in types and t in allowed]
        weights = np.array([WEIGHTS[t] for t in types], float)
        return types[self.random.choice(len(types), p=weights / weights.sum())]

    # Values

    def values(self, shape, dtype="float32", low=None, high=None):
        """Random values. Floats are multiples of 1/16 (float16: 1/4), so short sums of products are exact."""
        dtype, shape = np.dtype(dtype), tuple(shape)
        if dtype == np.bool_:
            return self.random.random(shape) < 0.5
        low = (0 if dtype.kind == "u" else -4 if dtype.kind == "f" else -10) if low is None else low
        high = (4 if dtype.kind == "f" else 20 if dtype.kind == "u" else 10) if high is None else high
        if dtype.kind == "f":
            steps = 4 if dtype == np.float16 else 16
            return np.asarray(self.random.integers(int(low * steps), int(high * steps) + 1, shape) / steps, dtype)
        return np.asarray(self.random.integers(low, high + 1, shape), dtype)

    def special_values(self, shape, dtype="float32"):
        """Values among which are NaN, infinities, signed zeros (floats), or the extremes of the type (integers)."""
        values = self.values(shape, dtype)
        if values.dtype.kind == "b":
            return values
        if values.dtype.kind == "f":
            special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, -1.5]
        else:
            info = np.iinfo(values.dtype)
            special = [info.max, info.min, 0, 1, info.max - 1]
        chosen = self.random.random(values.shape) < 0.4
        picks = np.array(special, values.dtype)[self.random.integers(len(special), size=values.shape)]
        return np.asarray(np.where(chosen, picks, values), values.dtype)

    # Graph

    def name(self, prefix="t"):
        self.counter[0] += 1
        return f"{prefix}{self.counter[0]}"

    def input(self, value):
        """A graph input with this value. A body has no inputs of its own choice: there it is a constant."""
        if self.parent:
            return self.constant(value)
        name = self.name("x")
        self.inputs[name] = np.asarray(value)
        return name

    def constant(self, value):
        """An initializer, or the output of a Constant node."""
        name, value = self.name("c"), np.asarray(value)
        if self.chance(0.25):
            self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value)))
        else:
            self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def data(self, value):
        """A tensor to compute with: mostly a graph input."""
        return self.input(value) if self.chance(0.85) else self.constant(value)

    def tensor(self, value):
        """A second operand: half of them graph inputs."""
        return self.input(value) if self.chance(0.5) else self.constant(value)

    def parameter(self, value, dtype="int64"):
        """Axes, shapes and the like: mostly constant."""
        value = np.asarray(value, dtype)
        return self.constant(value) if self.chance(0.85) else self.input(value)

    def node(self, operator, inputs, outputs=1, **attributes):
        """Adds a node. `outputs` is a number, or a list that says which optional outputs are present."""
        present = [True] * outputs if isinstance(outputs, int) else outputs
        names = [self.name() if is_present else "" for is_present in present]
        node_name = self.name("node") if self.names_nodes else ""
        # onnx cannot tell the type of an empty list.
        attributes = {name: value for name, value in attributes.items() if value != []}
        self.nodes.append(helper.make_node(operator, inputs, names, node_name, **attributes))
        return names[0] if len(names) == 1 else names

    def output(self, *names):
        """Marks tensors as outputs of the graph."""
        self.outputs += [name for name in names if name and name not in self.outputs]

    def single(self, operator, inputs, outputs=1, **attributes):
        """A node whose outputs are the outputs of the graph."""
        names = self.node(operator, inputs, outputs, **attributes)
        self.output(*([names] if isinstance(names, str) else names))

    def body(self):
        """A builder for the body of If, Loop or Scan. It may use the tensors of this graph."""
        return ModelBuilder(self.random, self.opset, self)

    def body_input(self, dtype, shape):
        name = self.name("x")
        self.inputs[name] = (dtype, shape)
        return name

    def body_graph(self, output_type=None):
        inputs = [describe(name, dtype, shape) for name, (dtype, shape) in self.inputs.items()]
        outputs = [describe(name, output_type, None) if output_type else helper.make_empty_tensor_value_info(name)
                   for name in self.outputs]
        return helper.make_graph(self.nodes, self.name("body"), inputs, outputs, self.initializers)

    def model(self, results=None):
        """The model. With `results` (the values of the outputs), the outputs are declared with type and shape."""
        inputs = [describe(name, v.dtype, self.declared_shape(name, v.shape)) for name, v in self.inputs.items()]
        if results is None:
            outputs = [helper.make_empty_tensor_value_info(name) for name in self.outputs]
        else:
            outputs = [describe(name, result.dtype, self.declared_shape(name, result.shape))
                       for name, result in zip(self.outputs, results)]
        made = helper.make_graph(self.nodes, "generated", inputs, outputs, self.initializers)
        opsets = [helper.make_opsetid("", self.opset)]
        ir = max(helper.find_min_ir_version_for(opsets), 8)
        return helper.make_model(made, opset_imports=opsets, ir_version=ir, producer_name="plimsoll-tests")

    def declared_shape(self, name, shape):
        """The shape, or one with named dimensions if the model has dynamic shapes."""
        if self.has_one_name:
            return ["size"] * len(shape) if name in self.inputs else [f"{name}_{i}" for i in range(len(shape))]
        if not self.has_dynamic_shapes:
            return list(shape)
        if self.shares_dimensions:
            return [f"size{size}" for size in shape]
        return [f"{name}_{i}" if (zlib.crc32(name.encode()) >> i) % 3 else size for i, size in enumerate(shape)]


def describe(name, dtype, shape):
    element_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, element_type, shape)
