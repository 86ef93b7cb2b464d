"""Every knob of the method: what it does, its bounds and its default; the JSON schema and the add-on's tooltips say it, too."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Share = Annotated[float, Meta(ge=0, le=1)]
# diffusers begins a schedule of as many steps as there are training steps, with SDXL's spacing, one behind its end
LARGEST_STEPS = 999
Steps = Annotated[int, Meta(ge=1, le=LARGEST_STEPS)]
# In every list of names here a new one comes last: Blender's files hold a choice by its place.
Solver = Literal["ddim", "dpmsolver++", "euler"]
HiddenJoints = Literal["dim", "drop", "keep"]


class RenderSettings(Struct, frozen=True, kw_only=True):
    """Every knob of the method. Defaults are BeyondScene's own (arXiv 2404.04544, supplement S2.2) where the paper
    gives one, but for `view_weighting`, `perturb` and `canny_blur_px`, which grows with the picture; `None` leaves the choice
    to the model set, which knows how it was trained (`sdxl`: the paper's t_b, .7, and 50 steps and guidance 5.0, which it does
    not give).
    """

    # diffusion
    steps: Annotated[Steps, Meta(description="Of the full schedule; levels run the last t_b of them")] | None = None
    guidance_scale: (
        Annotated[
            float,
            Meta(
                ge=0,
                le=100,
                description="How strongly the prompts are followed; 1 or less: no guidance, nor negative prompts",
            ),
        ]
        | None
    ) = None
    scheduler: Annotated[Solver, Meta(description="dpmsolver++ needs the fewest steps")] = "ddim"
    controlnet_conditioning_scale: (
        Annotated[float, Meta(ge=0, le=100, description="How strongly the poses are followed")] | None
    ) = None
    guide_pose: (
        Annotated[
            bool,
            Meta(
                description="The negative prompt goes without the pose: the guidance scale strengthens poses as it does prompts"
            ),
        ]
        | None
    ) = None

    hcp_scale: (
        Annotated[
            Share,
            Meta(
                description="Weight of where the HcP layers see the words about people, beside where the base model does; "
                "0 leaves them out"
            ),
        ]
        | None
    ) = None

    # stage 1: people, one at a time, and the base image
    person_cover: Annotated[
        float,
        Meta(
            ge=0.1, le=1, description="Of the canvas that each person is drawn on alone, by the taller side of the pose's box"
        ),
    ] = 0.8
    mask_feather_px: Annotated[
        float, Meta(ge=0, le=64, description="Soft rim of each person who is set into the scene, at a resolution of 1024 px")
    ] = 2.0
    seam_erosion_px: Annotated[
        float, Meta(ge=0, le=64, description="Rim of each person that inpainting paints anew, at a resolution of 1024 px")
    ] = 2.0
    inpaint_people: Annotated[
        Literal["everything", "nothing", "poses"],
        Meta(
            description="What the background, as it is painted around the people, is told of them: poses alone, prompts as well"
        ),
    ] = "poses"
    inpaint_strength: Annotated[
        float, Meta(ge=0, le=1, description="Noise from which the background begins, over flat grey: with little, grey stays")
    ] = 0.99
    clahe_clip_limit: Annotated[
        float, Meta(ge=0, le=100, description="Strength of the tone normalisation; 0 leaves the tone as it is")
    ] = 2.0
    clahe_tiles: Annotated[int, Meta(ge=1, le=64, description="Tiles of the tone normalisation along each side")] = 8

    # stage 2: high-frequency-injected forward diffusion (Algorithm 1)
    t_b: (
        Annotated[
            float,
            Meta(
                gt=0,
                le=1,
                description="Noise from which each level is drawn anew, as a share of the steps: less keeps more",
            ),
        ]
        | None
    ) = None
    canny_low: Annotated[float, Meta(ge=0, le=1000, description="Lower threshold of the edges that get new detail")] = 100.0
    canny_high: Annotated[float, Meta(ge=0, le=1000, description="Upper threshold of the edges that get new detail")] = 200.0
    canny_blur_px: Annotated[
        float,
        Meta(
            ge=0,
            le=1000,
            description="How far around edges detail is put in, at a short side of 1024 px; scaled with the image",
        ),
    ] = 50.0
    normalise_edges: Annotated[
        bool,
        Meta(description="Stretch the blurred edges to 0 to 1, so that p_max is reached; otherwise they are taken as they are"),
    ] = True
    p_base: Annotated[float, Meta(ge=0, le=1, description="Chance that a pixel far from edges is replaced by a neighbour")] = (
        0.005
    )
    p_max: Annotated[float, Meta(ge=0, le=1, description="Chance that a pixel at an edge is replaced by a neighbour")] = 0.1
    displacement_px: Annotated[
        int, Meta(ge=0, le=64, description="How far away that neighbour may be, in pixels of the smaller image")
    ] = 4
    perturb: Annotated[
        Literal["off", "paper-literal", "probability"],
        Meta(description="Replace with that chance, or as the paper's Algorithm 1 is printed, or not at all"),
    ] = "probability"

    # stage 2: adaptive joint diffusion (Algorithms 2-4)
    stride_background: Annotated[
        int, Meta(ge=1, le=128, description="Latents from one view to the next, for views of 128; scaled to the model's")
    ] = 64
    stride_instance: Annotated[
        int, Meta(ge=1, le=128, description="The same over people and in the base image, where views are denser")
    ] = 32
    beta_over: Annotated[
        float, Meta(ge=0, le=1, description="Share of a view that people must cover before views become denser there")
    ] = 0.2
    view_prompts: Annotated[
        Literal["everybody", "present"],
        Meta(description="Whom a view is told of: those who are in it, or everybody, which undoes Algorithm 3's text"),
    ] = "present"
    prepend_global: Annotated[
        bool, Meta(description="Say the scene's prompt before those of the people in a view, as the paper's text does")
    ] = True
    min_overlap: Annotated[
        float, Meta(ge=0, le=1, description="Share of a view above which somebody counts as being in it")
    ] = 0.0
    pose_at_levels: Annotated[
        Literal["redrawn", "upscaled"],
        Meta(description="Skeletons drawn anew at each level, with lines as wide in every view, or those of the base enlarged"),
    ] = "redrawn"
    hidden_joints: (
        Annotated[
            HiddenJoints,
            Meta(
                description="Joints behind somebody else or the set, and the face on the far side of a head: keep draws them "
                "as any, dim darker, drop leaves them out with their limbs. A person who is drawn alone lacks the face only"
            ),
        ]
        | None
    ) = None
    view_weighting: Annotated[
        Literal["feathered", "uniform"], Meta(description="How views that overlap are averaged; Algorithm 2 does so uniformly")
    ] = "feathered"
    size_conditioning: Annotated[
        Literal["canvas", "view"],
        Meta(description="Each enlarged view is told to be a whole picture, or a crop of the canvas; for SDXL"),
    ] = "view"

    # stage 2 sooner, for another picture: what the levels leave out
    controlnet_views: Annotated[
        Literal["all", "none", "with_people"],
        Meta(description="Leave the pose network out of the enlarged views without people, which is quicker, or out of all"),
    ] = "all"
    guidance_interval: Annotated[
        tuple[Share, Share],
        Meta(
            description="Shares of the training steps between which enlarged views are guided; 1 is pure noise. Less is quicker"
        ),
    ] = (0.0, 1.0)
    background_every: Annotated[
        int,
        Meta(ge=1, le=8, description="Steps from one run of the enlarged views without people to the next; more is quicker"),
    ] = 1

    # stage 1 and 2 sooner, for another picture
    few_steps: (
        Annotated[
            bool,
            Meta(
                description="The model set's own LoRA for few steps, with its solver and its inpaint strength. "
                "Left to the models: where they have one, and then with its own steps and guidance"
            ),
        ]
        | None
    ) = False
