"""Write the synthetic sample: ``python -m mental_slm.sample [--out FOLDER] [--seed N]``."""

import argparse
import hashlib
from pathlib import Path

from mental_slm.sample.fabrication import fabricate, write_sample


def main(arguments: list[str] | None = None) -> None:
    """Fabricate the sample, write it and list the files with digest and size."""
    parser = argparse.ArgumentParser(prog="python -m mental_slm.sample", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("data/01_raw/sample"))
    parser.add_argument("--seed", type=int, default=7, help="equal seeds give equal bytes")
    options = parser.parse_args(arguments)
    files = fabricate(options.seed)
    write_sample(files, options.out)
    for name, content in sorted(files.items()):
        print(f"{hashlib.sha256(content).hexdigest()}  {len(content):>7}  {options.out / name}")


if __name__ == "__main__":
    main()
