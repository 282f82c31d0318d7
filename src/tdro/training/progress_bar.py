"""The progress bar of a training."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tdro.console import progress_bar


class ProgressBar(TrainerCallback):
    """A bar with the steps, the rate, the time that is left and the last loss; shown by rank 0.

    Args:
        title: stands before the bar.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: tqdm | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Show the bar, beginning at the step that training continues from."""
        if state.is_world_process_zero:
            total, done = self.extent(state)
            self.bar = progress_bar(total=total, initial=done, title=self.title, unit=" steps", leave=True)

    def extent(self, state: TrainerState) -> tuple[int, int]:
        """How many steps the bar is long, and how many of them are done."""
        return state.max_steps, state.global_step

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Count one step."""
        if self.bar is not None:
            self.bar.update(1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Show the mean loss since the last time."""
        if self.bar is not None and logs and "loss" in logs:
            self.bar.set_postfix_str(f"loss {logs['loss']:.3f}")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()
