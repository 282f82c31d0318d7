"""A study on a Ray cluster: two nodes, of which one is killed in the middle; the numbers are those of this process."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

import tiny_mixture
from tdro.errors import UserError
from tdro.files import read_json
from tdro.study.engine import Question, run_study
from tdro.study.on_ray import OnRay
from tdro.study.schema import Study

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")  # which is slow to import


def question(folder: Path) -> Question:
    study = Study(vary={"mixture": ("top-50", "bottom-50")}, seeds=1)
    return Question("mine", study, tiny_mixture.recipe(folder, finetune__steps=20))


@pytest.mark.real  # starts processes of its own for some 20 seconds; CI runs it
def test_a_node_that_dies_loses_pieces_that_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    expected = question(tmp_path / "here")
    run_study(expected)
    asked = question(tmp_path / "cluster")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80 * 2**20})
    second = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    try:
        with OnRay(cluster.address, asked.recipe) as runner:

            def killing(pieces, root, done):  # the second node dies when the first training is done
                def then_kill(piece, seconds):
                    nonlocal second
                    done(piece, seconds)
                    if piece.kind == "score" and second is not None:
                        cluster.remove_node(second, allow_graceful=False)
                        second = None

                runner(pieces, root, then_kill)

            run_study(asked, killing, runner.machine())
            assert second is None
    finally:
        cluster.shutdown()
    points = [read_json(one.place.root / "mine" / "study.json")["points"] for one in (expected, asked)]
    assert points[0] == points[1]


def test_no_cluster_at_an_address_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--ray 127.0.0.1:1: no cluster there"):
        OnRay("127.0.0.1:1", tiny_mixture.recipe(tmp_path)).__enter__()
