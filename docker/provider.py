"""Says what ONNX Runtime computes on in this image, by running a graph of the shipped bundle.

    provider.py auto|tensorrt|cuda|cpu

Exit code 1, with one sentence, when that provider cannot be had; nothing falls back unseen.
"""

from __future__ import annotations

import sys
from pathlib import Path

from foresight.bundle import PROVIDERS, Runtime, load

BUNDLE = Path(__file__).parents[1] / "models" / "apartment"


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(f"usage: provider.py auto|{'|'.join(PROVIDERS)}", file=sys.stderr)
        return 2
    try:
        session = load(BUNDLE, Runtime(provider=arguments[0])).session("encoder")
    except ValueError as error:  # of the bundle or of the provider
        print(f"provider.py: {error}", file=sys.stderr)
        return 1
    print(f"ONNX Runtime computes on {session.providers[0]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
