"""Runs a program, usually valgrind, in which the kernel does not tell where the vDSO is.

    python3 tests/benches/gate/valgrind.py valgrind --tool=callgrind PROGRAM ...

valgrind unmaps the vDSO of the program, and removes its address from the auxiliary vector. Crates that ask the kernel for
that vector (`prctl` with `PR_GET_AUXV`; rustix does) still get the address, and crash when they read there. Here a seccomp
filter answers this one call with EINVAL, and they read `/proc/self/auxv` instead, which valgrind corrects.
"""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
PR_SET_NO_NEW_PRIVS = 38
PR_GET_AUXV = 0x41555856
EINVAL = 22
# Offsets in `struct seccomp_data`, and the number of `prctl` on x86-64.
NUMBER, FIRST_ARGUMENT, PRCTL = 0, 16, 157
# Instructions of classic BPF: load a word, skip instructions unless equal, return.
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERROR = 0x7FFF0000, 0x00050000


def instruction(code, if_true, if_false, operand):
    return struct.pack("HBBI", code, if_true, if_false, operand)


def main():
    program = b"".join(
        [
            instruction(LOAD, 0, 0, NUMBER),
            instruction(EQUAL, 0, 3, PRCTL),
            instruction(LOAD, 0, 0, FIRST_ARGUMENT),
            instruction(EQUAL, 0, 1, PR_GET_AUXV),
            instruction(RETURN, 0, 0, ERROR | EINVAL),
            instruction(RETURN, 0, 0, ALLOW),
        ]
    )
    buffer = ctypes.create_string_buffer(program, len(program))

    class Filter(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]

    code = Filter(len(program) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(code)):
        sys.exit(f"the seccomp filter is refused: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[1], sys.argv[1:])


main()
