"""Run benchmarks by name, or all of them: `python -m benchmarks [--quick] [NAME …]`."""

from __future__ import annotations

import argparse
import platform
import sys
import time

from benchmarks import (
    crowd,
    first_token_streamed,
    json_partial,
    ledger_growth,
    memory,
    partials,
    readers,
    server,
    sinks,
    startup,
    stop,
    tokens,
)

BENCHMARKS = {
    "startup": startup.run,
    "tokens": tokens.run,
    "server": server.run,
    "readers": readers.run,
    "json": json_partial.run,
    "partials": partials.run,
    "crowd": crowd.run,
    "stop": stop.run,
    "memory": memory.run,
    "ledger": ledger_growth.run,
    "chat": first_token_streamed.run,
    "sinks": sinks.run,
}


def main() -> int:
    """Run what was asked for; 1 when a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no installing of peers: a minute")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - BENCHMARKS.keys())
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    print(
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {time.strftime('%F %H:%M')}"
    )
    missed = 0
    for name in given.names or BENCHMARKS:
        began = time.monotonic()
        print(f"\n{name}", flush=True)
        for row in BENCHMARKS[name](quick=given.quick):
            print(f"  {row}", flush=True)
            missed += not row.reached
        print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"\n{f'{missed} targets missed' if missed else 'every target reached'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
