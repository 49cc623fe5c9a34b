"""On a Ray cluster of two nodes, one of which dies: the files of one machine, nothing lost, nothing doubled."""

import operator
from dataclasses import replace
from itertools import count

import pytest

from drawn import contents, fill
from geocamnet.errors import DataError
from geocamnet.images import read_image, write_image
from geocamnet.runtime.folder.predict import predict_folder
from geocamnet.sharing import in_ray
from geocamnet.train.cam import extract
from geocamnet.train.prepare import prepare
from geocamnet.train.recipes import CamRecipe, PrepareRecipe

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'geocamnet[cluster]'")

RECIPE = PrepareRecipe(long_side_px=60, workers=1)


@pytest.fixture
def cluster():
    """A head that computes nothing, and two nodes of a core each."""
    from ray.cluster_utils import Cluster

    one = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [one.add_node(num_cpus=1) for _ in range(2)]
    one.wait_for_nodes()
    ray.init(address=one.address, log_to_driver=False)
    try:
        yield one, nodes
    finally:
        ray.shutdown()
        one.shutdown()


def test_prepare_cam_and_run_on_two_nodes_give_the_files_of_one_machine(
    cluster, tiny_data, make_run, student, paint, tmp_path
):
    raw = fill(tmp_path / "raw", each=12)
    (raw / "vug" / "broken.png").write_bytes(b"no photograph")
    prepare(raw, tmp_path / "data", RECIPE)
    prepare(raw, tmp_path / "ray_data", replace(RECIPE, engine="ray"))
    assert contents(tmp_path / "ray_data") == contents(tmp_path / "data")

    here = extract(tiny_data, make_run(tmp_path / "run"), CamRecipe(part=4))
    there = extract(tiny_data, make_run(tmp_path / "ray_run"), CamRecipe(part=4, engine="ray"))
    assert contents(there) == contents(here)

    for number in range(12):
        write_image(tmp_path / "photographs" / f"{number}.png", paint((40, 60), ("oolite", "foam", "vug")[number % 3]))
    (tmp_path / "photographs" / "broken.png").write_bytes(b"no photograph")
    predict_folder(tmp_path / "photographs", tmp_path / "out", student)
    predict_folder(tmp_path / "photographs", tmp_path / "ray_out", student, engine="ray")
    assert contents(tmp_path / "ray_out") == contents(tmp_path / "out")


def test_a_node_that_dies_loses_nothing_and_doubles_nothing(cluster, tmp_path):
    one, nodes = cluster
    raw = fill(tmp_path / "raw", each=120)
    prepare(raw, tmp_path / "data", replace(RECIPE, workers=2))
    told, killed = count(), []

    def kill_one(done, total):
        next(told)
        if done == 40:
            killed.append(one.remove_node(nodes[0], allow_graceful=False))

    report = prepare(raw, tmp_path / "ray_data", replace(RECIPE, engine="ray"), on_progress=kill_one)
    assert next(told) == report.photographs == 360  # each was handed in once
    assert killed
    assert contents(tmp_path / "ray_data") == contents(tmp_path / "data")


def test_an_error_of_the_work_itself_comes_back_as_it_is(cluster):
    with pytest.raises(DataError, match=r"^nowhere\.png"):
        list(in_ray(read_image, ["nowhere.png"]))
    with pytest.raises(DataError, match=r"A node of the cluster failed \(TypeError: .*integer"):
        list(in_ray(operator.index, ["a"]))
