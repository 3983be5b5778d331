"""Generates model outputs for the postprocess plugins, and compares the replies with references in Python.

    python tests/conformance/postprocess make SUITE OUT [--count N]
    python tests/conformance/postprocess check SUITE OUT

SUITE is a module of this folder. Its `VARIANTS` are configurations, each a dict with the key `config`, the `config` of
the stage, and `assets`, the files of the stage, if it has any. `make(random, variant)` returns tensors, a context, and what `compare`
expects; `REFUSED` instead of the latter means a reply with status 500, because a number of the model cannot be right.

OUT/index.json is a list of pipelines: `stage` (TOML) and `cases`. Case NAME has the body for the test guest
`given-tensors` in NAME.body. `tests/it/postprocess_cases.rs` posts them to the plugin in wasm and writes NAME.reply and
replies.json, with status and media type. The reference never sees the plugin's code; seeds are fixed.
"""

import argparse
import importlib
import json
from pathlib import Path

import numpy as np

from common import REFUSED, body


def cases(suite, count):
    """Each case: the index of its variant, its name, and what `make` returns."""
    for case in range(count):
        which = case % len(suite.VARIANTS)
        random = np.random.default_rng([len(suite.__name__), case])
        yield which, f"{suite.__name__}-{case}", suite.make(random, suite.VARIANTS[which])


def toml(value):
    """A value in TOML; a dict is an inline table."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


def make(suite, out, count):
    index = []
    for number, variant in enumerate(suite.VARIANTS):
        stage = f"config = {toml(variant['config'])}\n"
        if "assets" in variant:
            files = {}
            for name, data in variant["assets"].items():
                path = out.resolve() / f"{number}-{name}"
                path.write_bytes(data)
                files[name] = str(path)
            stage += f"assets = {toml(files)}\n"
        index.append({"stage": stage, "cases": []})
    for which, name, (tensors, context, _) in cases(suite, count):
        (out / f"{name}.body").write_bytes(body(tensors, context))
        index[which]["cases"].append(name)
    (out / "index.json").write_text(json.dumps(index))


def check(suite, out):
    replies = json.loads((out / "replies.json").read_text())
    wrong, refused = [], 0
    for which, name, (_, _, expected) in cases(suite, len(replies)):
        status, media_type = replies[name]
        reply = (out / f"{name}.reply").read_bytes()
        try:
            if expected is REFUSED:
                assert status == 500, f"{status} instead of 500: {reply[:200]}"
                refused += 1
            else:
                assert status == 200, f"{status}: {reply[:300]}"
                suite.compare(reply, media_type, expected, suite.VARIANTS[which])
        except Exception as error:
            wrong.append(f"{name} ({suite.VARIANTS[which]['config']}): {error!r}"[:600])
    print(f"{len(replies)} replies, of which {refused} are errors as expected; {len(wrong)} are wrong")
    print("\n".join(wrong[:20]))
    raise SystemExit(1 if wrong else 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["make", "check"])
    parser.add_argument("suite")
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=200)
    arguments = parser.parse_args()
    suite = importlib.import_module(arguments.suite)
    if arguments.action == "make":
        make(suite, arguments.out, arguments.count)
    else:
        check(suite, arguments.out)


if __name__ == "__main__":
    main()
