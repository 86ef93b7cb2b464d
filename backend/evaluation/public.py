"""A judge for photographs: public models through transformers, read from this machine only, never downloaded."""

import hashlib
from functools import partial

import cv2
import msgspec
import numpy as np
import torch
from transformers import AutoModelForObjectDetection, SegformerForSemanticSegmentation
from transformers.models.vitpose import VitPoseForPoseEstimation
from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

from ..mannequins.raster import REGIONS
from ..models.weights import load_whole
from ..planning.views import positions
from .clip import Reader, load_local, to_pixels
from .detect import drop_doubles
from .judge import JOINTS, Found, JudgeError

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_DETECTOR_PX, _CLOTHES_PX = 640, 512
_SMALLEST_WINDOW_PX = 256
_SURE_PERSON = 0.5
_BORDER = 0.01  # of a window: a box that ends there is of somebody whom the window cuts
_CLOTHES_MARGIN = 0.15  # of the taller side of a person, around the box whose clothes are looked at
# COCO's 17 joints in the places of COCO-18; the neck lies between the shoulders
_COCO_17 = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
_DRESS = len(REGIONS)  # until it is split: what is below its middle counts as trousers, as the plan has it
_CLOTHES = {
    "Hat": "things", "Bag": "things", "Scarf": "things", "Hair": "hair", "Face": "head", "Sunglasses": "head",
    "Upper-clothes": "upper_body", "Skirt": "lower_body", "Pants": "lower_body", "Belt": "lower_body",
    "Left-arm": "arms", "Right-arm": "arms", "Left-leg": "legs", "Right-leg": "legs", "Left-shoe": "feet", "Right-shoe": "feet",
}  # fmt: skip


class PublicModels(msgspec.Struct, frozen=True, kw_only=True):
    """Hub ids or folders: a COCO object detector, ViTPose, a Segformer for clothes, CLIP.

    preference: a CLIP model tuned to which pictures people prefer, as PickScore; done without where it is absent.
    """

    detector: str = "PekingU/rtdetr_r50vd_coco_o365"
    pose: str = "usyd-community/vitpose-base-simple"
    clothes: str = "mattmdjaga/segformer_b2_clothes"
    clip: str = "openai/clip-vit-large-patch14"
    preference: str = "yuvalkirstain/PickScore_v1"


class PublicJudge:
    """The Judge for models that draw photographs. Its errors are not measured here: see its models' own cards."""

    def __init__(self, models: PublicModels, device: torch.device) -> None:
        """Raises JudgeError for the first model that is not on this machine, other than the one of preferences."""
        self.device, self.of_photographs = device, True
        single = {"dtype": torch.float32}  # whatever the files hold
        self.detector = load_local(partial(load_whole, AutoModelForObjectDetection.from_pretrained, **single), models.detector)
        self.pose = load_local(partial(load_whole, VitPoseForPoseEstimation.from_pretrained, **single), models.pose)
        self.clothes = load_local(
            partial(load_whole, SegformerForSemanticSegmentation.from_pretrained, **single), models.clothes
        )
        for network in (self.detector, self.pose, self.clothes):
            network.to(device).eval()
        self.crops = VitPoseImageProcessorPil()
        self.clip = Reader(models.clip, device)
        self.notes: tuple[str, ...] = ()
        try:
            self.taste = Reader(models.preference, device)
        except JudgeError as error:
            self.taste, self.notes = None, (f"No preference scores: {error}",)
        used = (models, self.taste is not None)  # scores without preferences are another judge's
        self.name = f"public {hashlib.blake2b(msgspec.json.encode(used), digest_size=6).hexdigest()}"
        names = {int(i): name for i, name in self.detector.config.id2label.items()}
        self.person = next(i for i, name in names.items() if name.lower() == "person")
        labels = {int(i): name for i, name in self.clothes.config.id2label.items()}
        kinds = {i: REGIONS.index(_CLOTHES.get(name, "background")) for i, name in labels.items()}
        kinds |= {i: _DRESS for i, name in labels.items() if name == "Dress"}
        self.region_of = np.array([kinds[i] for i in range(len(kinds))], np.uint8)

    def people(self, picture: np.ndarray) -> Found:
        keypoints, scores = [np.zeros((0, JOINTS, 2))], [np.zeros(0)]
        for box, score in sorted(self._boxes(picture), key=lambda found: -found[1]):
            keypoints.append(self._joints(picture, box)[None])
            scores.append(np.array([score]))
        return drop_doubles(np.concatenate(keypoints), np.concatenate(scores))

    @torch.inference_mode()
    def parse(self, picture: np.ndarray) -> np.ndarray:
        """uint8 (512, 512), dresses as _DRESS: the picture is squeezed to the square that the model was trained on."""
        shrinks = min(picture.shape[:2]) > _CLOTHES_PX
        square = cv2.resize(picture, (_CLOTHES_PX,) * 2, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        logits = self.clothes(self._input(square, *_IMAGENET)).logits
        full = torch.nn.functional.interpolate(logits, square.shape[:2], mode="bilinear")
        return self.region_of[full[0].argmax(0).cpu().numpy()]

    def regions(self, picture: np.ndarray, instances: np.ndarray) -> np.ndarray:
        regions = np.zeros(picture.shape[:2], np.uint8)
        for person in range(1, int(instances.max(initial=0)) + 1):
            rows, columns = np.nonzero(instances == person)
            if len(rows) == 0:
                continue
            margin = round(_CLOTHES_MARGIN * max(np.ptp(rows), np.ptp(columns)))
            window = tuple(slice(max(0, at.min() - margin), at.max() + margin + 1) for at in (rows, columns))
            crop, here = picture[window], instances[window] == person
            parsed = cv2.resize(self.parse(crop), crop.shape[1::-1], interpolation=cv2.INTER_NEAREST)
            regions[window][here] = _split_dress(parsed, here)[here]
        return regions

    def text_match(self, pictures: list[np.ndarray], texts: list[str]) -> np.ndarray | None:
        return self.clip.match(pictures, texts)

    def preference(self, picture: np.ndarray, text: str) -> float | None:
        return None if self.taste is None else self.taste.prefer(picture, text)

    @torch.inference_mode()
    def _boxes(self, picture: np.ndarray) -> list[tuple[np.ndarray, float]]:
        """Boxes (left, top, right, bottom) in px, from windows as high as the picture and half as high."""
        height, width = picture.shape[:2]
        short, found = min(height, width), []
        for side in dict.fromkeys((short, min(short, max(_SMALLEST_WINDOW_PX, short // 2)))):
            for top in positions(height, side, side // 2):
                for left in positions(width, side, side // 2):
                    window = picture[top : top + side, left : left + side]
                    square = cv2.resize(window, (_DETECTOR_PX, _DETECTOR_PX), interpolation=cv2.INTER_AREA)
                    output = self.detector(self._input(square, (0, 0, 0), (1, 1, 1)))
                    sure = output.logits[0, :, self.person].sigmoid().cpu().numpy()
                    for (x, y, wide, high), score in zip(output.pred_boxes[0].cpu().numpy(), sure, strict=True):
                        box = np.array([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2])
                        inner = np.array([left > 0, top > 0, left + side < width, top + side < height])
                        cut = np.array([*(box[:2] < _BORDER), *(box[2:] > 1 - _BORDER)]) & inner
                        if score >= _SURE_PERSON and not cut.any():
                            found.append((box * side + (left, top, left, top), float(score)))
        return found

    @torch.inference_mode()
    def _joints(self, picture: np.ndarray, box: np.ndarray) -> np.ndarray:
        """(18, 2), px, of the person in `box`, read from the heat as the model's own processor does."""
        boxes = [[[*box[:2], *(box[2:] - box[:2])]]]
        crop = self.crops.preprocess([picture], boxes, return_tensors="pt")["pixel_values"].to(self.device)
        ((person,),) = self.crops.post_process_pose_estimation(self.pose(crop), boxes)
        points = person["keypoints"].numpy().astype(float)  # (17, 2)
        neck = (points[5] + points[6]) / 2
        return np.array([neck if joint is None else points[joint] for joint in _COCO_17])

    def _input(self, picture: np.ndarray, mean: tuple[float, ...], deviation: tuple[float, ...]) -> torch.Tensor:
        return to_pixels(picture, mean, deviation, self.device)


def _split_dress(parsed: np.ndarray, here: np.ndarray) -> np.ndarray:
    """`parsed` (H, W) with the dress of who is `here` as a garment of the trunk and, below its middle row, of the legs."""
    dress = parsed == _DRESS
    rows = np.nonzero(dress & here)[0]
    if not len(rows):
        return parsed
    below = np.arange(len(parsed))[:, None] > (rows.min() + rows.max()) / 2
    halves = np.where(below, REGIONS.index("lower_body"), REGIONS.index("upper_body")).astype(np.uint8)
    return np.where(dress, halves, parsed)
