"""A file system that is read slowly: slow_files.py FOLDER PAUSE PROCESS, with the connection to /dev/fuse as file descriptor 3.

It has the files of FOLDER. Each answer to a read of at most 128 KiB takes PAUSE seconds, until FOLDER has a file named
"fast". It ends with PROCESS, which started it.
"""

import os
import select
import stat
import struct
import sys
import time

LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE, FLUSH, INIT, INTERRUPT, BATCH_FORGET = 1, 2, 3, 14, 15, 18, 25, 26, 36, 42
DIRECT_IO = 1
folder, pause, parent = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
# Inodes from 2 on; 1 is the folder.
names = []


def attributes(node):
    found = os.stat(os.path.join(folder, names[node - 2]) if node > 1 else folder)
    times = [int(found.st_mtime)] * 3
    kind = stat.S_IFDIR | 0o755 if node == 1 else stat.S_IFREG | 0o644
    return struct.pack("<6Q10I", node, found.st_size, 0, *times, 0, 0, 0, kind, 1, 0, 0, 0, 4096, 0)


def answer(operation, node, body):
    if operation == INIT:
        return struct.pack("<4I2H2I2H8I", 7, 31, 0, 0, 16, 12, 1 << 17, 1, 32, 0, *[0] * 8)
    if operation == LOOKUP:
        name = body.split(b"\0")[0].decode()
        if not os.path.exists(os.path.join(folder, name)):
            raise FileNotFoundError(2, name)
        if name not in names:
            names.append(name)
        node = names.index(name) + 2
        return struct.pack("<4Q2I", node, 0, 1, 1, 0, 0) + attributes(node)
    if operation == GETATTR:
        return struct.pack("<Q2I", 1, 0, 0) + attributes(node)
    if operation == OPEN:
        return struct.pack("<Q2I", 0, DIRECT_IO, 0)
    if operation == READ:
        _, offset, size = struct.unpack_from("<QQI", body)
        if not os.path.exists(os.path.join(folder, "fast")):
            time.sleep(pause)
        with open(os.path.join(folder, names[node - 2]), "rb") as file:
            file.seek(offset)
            return file.read(size)
    if operation in (FLUSH, RELEASE):
        return b""
    raise OSError(38, "not implemented")


while os.getppid() == parent:
    if not select.select([3], [], [], 0.5)[0]:
        continue
    try:
        request = os.read(3, 1 << 18)
    except OSError:
        # Interrupted, or unmounted.
        continue
    _, operation, unique, node = struct.unpack_from("<IIQQ", request)
    if operation in (FORGET, BATCH_FORGET, INTERRUPT):
        continue
    try:
        error, reply = 0, answer(operation, node, request[40:])
    except OSError as failed:
        error, reply = -failed.errno, b""
    try:
        os.write(3, struct.pack("<IiQ", 16 + len(reply), error, unique) + reply)
    except OSError:
        # The request was interrupted.
        continue
