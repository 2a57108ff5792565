"""Becomes the program of its arguments, for which sockets of AF_NETLINK do not exist: `RestrictAddressFamilies=` of systemd."""

import ctypes
import os
import platform
import struct
import sys

SOCKET = {"x86_64": 41, "aarch64": 198}[platform.machine()]
AF_NETLINK, EAFNOSUPPORT = 16, 97
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, MODE_FILTER = 22, 38, 2

# seccomp_data: the number of the call is at 0, the lower half of its first argument at 16.
program = [
    (LOAD, 0, 0, 0),
    (JUMP_EQUAL, 0, 3, SOCKET),
    (LOAD, 0, 0, 16),
    (JUMP_EQUAL, 0, 1, AF_NETLINK),
    (RETURN, 0, 0, ERRNO | EAFNOSUPPORT),
    (RETURN, 0, 0, ALLOW),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
for call in [(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, MODE_FILTER, ctypes.addressof(header), 0, 0)]:
    if libc.prctl(call[0], *[ctypes.c_ulong(argument) for argument in call[1:]]) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
