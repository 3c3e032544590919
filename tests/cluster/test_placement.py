"""Where trainers run: what `find` makes of what there is and what is wanted, and what keeps a trainer in its place."""

from __future__ import annotations

import importlib.util
import itertools
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster import devices
from cluster import slots as slots_module
from cluster.devices import Gpu, Gpus
from cluster.errors import DeviceError, UsageError
from cluster.placement import Place, Placement, Wanted, find, no_gpu
from cluster.slots import SlotDirectory

FAKE = Path(__file__).parents[1] / "fake_nvml" / "pynvml.py"
UUIDS = [f"GPU-{number}0000000-aaaa-bbbb-cccc-0123456789ab" for number in range(4)]
GPUS = Gpus(tuple(Gpu(uuid, str(number), "H100", 80 * 10**9) for number, uuid in enumerate(UUIDS[:2])), 2, "555")
NO_DEVICE = "-1"


class Box:
    """A host that is made up: its GPUs, and the packages that are installed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self._monkeypatch = monkeypatch
        self.directory = directory / "slots"
        self.has(None)
        self.backends("tensorflow")

    def has(self, gpus: int | str | None, gigabytes: float = 80, mig: int | None = None) -> Box:
        for name, value in (("FAKE_GPUS", gpus), ("FAKE_GPU_GB", gigabytes), ("FAKE_MIG", mig)):
            if value is None:
                self._monkeypatch.delenv(name, raising=False)
            else:
                self._monkeypatch.setenv(name, str(value))
        return self

    def backends(self, *names: str) -> None:
        """The installed backends that were built for GPUs."""
        self._monkeypatch.setattr(devices, "backends_with_gpu", lambda: list(names))

    def find(self, kind: str = "auto", slots: int = 1, allow_cpu: bool = False, **environ: str) -> Placement:
        return find(Wanted(kind, slots, allow_cpu, self.directory), environ)


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Box:
    spec = importlib.util.spec_from_file_location("pynvml", FAKE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return Box(monkeypatch, tmp_path)


def taken(placement: Placement, holder: str = "w") -> Place:
    place = placement.take(holder)
    assert place is not None
    return place


def on_cpu(placement: Placement) -> Place:
    """A place on the processor; the test fails where it is another."""
    place = taken(placement)
    assert (place.device, place.name, place.slot, place.gpu, place.memory_share) == ("cpu", "cpu", None, None, None)
    assert placement.slots is None
    assert not place.packed
    assert place.files == ()
    place.release()
    return place


def on_gpu(placement: Placement) -> Place:
    place = taken(placement)
    assert place.gpu is not None
    assert place.slot is not None
    return place


# --- finding


@pytest.mark.parametrize("kind", ["auto", "gpu"])
def test_gpus_are_taken_where_there_are_some(box: Box, kind: str) -> None:
    placement = box.has(2).find(kind)
    assert placement.slots == 2
    place = on_gpu(placement)
    assert place.device == "gpu 0 GPU-00000000"
    assert place.name == "gpu 0 GPU-00000000 (NVIDIA H100 80GB HBM3, 80 GB)"


def test_a_plain_box_runs_on_the_processor(box: Box) -> None:
    """No slot directory is made, and no variable is set."""
    assert on_cpu(box.find()).environment == {}
    assert on_cpu(box.find(allow_cpu=True)).environment == {}
    assert not box.directory.exists()


def test_gpus_that_no_backend_can_use_are_left_alone_with_a_word(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    """TensorFlow for the processor on a box with GPUs: nothing would say so otherwise."""
    box.backends()
    place = on_cpu(box.has(2).find())
    assert "2 GPUs found, but no installed Keras backend was built for GPUs" in caplog.text
    assert "tensorflow[and-cuda]" in caplog.text
    assert place.environment["CUDA_VISIBLE_DEVICES"] == NO_DEVICE
    assert not box.directory.exists()


def test_who_insists_on_gpus_gets_them_whatever_is_installed(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    box.backends()
    assert on_gpu(box.has(1).find("gpu")).gpu
    assert caplog.text == ""


def test_the_processor_can_be_insisted_on(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    place = on_cpu(box.has(2).find("cpu", slots=100))
    assert place.environment["CUDA_VISIBLE_DEVICES"] == NO_DEVICE
    assert not box.directory.exists()
    assert caplog.text == ""


def test_who_insists_on_the_processor_need_not_explain_the_gpus(box: Box) -> None:
    """What a scheduler has left in the variables is of no matter."""
    assert on_cpu(box.has(2).find("cpu", CUDA_VISIBLE_DEVICES="7")).environment["CUDA_VISIBLE_DEVICES"] == NO_DEVICE


@pytest.mark.parametrize("allow_cpu", [False, True])
def test_who_insists_on_gpus_is_told_that_there_are_none(box: Box, allow_cpu: bool) -> None:
    with pytest.raises(DeviceError, match=r"--device gpu, and this process may use no GPU\. See cluster doctor"):
        box.find("gpu", allow_cpu=allow_cpu)
    with pytest.raises(DeviceError, match="no GPU among the 3 that are here"):
        box.has(3).find("gpu", allow_cpu=allow_cpu, CUDA_VISIBLE_DEVICES="")


def test_gpus_that_are_hidden_from_this_process_stay_so(box: Box) -> None:
    place = on_cpu(box.has(2).find(CUDA_VISIBLE_DEVICES="-1"))
    assert place.environment["CUDA_VISIBLE_DEVICES"] == NO_DEVICE


def test_a_variable_that_names_no_gpu_is_an_error(box: Box) -> None:
    with pytest.raises(UsageError, match="CUDA_VISIBLE_DEVICES asks for '7'"):
        box.has(2).find(CUDA_VISIBLE_DEVICES="7")


@pytest.mark.parametrize(("kind", "allow_cpu"), [("auto", False), ("gpu", False), ("gpu", True)])
def test_a_broken_driver_ends_the_run(box: Box, kind: str, allow_cpu: bool) -> None:
    with pytest.raises(DeviceError, match=r"does not work: RM has detected.*--allow-cpu"):
        box.has("broken").find(kind, allow_cpu=allow_cpu)


@pytest.mark.parametrize(("kind", "allow_cpu"), [("auto", True), ("cpu", False), ("cpu", True)])
def test_a_broken_driver_does_not_keep_trainers_from_the_processor(
    box: Box, kind: str, allow_cpu: bool, caplog: pytest.LogCaptureFixture
) -> None:
    place = on_cpu(box.has("broken").find(kind, allow_cpu=allow_cpu))
    assert place.environment["CUDA_VISIBLE_DEVICES"] == NO_DEVICE, "a backend would stumble over the driver too"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message.endswith("version mismatch. Trainers run on the CPU")


@pytest.mark.parametrize(
    ("gpus", "mig", "slots", "allow_cpu", "expected"),
    [(2, None, 1, False, 2), (2, None, 3, False, 6), (2, None, 3, True, None), (2, 4, 2, False, 16)],
)
def test_how_many_trainers_can_run_at_a_time(
    box: Box, gpus: int, mig: int | None, slots: int, allow_cpu: bool, expected: int | None
) -> None:
    assert box.has(gpus, mig=mig).find(slots=slots, allow_cpu=allow_cpu).slots == expected


def test_more_slots_than_the_memory_is_good_for_are_refused(box: Box) -> None:
    with pytest.raises(UsageError, match=r"--slots-per-gpu 8 leaves 0\.9 GB for each trainer on gpu 0 .*7 at most"):
        box.has(2, gigabytes=8).find(slots=8)
    assert box.has(2, gigabytes=8).find(slots=7).slots == 14
    with pytest.raises(UsageError, match=r"on gpu 0:0 .*: 9 at most"):
        box.has(1, gigabytes=80, mig=8).find(slots=10)


def test_a_small_gpu_takes_one_trainer_whatever_its_memory(box: Box) -> None:
    assert box.has(1, gigabytes=0.5).find().slots == 1
    with pytest.raises(UsageError, match="1 at most"):
        box.has(1, gigabytes=0.5).find(slots=2)


def test_a_gpu_of_unknown_memory_is_shared_as_wanted(box: Box) -> None:
    placement = box.find(slots=50, HIP_VISIBLE_DEVICES="0,1")
    assert placement.slots == 100
    assert taken(placement).name == "gpu 0 slot 1/50 (AMD GPU)"


def test_the_smallest_gpu_decides(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = Gpus((Gpu(UUIDS[0], "0", "large", 80 * 10**9), Gpu(UUIDS[1], "1", "small", 4 * 10**9)), 2)
    monkeypatch.setattr(devices, "find_gpus", lambda environ: gpus)
    with pytest.raises(UsageError, match=r"on gpu 1 .*small"):
        box.find(slots=4)


@pytest.mark.parametrize(("kind", "told"), [("overlay", True), ("ext4", False), (None, False)])
def test_a_slot_directory_that_other_containers_do_not_see_is_told(
    box: Box, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str | None, told: bool
) -> None:
    monkeypatch.setattr(slots_module, "file_system", lambda *_: kind)
    assert box.has(1).find().slots == 1
    assert ("is this container's own" in caplog.text) == told


def test_a_slot_directory_that_cannot_be_used_is_told(box: Box) -> None:
    box.directory.write_text("")
    with pytest.raises(DeviceError, match="--slot-dir"):
        box.has(1).find()
    assert on_cpu(box.has(1).find("cpu")), "and is not needed on the processor"


# --- taking


@pytest.fixture
def directory(tmp_path: Path) -> SlotDirectory:
    return SlotDirectory(tmp_path / "slots")


@pytest.fixture
def place_of(directory: SlotDirectory) -> Callable[..., Placement]:
    """A placement over the two GPUs of `GPUS`."""

    def made(slots: int = 1, allow_cpu: bool = False, gpus: Gpus = GPUS, **environ: str) -> Placement:
        return Placement(gpus, Wanted("gpu", slots, allow_cpu, directory.path), environ, directory)

    return made


def test_trainers_are_spread_before_they_are_packed(place_of: Callable[..., Placement]) -> None:
    placement = place_of(slots=2)
    assert [taken(placement).device for _ in range(4)] == [
        "gpu 0 GPU-00000000 slot 1/2",
        "gpu 1 GPU-10000000 slot 1/2",
        "gpu 0 GPU-00000000 slot 2/2",
        "gpu 1 GPU-10000000 slot 2/2",
    ]
    assert placement.take("one too many") is None


def test_a_gpu_that_has_become_empty_is_taken_before_one_is_packed(place_of: Callable[..., Placement]) -> None:
    """Whichever slots those who have left had."""
    placement = place_of(slots=2)
    first, second, third, fourth = (taken(placement) for _ in range(4))
    for place in (first, second, fourth):
        place.release()
    assert third.gpu == GPUS.usable[0]
    assert taken(placement).gpu == GPUS.usable[1]


def test_a_gpu_that_others_share_otherwise_is_passed_over(
    place_of: Callable[..., Placement], directory: SlotDirectory
) -> None:
    assert SlotDirectory(directory.path).take(UUIDS[0], 0, 3, "another user") is not None
    placement = place_of()
    assert taken(placement).gpu == GPUS.usable[1]
    assert placement.take("w") is None


def test_the_processor_is_taken_where_no_gpu_is_free_and_it_is_allowed(place_of: Callable[..., Placement]) -> None:
    placement = place_of(allow_cpu=True)
    assert [taken(placement).device for _ in range(3)] == ["gpu 0 GPU-00000000", "gpu 1 GPU-10000000", "cpu"]
    assert taken(placement).environment["CUDA_VISIBLE_DEVICES"] == NO_DEVICE


@pytest.mark.parametrize(("what", "of", "refusals"), [("takes a slot", 2, 4), ("looks who is there", 1, 1)])
def test_nobody_is_sent_to_the_processor_for_a_moment_in_which_another_holds_a_lock(
    place_of: Callable[..., Placement], monkeypatch: pytest.MonkeyPatch, what: str, of: int, refusals: int
) -> None:
    """Workers of one host start at the same time, and this one would train on the processor for the whole search."""
    lock = slots_module._lock
    inside, looked = threading.Event(), threading.Event()
    refused: list[str] = []
    where = ".shared" if what == "takes a slot" else ".0"

    def watched(file: int, kind: int) -> bool:
        got = lock(file, kind)
        if threading.current_thread().name == "another":
            if got and not inside.is_set() and os.readlink(f"/proc/self/fd/{file}").endswith(where):
                inside.set()
                looked.wait(1)  # until the other one has looked at every slot, or has begun to wait
        elif not got:
            refused.append("refused")
            if len(refused) >= refusals:
                looked.set()
        return got

    monkeypatch.setattr(slots_module, "_lock", watched)
    one_gpu = Gpus(GPUS.usable[:1], 1)
    there = place_of(of, gpus=one_gpu)
    act: Callable[[], object] = there.holders if what == "looks who is there" else lambda: there.take("another")
    another = threading.Thread(target=act, name="another")
    another.start()
    assert inside.wait(20)
    place = taken(place_of(of, True, one_gpu))
    another.join()
    assert place.gpu is not None


def test_a_place_that_is_released_is_anothers(place_of: Callable[..., Placement]) -> None:
    placement = place_of()
    first, second = taken(placement), taken(placement)
    assert len(set(first.files) | set(second.files)) == 4
    first.release()
    assert len(first.files) == 0
    assert taken(placement).gpu == first.gpu


def test_holders_are_told_by_gpu(place_of: Callable[..., Placement]) -> None:
    placement = place_of(slots=2)
    for name in ("a", "b", "c"):
        taken(placement, name)
    holders = placement.holders()
    assert {label: [x.split()[0] for x in held] for label, held in holders.items()} == {
        "gpu 0 GPU-00000000": ["a", "c"],
        "gpu 1 GPU-10000000": ["b"],
    }
    assert Placement().holders() == {}


def test_one_of_two_has_its_gpu_alone_for_a_trial(place_of: Callable[..., Placement]) -> None:
    placement = place_of(slots=2)
    mine, _, beside = (taken(placement) for _ in range(3))
    assert mine.packed
    assert not placement.should_make_room(beside)
    mine.release()
    wish = placement.wish_alone(mine)
    assert wish is not None
    assert placement.should_make_room(beside)
    assert placement.take_alone(mine, wish, "w") is None
    beside.release()
    alone = placement.take_alone(mine, wish, "w")
    wish.end()
    assert alone is not None
    assert (alone.device, alone.gpu, alone.packed, alone.memory_share) == ("gpu 0 GPU-00000000", mine.gpu, False, 1.0)
    assert alone.environment["CUDA_VISIBLE_DEVICES"] == UUIDS[0]
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in alone.environment
    assert placement.wish_alone(beside) is not None
    assert not placement.should_make_room(alone), "it has the GPU alone already, and for one trial"


# --- staying there


@pytest.mark.parametrize("slots", [1, 2, 3, 4, 7])
def test_a_trainer_sees_its_own_gpu_and_its_share_of_the_memory(place_of: Callable[..., Placement], slots: int) -> None:
    places = [taken(place_of(slots)) for _ in range(2 * slots)]
    for gpu, on_it in itertools.groupby(sorted(places, key=lambda x: x.device), lambda x: x.gpu):
        held = list(on_it)
        assert gpu is not None
        assert {place.environment["CUDA_VISIBLE_DEVICES"] for place in held} == {gpu.id}
        shares = [place.memory_share for place in held]
        fractions = [place.environment.get("XLA_PYTHON_CLIENT_MEM_FRACTION") for place in held]
        assert 0.9 < sum(x or 0 for x in shares) <= 1
        if slots == 1:
            assert fractions == [None]
        else:
            assert 0.9 < sum(float(x or 0) for x in fractions) <= 1


def test_memory_grows_with_what_a_trial_needs(place_of: Callable[..., Placement]) -> None:
    for slots in (1, 2):
        place = taken(place_of(slots))
        assert place.environment["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
        assert place.environment["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
        place.release()


@pytest.mark.parametrize(
    "own",
    [
        {"TF_FORCE_GPU_ALLOW_GROWTH": "false"},
        {"XLA_PYTHON_CLIENT_PREALLOCATE": "true"},
        {"XLA_PYTHON_CLIENT_MEM_FRACTION": ".3"},
        {"XLA_CLIENT_MEM_FRACTION": ".3"},
    ],
)
def test_the_users_own_settings_win(place_of: Callable[..., Placement], own: dict[str, str]) -> None:
    environment = own | taken(place_of(2, **own)).environment
    assert {name: environment[name] for name in own} == own
    assert not {"XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"} <= set(environment), "JAX refuses both"


def test_the_gpu_is_the_one_that_is_held_whatever_the_user_had_set(place_of: Callable[..., Placement]) -> None:
    """`0,1` said which GPUs there are to take from."""
    assert taken(place_of(CUDA_VISIBLE_DEVICES="0,1")).environment["CUDA_VISIBLE_DEVICES"] == UUIDS[0]


@pytest.mark.parametrize("variable", ["HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"])
def test_a_trainer_on_one_of_amds_gpus_is_told_so_in_its_language(
    place_of: Callable[..., Placement], variable: str
) -> None:
    gpus = devices.find_gpus({variable: "2,5"})
    environment = taken(place_of(gpus=gpus)).environment
    assert environment[variable] == "2"
    assert "CUDA_VISIBLE_DEVICES" not in environment


def test_an_instance_is_seen_by_its_own_uuid(box: Box) -> None:
    place = on_gpu(box.has(1, mig=2).find())
    assert place.environment["CUDA_VISIBLE_DEVICES"] == "MIG-00000000-aaaa-bbbb-cccc-0123456789ab"
    assert place.device == "gpu 0:0 MIG-00000000"


def test_who_runs_on_the_processor_sees_no_gpu() -> None:
    hidden = no_gpu({"CUDA_VISIBLE_DEVICES": "0,1", "HIP_VISIBLE_DEVICES": "0"})
    assert {hidden[f"{kind}_VISIBLE_DEVICES"] for kind in ("CUDA", "HIP", "ROCR")} == {NO_DEVICE}
    assert hidden["JAX_PLATFORMS"] == "cpu", "JAX with a plugin and no GPU would complain"
    assert "JAX_PLATFORMS" not in no_gpu({"JAX_PLATFORMS": "cpu,tpu"})


def test_jax_takes_the_variables_as_they_are_set() -> None:
    """The names, held against the JAX that is installed."""
    spec = importlib.util.find_spec("jaxlib.xla_client")
    assert spec is not None
    assert spec.origin is not None
    text = Path(spec.origin).read_text()
    for name in ("XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_PREALLOCATE"):
        assert name in text
