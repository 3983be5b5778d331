#!/usr/bin/env python3
"""Makes a wheel from a program, so that `pip install` gives the command `plimsoll`: wheel.py PLIMSOLL FOLDER."""

import base64
import hashlib
import os
import platform
import re
import subprocess
import sys
import zipfile


def main(program: str, folder: str) -> None:
    version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.split()[1]
    with open(program, "rb") as file:
        binary = file.read()
    # The newest version of the C library that the program names.
    glibc = max(int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", binary))
    tag = f"py3-none-manylinux_2_{glibc}_{platform.machine()}"
    name = f"plimsoll-{version}"
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
    with open(os.path.join(root, "README.md"), encoding="utf-8") as file:
        readme = file.read()
    with open(os.path.join(root, "LICENSE"), "rb") as file:
        license_text = file.read()
    metadata = (
        f"Metadata-Version: 2.4\nName: plimsoll\nVersion: {version}\n"
        "Summary: An inference host whose stages are WebAssembly plugins\n"
        "License-Expression: Apache-2.0\nLicense-File: LICENSE\nRequires-Python: >=3.8\n"
        f"Description-Content-Type: text/markdown\n\n{readme}"
    )
    files = [
        (f"{name}.data/scripts/plimsoll", binary, 0o755),
        (f"{name}.dist-info/METADATA", metadata.encode(), 0o644),
        (f"{name}.dist-info/WHEEL", f"Wheel-Version: 1.0\nGenerator: plimsoll\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(), 0o644),
        (f"{name}.dist-info/licenses/LICENSE", license_text, 0o644),
    ]
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"{name}-{tag}.whl")
    record = ""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file_name, content, mode in files:
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record += f"{file_name},sha256={digest},{len(content)}\n"
            add(wheel, file_name, content, mode)
        record_name = f"{name}.dist-info/RECORD"
        add(wheel, record_name, f"{record}{record_name},,\n".encode(), 0o644)
    print(path)


def add(wheel: zipfile.ZipFile, name: str, content: bytes, mode: int) -> None:
    # The same time in each wheel, so that the same program gives the same bytes.
    info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
    info.external_attr = (0o100000 | mode) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    wheel.writestr(info, content)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: wheel.py PLIMSOLL FOLDER")
    main(sys.argv[1], sys.argv[2])
