"""Which colours and how many joints the embedded model gets right where a prompt emphasises hair: views of one person.

python tools/measure_emphasis.py 96 1 1.4 2    # so many views, with hair at each of these weights
"""

import re
import sys
from pathlib import Path
from typing import Any

import torch
from beyondscene.backend.evaluation.detect import NetJudge
from beyondscene.backend.evaluation.judge import JUDGE_FOLDER
from beyondscene.backend.models.load import load_models
from beyondscene.backend.models.sets import read_model_set
from beyondscene.backend.pipeline.prompts import PromptEncoder
from beyondscene.backend.training import samples
from beyondscene.backend.training.measurements import measure_colours, measure_poses

SET = Path(__file__).parents[1] / "backend" / "models" / "embedded"
HAIR = re.compile(r"((long|curly) )?\w+ hair")


class Emphasising:
    """A pipeline of diffusers, which reads no marks itself: it is told what `encoder` makes of them."""

    def __init__(self, pipeline: Any, encoder: PromptEncoder, weight: str) -> None:
        self.pipeline, self.encoder, self.weight = pipeline, encoder, weight
        self.controlnet = pipeline.controlnet

    def __call__(self, prompt: list[str], **options: Any) -> Any:
        told = [self.encoder.encode(HAIR.sub(rf"(\g<0>:{self.weight})", text)) for text in prompt]
        against = [self.encoder.encode_negative("", one.chunks) for one in told]
        for place, texts in (("", told), ("negative_", against)):
            options[f"{place}prompt_embeds"] = torch.stack([one.hidden for one in texts])
            options[f"{place}pooled_prompt_embeds"] = torch.stack([one.pooled for one in texts])
        return self.pipeline(**options)


def main(count: int, weights: list[str]) -> None:
    device, model_set = torch.device("cpu"), read_model_set(SET)
    encoder = PromptEncoder(load_models(model_set, device, torch.float32))
    pipeline, _ = samples.load_model_set(SET, device)
    judge = NetJudge(JUDGE_FOLDER, device)
    views = samples.draw_held_out(count, ("portrait", "figure", "portrait", "zoom"))
    for weight in weights:
        told: Any = Emphasising(pipeline, encoder, weight)
        drawn = samples.generate(told, views, samples.own_settings(model_set.manifest))
        print(weight, measure_colours(drawn, views), "PCK", measure_poses(drawn, views, judge), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
