"""Fetches real models into the cache: `python tools/fetch_models.py [NAME ...] [--list]`.

A name is a model ("rapidocr/cls.onnx") or a package ("rapidocr-onnxruntime"); none means all.
The table and the work are in `onnxla.commands.downloads`.
"""

import argparse
import sys

from onnxla.commands.downloads import PACKAGES, FetchError, cache_folder, fetch, names

__all__ = ["fetch", "main"]


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="*", help="a model or a package; all when none is named")
    parser.add_argument("--list", action="store_true", help="list the models and stop")
    options = parser.parse_args(arguments)
    if options.list:
        for further, heading in ((False, "models"), (True, "further models")):
            print(f"{heading} (cached ones are marked *)")
            for package in (p for p in PACKAGES if p.further is further):
                for name in package.models:
                    mark = "*" if (cache_folder() / name).is_file() else " "
                    print(f"  {mark} {name:34} {package}")
        return 0
    models_of = {package.name: list(package.models) for package in PACKAGES}
    wanted = [m for name in options.name for m in models_of.get(name, [name])] or names()
    failures = 0
    for name in wanted:
        try:
            print(fetch(name))
        except FetchError as error:
            print(f"error: {error}", file=sys.stderr)
            failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
