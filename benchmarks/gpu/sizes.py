"""How large everything is: on a GPU, and in the rehearsal on a CPU, where the same code runs in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from made_up import made_up_mixture, tiny_decoder

from tdro.disk import cache_folder


@dataclass(frozen=True)
class Sizes:
    """What the parts run on.

    Attributes:
        mixture: the folder of the training tasks and test sets.
        base: the ``base`` section of a recipe: the model that is trained.
        small: sizes of the random decoder on which GPU and CPU are compared.
        large: sizes of the random decoder that is only timed; its name in the results is its key.
        rows: of each task, at most.
        batch: rows of a step.
        negatives: hard negatives of a row; with the positive one more passage.
        chunk_rows: texts of a micro-batch, the first is the usual one.
        tokens: longest query and passage.
        steps: of a timing, after one that warms up.
        result_steps: of each training of the result, at least and at most.
        seeds: of the result's fine-tunings.
    """

    mixture: Path
    base: dict[str, Any]
    small: dict[str, int]
    large: dict[str, dict[str, int]]
    rows: int
    batch: int
    negatives: int
    chunk_rows: tuple[int, ...]
    tokens: tuple[int, int]
    steps: int
    result_steps: tuple[int, int]
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3])


def real_sizes(base: str) -> Sizes:
    """On a GPU: a decoder with all its layers, and the sample mixture, both in the cache that the bundle fills."""
    return Sizes(
        mixture=cache_folder() / "sample-mixture",
        base={"kind": "decoder", "source": base},
        small={"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4},
        # The sizes of Qwen1.5-0.5B, but for the vocabulary.
        large={
            "half-billion": {
                **{"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 24},
                "num_attention_heads": 16,
            }
        },
        rows=1500,
        batch=512,
        negatives=7,
        chunk_rows=(1024, 256, 128),  # 1,024 was 1.9 times as fast as 256 on an H200
        tokens=(64, 128),
        steps=4,
        result_steps=(20, 400),
    )


def rehearsal_sizes(folder: Path) -> Sizes:
    """On a CPU: made-up text and a decoder of two layers."""
    tiny = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return Sizes(
        mixture=made_up_mixture(folder / "mixture"),
        base={"kind": "decoder", "source": str(tiny_decoder(folder / "decoder", tiny))},
        small=tiny,
        large={"half-billion": {**tiny, "hidden_size": 32}},
        rows=12,
        batch=4,
        negatives=2,
        chunk_rows=(8, 3),
        tokens=(12, 16),
        steps=1,
        result_steps=(2, 2),
        seeds=[1],
    )
