"""Runs the client examples of `host/docs/protocol.md` and README.md, and checks their output."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def examples():
    """The fenced code blocks that send a request to the server. Each id names the page."""
    found = []
    for page in ["host/docs/protocol.md", "README.md"]:
        for language, text in re.findall(r"```(python|sh)\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
            if "digits/7.jpg" in text and ("/v2/" in text or language == "python") and "/v1/" not in text:
                found.append(pytest.param(language, text, id=f"{page} {language} {len(found)}"))
    return found


EXAMPLES = examples()


def test_all_examples_are_found():
    assert len(EXAMPLES) == 5


@pytest.mark.parametrize(("language", "text"), EXAMPLES)
def test_an_example_prints_the_label_of_the_digit(address, language, text):
    shell = shutil.which("bash") or "sh"
    command = [sys.executable, "-c"] if language == "python" else [shell, "-c"]
    text = text.replace("127.0.0.1:8080", address)
    completed = subprocess.run([*command, text], cwd=ROOT, capture_output=True, timeout=60)
    assert completed.returncode == 0, completed.stderr.decode()
    assert b'"label":"7"' in completed.stdout.replace(b'\\"', b'"'), completed.stdout
