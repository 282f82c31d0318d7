"""Measure tdro on one GPU, in parts that end within their minutes; see README.md beside this file.

python3 benchmarks/gpu/run.py right fast --out OUT
python3 benchmarks/gpu/run.py result --out OUT --work runs/gpu
python3 benchmarks/gpu/run.py right fast result --out OUT --rehearse     # in small, on a CPU; its figures mean nothing
python3 benchmarks/gpu/run.py right fast result --out OUT --rehearse --device cuda:0     # the same on the GPU
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))  # for what these share with the other benchmarks

from fast import find_fast
from part import Part
from result import find_result
from right import find_right
from rows import Rows
from sizes import real_sizes, rehearsal_sizes

from tdro.console import quiet_libraries
from tdro.errors import UserError
from tdro.machine import this_machine

MINUTES = {"right": 2.0, "fast": 5.0, "result": 7.0}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the parts that are named, one after the other; 1 if a finding is wrong or an error."""
    options = _parsed(arguments)
    quiet_libraries()
    device = options.device or ("cpu" if options.rehearse else "cuda:0")
    machine = this_machine(device, "fp32" if device == "cpu" else "auto")
    if machine.device == "cpu" and not options.rehearse:
        raise UserError("torch sees no GPU; --rehearse runs everything on the CPU, in small")
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        rows = Rows(rehearsal_sizes(work / "made-up") if options.rehearse else real_sizes(options.base), work / "rows")
        bad = []
        for name in options.parts:
            minutes = options.minutes or (60.0 if options.rehearse else MINUTES[name])
            part = Part(name, options.out, minutes, machine.device, options.rehearse, tuple(options.only))
            with part.within_time():
                if name == "right":
                    find_right(part, rows)
                elif name == "fast":
                    find_fast(part, rows, machine, options)
                else:
                    folder = work / "result"
                    folder.mkdir(parents=True, exist_ok=True)
                    find_result(part, rows, folder)
            bad += [f"{name}: {key}" for key, found in part.content["findings"].items() if _is_bad(found)]
            print(f"{name}: ended {part.content['ended']}", flush=True)
    print("\n".join(f"look at {line}" for line in bad) or "nothing was wrong")
    return 1 if bad else 0


def _is_bad(found: dict) -> bool:
    return "error" in found or found.get("ok") is False


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=list(MINUTES))
    parser.add_argument("--out", type=Path, required=True, help="where each part's JSON is written, as it goes")
    parser.add_argument("--minutes", type=float, help=f"of each part (default: {MINUTES})")
    parser.add_argument("--device", help="default: cuda:0, or cpu in a rehearsal")
    parser.add_argument("--base", default="smollm2", help="the decoder, say a folder with its shape")
    parser.add_argument("--only", nargs="+", default=[], help="only findings of these names; * stands for any letters")
    parser.add_argument("--work", type=Path, help="where models and runs are kept for the next call (default: nowhere)")
    parser.add_argument("--tflops", type=float, help="the card's dense bf16 peak, where it is not known")
    parser.add_argument("--rehearse", action="store_true", help="with tiny sizes")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
