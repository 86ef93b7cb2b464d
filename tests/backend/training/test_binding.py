"""The binding loss: what it measures, that it teaches, and that it leaves the UNet as it was."""

import torch
from beyondscene.backend.training.binding import Binding, views_of_several
from diffusers import UNet2DConditionModel
from torch import Tensor

PEOPLE = torch.zeros(2, 8, 8, dtype=torch.long)
PEOPLE[0, :, :3], PEOPLE[0, :, 5:] = 1, 2  # the second view has one person
PEOPLE[1, 2:6] = 1
OWNERS = torch.tensor([[0, 0, 1, 1, 0, 2, 2, 0], [0, 1, 1, 1, 0, 0, 0, 0]])


def build_unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 16), layers_per_block=1, attention_head_dim=2, cross_attention_dim=8,
        norm_num_groups=4, down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
    )  # fmt: skip


def run(unet: UNet2DConditionModel) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    latents, text = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 8, 8, generator=generator)
    return unet(latents, torch.tensor([900, 100]), text, return_dict=False)[0]


def measure(unet: UNet2DConditionModel, owners: Tensor = OWNERS) -> Tensor:
    with Binding(unet, owners, PEOPLE, views_of_several(owners, PEOPLE)) as binding:
        run(unet)
    return binding.loss()


def test_even_attention_costs_the_logarithm_of_the_people() -> None:
    unet = build_unet()
    for name, weights in unet.named_parameters():
        if "attn2.to_q" in name:
            weights.data.zero_()
    assert torch.isclose(measure(unet), torch.tensor(2.0).log(), atol=1e-3)


def test_learning_it_makes_people_attend_to_their_own_words() -> None:
    unet = build_unet()
    before = measure(unet)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=3e-3)
    for _ in range(30):
        optimizer.zero_grad()
        measure(unet).backward()
        optimizer.step()
    assert measure(unet) < 0.3 * before


def test_one_person_has_nobody_to_be_mixed_up_with() -> None:
    assert measure(build_unet(), OWNERS.clamp(max=1)) == 0


def test_the_unet_predicts_the_same_while_watched_and_keeps_nothing_of_it() -> None:
    unet = build_unet()
    plain = run(unet)
    with Binding(unet, OWNERS, PEOPLE, views_of_several(OWNERS, PEOPLE)):
        watched = run(unet)
    assert torch.equal(plain, watched)
    assert not any(module._forward_pre_hooks for module in unet.modules())
