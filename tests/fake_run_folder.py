"""A run folder with invented but plausible numbers, for the report's tests and nothing else."""

import json
import math

import numpy as np

ROWS = {
    "cli_aws": 7012,
    "api_aws": 15330,
    "ui_ja_en": 3610,
    "ui_zh_en": 4122,
    "ui_title2desc_en": 2290,
    "ui_title2desc_de": 2311,
    "bio_term2def": 45018,
    "dict_en": 70233,
    "dict_de": 159402,
    "dict_fr": 433120,
    "dialog_chitchat": 95008,
    "quotes_anime": 13011,
    "code_python": 6120,
    "ui_es_en": 4698,
    "ui_fr_en": 4480,
    "ui_ru_en": 4233,
}
NAMES, SIZES = list(ROWS), list(ROWS.values())
MIXTURES = ["uniform", "proportional", "top-70", "bottom-50", "reweight"]


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def names_for(n):
    return [NAMES[at] if at < len(NAMES) else f"{NAMES[at % len(NAMES)]}_{at // len(NAMES)}" for at in range(n)]


def fake_run(folder, names=None, steps=400, gains=(0.0098, 0.0089), seeds=(1, 2, 3), seed=0):
    """Write a run folder as `tdro run` would leave it; returns the folder."""
    rng = np.random.default_rng(seed)
    names = names or NAMES
    k = len(names)
    sizes = [SIZES[at % len(SIZES)] for at in range(k)]
    stages = ["mixture", "reference", "scores", "learn", "finetune static", "evaluate static"]
    write(
        folder / "run.json",
        {
            "name": "quickstart",
            "seed": 1,
            "tasks": [
                {
                    "name": name,
                    "rows": size,
                    "licence": "Apache-2.0",
                    "source": "awscli 1.46, examples/**/*.rst",
                    "instruction": "Given a word, retrieve its definition",
                }
                for name, size in zip(names, sizes, strict=True)
            ],
            "stages": [
                {"name": s, "seconds": 3.7**at / 3, "fingerprint": f"{at:x}9f3a7c21b04de55"}
                for at, s in enumerate(stages)
            ],
        },
    )
    (folder / "recipe.yaml").write_text("name: quickstart\nstage1:\n  eta: 0.05  # <nats> & steps\n  steps: 400\n")
    write(
        folder / "versions.json",
        {"python": "3.11.9", "torch": "2.13.0", "tdro": "0.1.0", "platform": "Linux"},
    )

    headroom = np.sort(rng.gamma(6, 0.2, k))[::-1] / 2 + 0.7
    rng.shuffle(headroom)
    base = rng.uniform(0.4, 2.6, k)
    log_alpha, lines = np.full(k, -math.log(k)), []
    for step in range(steps):
        reference = base * rng.gamma(30, 1 / 30, k)
        proxy = reference * (1 + (headroom - 1) * rng.gamma(5, 0.2, k)) * (1 + 0.8 * np.exp(-step / 60))
        measure = proxy / reference
        log_alpha = log_alpha + 0.05 * measure / np.linalg.norm(measure)
        log_alpha -= np.log(np.exp(log_alpha).sum())
        series = dict(measure=measure, proxy_loss=proxy, reference_loss=reference)
        row = {key: [round(float(v), 5) for v in value] for key, value in series.items()}
        if step % 37 == 5:
            for key in row:
                row[key][step % k] = None
        lines.append({"step": step, "alpha": [float(a) for a in np.exp(log_alpha)], **row, "rows": [128 // k or 1] * k})
    alpha = np.exp(log_alpha)
    write(
        folder / "weights" / "weights.json",
        {
            "format": "tdro-weights/1",
            "weights": dict(zip(names, map(float, alpha), strict=True)),
            "provenance": {"seed": 1},
        },
    )
    (folder / "weights" / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    entropy = float(-(alpha * np.log(alpha)).sum())
    write(
        folder / "weights" / "health.json",
        {
            "effective_tasks": math.exp(entropy),
            "entropy": entropy,
            "drift_per_100_steps": 0.214,
            "warnings": [
                f"{names[0]}: the reference's loss is 0.14 nats on rows it was trained on and 1.32 on "
                "unseen rows: it has memorised the task. Use stage1_rows: held_out.",
                f"α leaves {math.exp(entropy):.1f} effective tasks of {k}: select tasks (top-70) rather than "
                "sample by these ratios.",
            ],
            "tasks": {
                name: {
                    "measure_mean": headroom[at],
                    "measure_std": 0.2 * headroom[at],
                    "reference_loss": base[at],
                    "untrained_loss": base[at] + 1.2 if at != 3 else base[at] - 0.1,
                    "seen_loss": base[at] * 0.9,
                    "unseen_loss": None if at == 5 else base[at] * 1.1,
                }
                for at, name in enumerate(names)
            },
        },
    )

    order = np.argsort(-alpha)
    share = {
        "uniform": np.full(k, 1 / k),
        "proportional": np.array(sizes) / sum(sizes),
        "reweight": alpha,
        "top-70": np.isin(np.arange(k), order[: k * 70 // 100]) / max(k * 70 // 100, 1),
        "bottom-50": np.isin(np.arange(k), order[-(k // 2) :]) / (k // 2),
    }
    tests = [
        {
            "name": f"{name}{kind}",
            "task": name if kind == "" else "",
            "trained": kind == "",
            "queries": int(rng.integers(60, 900)),
        }
        for kind in ("", "_unseen")
        for name in (names if kind == "" else names[: max(k // 3, 1)])
    ]
    for group, gain in zip(("static", "smollm2"), gains, strict=False):
        mixtures = MIXTURES if group == "static" else ["uniform", "top-70"]
        some = seeds if group == "static" else seeds[:1]
        for mixture in mixtures:
            for s in some:
                n_steps, batch = (400, 128) if group == "static" else (120, 64)
                weights = {name: float(share[mixture][at]) for at, name in enumerate(names)}
                drawn = {name: round(w * n_steps * batch) for name, w in weights.items()}
                write(
                    folder / "models" / group / f"{mixture}-seed{s}" / "training.json",
                    {
                        "mixture": mixture,
                        "seed": s,
                        "weights": weights,
                        "steps": n_steps,
                        "batch": batch,
                        "rows_drawn": drawn,
                        "epochs": {name: drawn[name] / size for name, size in zip(names, sizes, strict=True)},
                        "seconds": 7.1,
                        "first_loss": 4.83,
                        "last_loss": 1.72,
                    },
                )
        write(folder / "comparison" / f"{group}.json", fake_comparison(rng, group, mixtures, some, tests, gain))
    return folder


def fake_comparison(rng, group, mixtures, seeds, tests, gain):
    base = {test["name"]: float(rng.uniform(0.05, 0.5)) for test in tests}
    shift = {
        "untrained": -0.151,
        "uniform": 0,
        "proportional": -0.008,
        "top-70": gain,
        "bottom-50": -0.05,
        "reweight": -0.04,
    }

    def cut(values, part):
        return float(
            np.mean([values[t["name"]] for t in tests if part == "all" or t["trained"] == (part == "trained")])
        )

    rows = []
    for mixture in ["untrained", *mixtures]:
        off = {name: 0.0 if mixture == "uniform" else float(shift[mixture] + rng.normal(0, 0.015)) for name in base}
        moved = {name: max(base[name] + off[name], 0.004) for name in base}
        spread = None if len(seeds) < 2 or mixture == "untrained" else 0.0021
        parts = {
            part: {
                "difference": (d := cut(off, part)),
                "low": d - w,
                "high": d + w,
                "p": math.erfc(1.96 * abs(d) / w / 2**0.5),
                **{"too_few": "", "wins": 90, "ties": 40, "losses": 60, "one_seed": len(seeds) == 1},
                "with_seeds": {"low": d - 2 * w, "high": d + 2 * w, "pairs": len(seeds), "needed": 4}
                if len(seeds) > 1
                else None,
            }
            for part, w in (("all", 0.0035), ("trained", 0.004), ("untrained", 0.0071))
        }
        each = {
            name: {
                "difference": d,
                "low": d - 0.02,
                "high": d + 0.02,
                "p": 0.02 if abs(d) > 0.02 else 0.4,
                "p_holm": 0.03 if abs(d) > 0.03 else 0.8,
            }
            for name, d in off.items()
        }
        measures = {
            key: {
                "tests": moved,
                **{part: factor * cut(moved, part) for part in ("all", "trained", "untrained")},
                "spread": spread,
            }
            for key, factor in (("ndcg@10", 1), ("recall@100", 1.9))
        }
        versus = None if mixture == "uniform" else {"ndcg@10": {**parts, "tests": each}}
        rows.append({"mixture": mixture, "seeds": len(seeds), **measures, "versus": versus})
    return {"group": group, "seeds": list(seeds), "tests": tests, "rows": rows}
