"""Measure a model set on held-out views: colours, poses, the autoencoder and the segmenter."""

import json
from pathlib import Path

from ..cli import DONE, Parser, answer


def main() -> int:
    """Run from the command line: python -m beyondscene.backend.training.measure FOLDER OUT [--few-steps]."""
    parser = Parser(prog="python -m beyondscene.backend.training.measure", description=__doc__)
    parser.add_argument("folder", type=Path, help="of a model set")
    parser.add_argument("out", type=Path, help="where metrics.json and samples.png go")
    parser.add_argument("--few-steps", action="store_true", help="with the set's LoRA for few steps")
    args = parser.parse_args()
    return answer(lambda: run(args.folder, args.out, args.few_steps))


def run(folder: Path, out: Path, few_steps: bool) -> int:
    from .measurements import MeasureSettings, measure_model_set  # not before: torch and its kind take seconds

    print(json.dumps(measure_model_set(folder, out, MeasureSettings(few_steps=few_steps)), indent=2))
    return DONE


if __name__ == "__main__":
    raise SystemExit(main())
