"""The system calls that a program under test may make: to compute, to read files, to exit. All others fail.

So it cannot write, remove or change a file, start a process or a thread, run another program, open a connection of any
kind or signal another process: neither as root nor as a user, with or without namespaces. Calls that are not listed are
refused, including those of later kernels.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from santacoder.errors import IsolationError

# Numbers on x86-64 and on AArch64; None where AArch64 has only the newer call.
_ALLOWED: Final = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "stat": (4, None), "fstat": (5, 80), "lstat": (6, None),
    "poll": (7, None), "lseek": (8, 62), "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215),
    "brk": (12, 214), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "pread64": (17, 67), "pwrite64": (18, 68), "readv": (19, 65), "writev": (20, 66), "access": (21, None),
    "pipe": (22, None), "select": (23, None), "sched_yield": (24, 124), "mremap": (25, 216), "mincore": (27, 232),
    "madvise": (28, 233), "dup": (32, 23), "dup2": (33, None), "pause": (34, None), "nanosleep": (35, 101),
    "getitimer": (36, 102), "alarm": (37, None), "setitimer": (38, 103), "getpid": (39, 172), "exit": (60, 93),
    "sendto": (44, 206), "recvfrom": (45, 207), "shutdown": (48, 210), "uname": (63, 160),
    "getdents": (78, None), "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50),
    "readlink": (89, None), "umask": (95, 166), "gettimeofday": (96, 169), "getrlimit": (97, 163),
    "getrusage": (98, 165), "sysinfo": (99, 179), "times": (100, 153), "getuid": (102, 174), "getgid": (104, 176),
    "geteuid": (107, 175), "getegid": (108, 177), "getppid": (110, 173), "getpgrp": (111, None),
    "getgroups": (115, 158), "getresuid": (118, 148), "getresgid": (120, 150), "getpgid": (121, 155),
    "getsid": (124, 156), "rt_sigpending": (127, 136), "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133),
    "sigaltstack": (131, 132), "statfs": (137, 43), "fstatfs": (138, 44), "getpriority": (140, 141),
    "sched_getparam": (143, 121), "sched_getscheduler": (145, 120), "sched_get_priority_max": (146, 125),
    "sched_get_priority_min": (147, 126), "arch_prctl": (158, None), "gettid": (186, 178), "time": (201, None),
    "futex": (202, 98), "sched_getaffinity": (204, 123), "epoll_create": (213, None), "getdents64": (217, 61),
    "set_tid_address": (218, 96), "restart_syscall": (219, 128), "fadvise64": (221, 223), "timer_create": (222, 107),
    "timer_settime": (223, 110), "timer_gettime": (224, 108), "timer_getoverrun": (225, 109),
    "timer_delete": (226, 111), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115), "exit_group": (231, 94), "epoll_wait": (232, None), "epoll_ctl": (233, 21),
    "newfstatat": (262, 79), "readlinkat": (267, 78), "faccessat": (269, 48), "pselect6": (270, 72),
    "ppoll": (271, 73), "set_robust_list": (273, 99), "get_robust_list": (274, 100), "epoll_pwait": (281, 22),
    "timerfd_create": (283, 85), "eventfd": (284, None), "timerfd_settime": (286, 86), "timerfd_gettime": (287, 87),
    "eventfd2": (290, 19), "epoll_create1": (291, 20), "dup3": (292, 24), "pipe2": (293, 59), "preadv": (295, 69),
    "getcpu": (309, 168), "getrandom": (318, 278), "membarrier": (324, 283), "statx": (332, 291), "rseq": (334, 293),
}  # fmt: skip
_NEWER: Final = 424  # numbers from here on are the same everywhere; ENOSYS lets libraries fall back to older calls

_WRITES: Final = 0o1 | 0o2 | 0o100 | 0o1000  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC
_QUERIES: Final = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIO(N)CLEX
_STREAMS: Final = (
    1,
    0x801,
    0x80001,
    0x80801,
)  # SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC: such pairs cannot be addressed
_DESCRIPTORS: Final = (0, 1, 2, 3, 4, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC
_UNIX: Final = 1  # AF_UNIX

# Opcodes of classic BPF: load a word, compare, test bits, return. Word 0 is the call, word 4 the architecture.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _ANSWER = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _FAIL, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_ARCHITECTURES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


class _Rule(NamedTuple):
    """A call that is allowed, or refused, if an argument has one of these values (or bits).

    If `first` is not None, the call is refused unless its first argument is that value.
    """

    numbers: tuple[int | None, int | None]
    argument: int
    test: int
    values: Sequence[int]
    allowed: bool
    error: int
    first: int | None = None


_RULES: Final = (
    _Rule((2, None), 1, _ANY_BIT, (_WRITES,), False, errno.EACCES),  # open
    _Rule((257, 56), 2, _ANY_BIT, (_WRITES,), False, errno.EACCES),  # openat
    _Rule((16, 29), 1, _EQUAL, _QUERIES, True, errno.ENOTTY),  # ioctl
    _Rule((72, 25), 1, _EQUAL, _DESCRIPTORS, True, errno.EPERM),  # fcntl
    _Rule((53, 199), 1, _EQUAL, _STREAMS, True, errno.EPERM, _UNIX),  # socketpair: asyncio needs one
    _Rule((302, 261), 0, _EQUAL, (0,), True, errno.EPERM),  # prlimit64: of the process itself
)


def filter_program(machine: str | None = None) -> bytes:
    """Assemble the seccomp filter, an array of `struct sock_filter`, for a machine named as by `platform.machine()`.

    Raises:
        IsolationError: the architecture is unknown, or the system has no such filter.
    """
    if (system := platform.system()) != "Linux":
        raise IsolationError(f"programs cannot be isolated on {system or 'this system'}: only on Linux")
    machine = platform.machine() if machine is None else machine
    if machine not in _ARCHITECTURES:
        raise IsolationError(f"programs cannot be isolated on {machine or 'this machine'}: only on x86_64 and aarch64")
    column, audit = _ARCHITECTURES[machine]
    code = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, audit), (_ANSWER, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    for rule in _RULES:
        number = rule.numbers[column]
        if number is not None:
            code += _rule(number, rule)
    for numbers in _ALLOWED.values():
        number = numbers[column]
        if number is not None:
            code += [(_EQUAL, 0, 1, number), (_ANSWER, 0, 0, _ALLOW)]
    code += [(_AT_LEAST, 0, 1, _NEWER), (_ANSWER, 0, 0, _FAIL | errno.ENOSYS), (_ANSWER, 0, 0, _FAIL | errno.EPERM)]
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)


def _rule(number: int, rule: _Rule) -> list[tuple[int, int, int, int]]:
    """Assemble the instructions that decide this call; for any other they change nothing."""
    matches, differs = (_ALLOW, _FAIL | rule.error) if rule.allowed else (_FAIL | rule.error, _ALLOW)
    body = []
    if rule.first is not None:
        body += [(_LOAD, 0, 0, 16), (_EQUAL, 1, 0, rule.first), (_ANSWER, 0, 0, _FAIL | rule.error)]
    body.append((_LOAD, 0, 0, 16 + 8 * rule.argument))  # the lower half of an argument
    for index, value in enumerate(rule.values):
        body.append((rule.test, len(rule.values) - index, 0, value))
    body += [(_ANSWER, 0, 0, differs), (_ANSWER, 0, 0, matches)]
    return [(_EQUAL, 0, len(body), number), *body]
