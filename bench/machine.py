"""What the machine gives: fsync rate, CPU time and memory of processes."""

import os
import time
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def fsyncs_per_second(folder: Path, *, seconds: float = 1.0) -> float:
    """How many 8 kB appends this disk makes durable in a second: the limit of ungrouped commits."""
    path = folder / "fsync.probe"
    block = b"x" * 8192
    count = 0
    with path.open("wb", buffering=0) as file:
        stop_at = time.perf_counter() + seconds
        while time.perf_counter() < stop_at:
            file.write(block)
            os.fdatasync(file.fileno())
            count += 1
    path.unlink()
    return count / seconds


def cpu_seconds(pid: int) -> float:
    """User and system time of `pid` and of those of its descendants that still live."""
    return sum(own_cpu_seconds(each) for each in family(pid))


def peak_memory_mb(pid: int) -> float:
    """The largest resident size that `pid` has had, in MB (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def family(pid: int) -> list[int]:
    """`pid` and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def own_cpu_seconds(pid: int) -> float:
    """User and system time of `pid` alone."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND if fields else 0.0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name: state, parent, …; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
