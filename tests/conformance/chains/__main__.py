"""Generates pictures for pipelines of several models, and compares the replies with the same chain in Python.

    python tests/conformance/chains make SUITE OUT [MODELS]
    python tests/conformance/chains check SUITE OUT [MODELS]

SUITE is a module of this folder, MODELS the folder of models that it needs, if it does not make them itself. `make(out,
models)` writes models and pictures, and returns the names of the pictures. `tests/it/chains.rs` posts each picture and writes
the reply to NAME.json. `check(out, models, name, reply)` raises an error if the reply is not that of the chain in Python, which
uses Pillow and onnxruntime and never sees the code of the plugins. `finish()`, if there is one, raises an error if the pictures
together did not show what they should.
"""

import argparse
import importlib
import json
from pathlib import Path


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["make", "check"])
    parser.add_argument("suite")
    parser.add_argument("out", type=Path)
    parser.add_argument("models", type=Path, nargs="?")
    arguments = parser.parse_args()
    suite = importlib.import_module(arguments.suite)
    index = arguments.out / "index.json"
    if arguments.action == "make":
        index.write_text(json.dumps(suite.make(arguments.out, arguments.models)))
        return
    wrong = []
    for name in json.loads(index.read_text()):
        try:
            reply = json.loads((arguments.out / f"{name}.json").read_text())
            print(name, suite.check(arguments.out, arguments.models, name, reply))
        except Exception as error:
            wrong.append(f"{name}: {error!r}"[:1500])
    if not wrong and hasattr(suite, "finish"):
        suite.finish()
    print("\n".join(wrong))
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
