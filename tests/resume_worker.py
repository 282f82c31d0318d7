"""Trainings that are killed and continued, for ``test_resume.py``.

A driver, a fork of the test's process, forks a process per attempt and rank. What a kill is:

    step N     rank 0 kills itself when its training asks for the plan's step N
    event N    at its N-th file operation (open, rename, remove, …) in the run's folder: anywhere in a checkpoint too
    torn       before a checkpoint gets its name, with each of its files cut to half
    line       with half a line written to the log of the steps
    end        when all is done, before the checkpoints are removed
    late       while they are being removed
    time F     from outside, after the share F of an uninterrupted run's time
    other N    like step N, but rank 1
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from accelerate import PartialState
from torch.distributed.tensor import DTensor

import tdro.training.checkpoints
import tiny
from launch import become_rank, fork
from tdro.data.plan.row_plans import MixedPlan
from tdro.dro.stage_one.learn import learn
from tdro.files import remove_whole, write_jsonl
from tdro.machine import this_machine
from tdro.models.load import load_model
from tdro.recipe.training_sections import LearnWeights, Training
from tdro.training.ahead import AheadOfTraining
from tdro.training.finetune import FinetuneJob, finetune
from tdro.training.steps import PlannedSteps

STEPS = 8
COMMON = {
    "steps": STEPS, "batch": 8, "temperature": 0.05, "learning_rate": 5e-3, "chunk_rows": 11, "checkpoint_steps": 2,
}  # fmt: skip
# Kinds with adapters, and their dropout.
LORA = {"lora": 0.0, "lora-dropout": 0.1, "sharded": 0.1}
SHARDS = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"}
_EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "os.link"}


@dataclass(frozen=True)
class Run:
    """One training: ``learn`` or ``finetune``, its model, its ranks, and the kills that it has to survive."""

    stage: str
    kind: str
    world: int
    kills: list[str]


def make_models(folder: Path) -> None:
    """The models that the runs load."""
    tiny.model("static", folder).save_pretrained(str(folder / "static"), create_model_card=False)
    tiny.encoder(folder / "e0", layers=1).save_pretrained(str(folder / "encoder"), create_model_card=False)
    tiny.encoder(folder / "e1", dropout=0.1, layers=1).save_pretrained(str(folder / "dropout"), create_model_card=False)
    tiny.decoder(folder / "d", layers=1).save_pretrained(str(folder / "decoder"), create_model_card=False)


def train(run: Run, models: Path, folder: Path) -> None:
    """One attempt on this rank; the last one leaves ``result-<rank>.json``: what must be the same, or digests."""
    machine = this_machine("cpu", "fp32")
    kept = []

    def load():
        if run.kind in LORA:
            lora = type("Lora", (), {"r": 4, "alpha": 8.0, "dropout": LORA[run.kind]})
            model = load_model(models / "decoder", device="cpu", lora=lora, gradient_checkpointing=True)
        else:
            model = load_model(models / run.kind, device="cpu")
        kept.append(model)
        return model

    tasks = [tiny.task(f"t{i}", rows=5 + 3 * i) for i in range(3)]
    data = tiny.tokenized(load(), tasks)
    result = {}
    if run.stage == "learn":
        plan = MixedPlan([len(task) for task in tasks], 8, STEPS, 1, "random")
        steps = PlannedSteps(data, plan, 2, lambda *args: None, machine.rank, machine.world)
        cosines = np.random.default_rng(0).uniform(-0.2, 0.2, (STEPS, 8, 3)).astype(np.float32)
        settings = LearnWeights(negatives=2, eta=0.5, average_steps=2, **COMMON)
        learner, health = learn(load, steps, cosines, settings, folder, machine, 1)
        result |= {"learner": learner.state_dict(), "health": health.state_dict()}
        files = [folder / "steps.jsonl", folder / "log.jsonl"]
    else:
        factors = np.array([0.5, 2.0, 0.25])  # loss-reweight: the uniform mixture is the simpler case
        job = FinetuneJob("test", "uniform", np.full(3, 1 / 3), Training(negatives=1, **COMMON), 1, factors=factors)
        finetune(load, data, job, folder / "model", machine)
        result["training"] = json.loads((folder / "model" / "training.json").read_text()) | {"seconds": 0}
        files = [folder / "model" / "log.jsonl", *(folder / "model").glob("*.safetensors")]
    if machine.main:
        forget(folder / ("training" if run.stage == "learn" else "model.training"))
        result |= {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        result["left over"] = sorted(path.name for path in folder.iterdir() if path.is_dir())
    digest = hashlib.sha256()
    for name, value in sorted(kept[-1].state_dict().items()):
        whole = value.full_tensor() if isinstance(value, DTensor) else value
        digest.update(name.encode() + whole.contiguous().numpy().tobytes())
    result["model"] = digest.hexdigest()
    if machine.world > 1:
        PartialState().wait_for_everyone()
    (folder / f"result-{machine.rank}.json").write_text(json.dumps(result, sort_keys=True))


# ---- kills


def die() -> None:
    """What a power cut or the OOM killer does."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(kill: str, rank: int, folder: Path) -> None:
    """Have this process kill itself as ``kill`` says; only ``other`` is about rank 1."""
    kind, _, number = kill.partition(" ")
    ways = {
        "step": at_step,
        "other": at_step,
        "event": at_event,
        "torn": torn,
        "line": half_a_line,
        "end": end,
        "late": late,
    }
    if kind in ways and rank == (kind == "other"):
        ways[kind](int(number or 0), folder)


def at_step(number: int, folder: Path) -> None:
    ask = AheadOfTraining.__getitem__
    AheadOfTraining.__getitem__ = lambda self, step: die() if step == number else ask(self, step)


def at_event(number: int, folder: Path) -> None:
    seen = [0]

    def count(event, args):
        if event in _EVENTS and isinstance(args[0], (str, os.PathLike)) and str(args[0]).startswith(str(folder)):
            seen[0] += 1
            if seen[0] == number:
                die()

    sys.addaudithook(count)


def torn(number: int, folder: Path) -> None:
    def tear(written):
        for path in written.rglob("*"):
            if path.is_file():
                os.truncate(path, path.stat().st_size // 2)
        die()

    tdro.training.checkpoints._sync = tear


def half_a_line(number: int, folder: Path) -> None:
    lines = [0]

    def write(event, args):
        if event == "open" and args[1] == "a" and str(args[0]).endswith("steps.jsonl"):
            lines[0] += 1
            if lines[0] == 2:
                with os.fdopen(os.open(args[0], os.O_WRONLY | os.O_APPEND), "w") as file:
                    file.write('{"step": 7, "al')
                die()

    sys.addaudithook(write)


def forget(checkpoints: Path) -> None:
    """What a run does when its result is noted."""
    remove_whole(checkpoints)


def end(number: int, folder: Path) -> None:
    globals()["forget"] = lambda checkpoints: die()


def late(number: int, folder: Path) -> None:
    """Not a checkpoint that has become too old: the whole folder of them."""
    remove = shutil.rmtree

    def half(path, *args, **settings):
        checkpoints = sorted(Path(path).glob("checkpoint-*"))
        for checkpoint in checkpoints:
            (checkpoint / "optimizer.pt").unlink()
        if checkpoints:
            die()
        remove(path, *args, **settings)

    shutil.rmtree = half


def attempt(run: Run, models: Path, folder: Path, kill: str = "", seconds: float = 0.0) -> bool:
    """Run until done or killed, on all ranks; True if it was done. Raises if it fails by itself."""
    place = Path(tempfile.mkdtemp(dir=models.parent))
    children = [start(run, models, folder, kill, rank, place) for rank in range(run.world)]
    started, codes = time.monotonic(), {}
    while len(codes) < len(children):
        if kill.startswith("time") and time.monotonic() - started > seconds * float(kill.split()[1]):
            for child in set(children) - codes.keys():
                os.kill(child, signal.SIGKILL)
        for child in set(children) - codes.keys():
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                codes[pid] = os.waitstatus_to_exitcode(status)
        if any(codes.values()):  # as torchrun does: one has died, so all must
            time.sleep(0.05)
            for child in set(children) - codes.keys():
                os.kill(child, signal.SIGKILL)
                codes[child] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        time.sleep(0.005)
    bad = [code for code in codes.values() if code not in (0, -signal.SIGKILL)]
    if bad and not kill:
        told = "".join(file.read_text(errors="replace")[-4000:] for file in place.glob("*.txt"))
        raise RuntimeError(f"{run}: exit codes {bad}\n{told}")
    return not any(codes.values())


def start(run: Run, models: Path, folder: Path, kill: str, rank: int, place: Path) -> int:
    """Fork a rank; returns its process id. Ranks meet in ``place``, and leave there what they print."""

    def work() -> None:
        if run.kind == "sharded":
            os.environ |= SHARDS
        if run.world > 1:
            become_rank(rank, run.world, place / "meeting")
        arm(kill, rank, folder)
        train(run, models, folder)

    return fork(work, place / f"{rank}.txt")


def drive(run: Run, models: Path, out: Path) -> dict:
    """The results of an uninterrupted run, and of one that had to survive the kills, one attempt each."""
    found = {"run": asdict(run)}
    began = time.monotonic()
    for name, kills in (("whole", []), ("killed", run.kills)):
        folder = out / name
        folder.mkdir(parents=True)
        found["kills"] = [kill for kill in kills if not attempt(run, models, folder, kill, found.get("seconds", 0))]
        if not attempt(run, models, folder):
            raise RuntimeError(f"{run}: killed without being asked to")
        found.setdefault("seconds", time.monotonic() - began)
        found[name] = [json.loads((folder / f"result-{rank}.json").read_text()) for rank in range(run.world)]
    return found


def drive_all(runs: list[Run], place: Path) -> None:
    """What :func:`drive` gives for each of the runs, as lines of ``place/results.jsonl``."""
    write_jsonl(place / "results.jsonl", (drive(run, place / "models", place / str(at)) for at, run in enumerate(runs)))
