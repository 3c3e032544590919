"""The house as the design draws it: imports go one way, and what must stay light is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# From the outside in. A module may import what stands after it.
ORDER = [
    ["cli"],
    [
        *("commands.run", "commands.chief", "commands.worker", "commands.doctor", "commands.certs"),
        *("commands.dashboard", "commands.export", "commands.report", "commands.status", "commands"),
    ],
    ["commands.ray"],
    ["commands.limits", "commands.devices", "commands.trainers", "commands.children", "commands.shown"],
    ["commands.shared", "commands.access"],
    ["commands.checked"],
    ["process"],
    ["dashboard.serve", "dashboard.remote", "dashboard"],
    ["dashboard.app"],
    ["dashboard.hub", "dashboard.plots", "dashboard.access"],
    ["dashboard.sources"],
    ["dashboard.feed"],
    ["ray_backend.role"],
    ["ray_backend.remote"],
    ["ray_backend.searcher", "ray_backend.connect", "ray_backend.node", "ray_backend.ship", "ray_backend"],
    ["ray_backend.judge"],
    ["ray_backend.borrowed"],
    ["ray_backend.signals"],
    ["launch", "worker", "doctor"],
    ["roles", "terminal"],
    ["observer", "panel"],
    ["status"],
    ["metrics", "tensorboard", "optuna_export", "notebook"],
    ["rpc.looking", "rpc.files"],
    ["rpc.server", "rpc.client"],
    ["rpc.timing", "rpc.guard", "rpc.checked"],
    ["rpc.stock", "rpc.wrapping"],
    ["rpc.codec", "rpc.status", "rpc.tls", "rpc"],
    ["watched"],
    ["report.background", "report.comparison"],
    ["report"],
    ["report.page", "report.pictures"],
    ["report.tables", "report.figures"],
    ["report.curves", "report.compare", "report.importance", "report.facts", "report.canvas", "report.extras"],
    ["report.layout"],
    ["report.series"],
    ["report.axes"],
    ["follow", "changes", "losses"],
    ["record"],
    ["chief", "trainer"],
    ["search", "placement", "coreshare"],
    ["pruning"],
    ["trainer_process"],
    ["oracles"],
    ["oracles.tuners"],
    ["oracles.tpe", "oracles.gp", "oracles.cmaes", "oracles.qmc"],
    ["oracles.study"],
    ["oracles.oracle"],
    ["oracles.latent"],
    ["program", "leash", "seams"],
    ["seams.install"],
    [
        *("seams.trial", "seams.reload", "seams.oracle", "seams.hyperband", "seams.bayesian", "seams.stock"),
        *("seams.quiet", "seams.check"),
    ],
    ["seams.journal"],
    ["bayes.propose"],
    ["bayes.cube", "bayes.gaussian", "bayes.descent", "bayes"],
    ["transfer.store", "transfer.mirror", "transfer.logsend", "transfer.scratch", "transfer"],
    ["resume", "leases", "past", "memory", "streams", "thinking"],
    ["logs", "jsonlog"],
    [
        "state",
        "policy",
        "prune",
        "notices",
        "asides",
        "lines",
        "afterimport",
        "iterators",
        "garbage",
        "devices",
        "slots",
        "cores",
        "certificates",
        "credentials",
        "exposure",
        "address",
        "names",
        "transfer.entry",
        "tfrecord",
    ],
    ["errors"],
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
GENERATED = {"rpc.cluster_pb2", "rpc.cluster_pb2_grpc"}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / "cluster").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT / "cluster").with_suffix("").parts).removesuffix(".__init__")
        if name not in GENERATED and name not in ("__init__", "__main__"):
            found[name] = path
    return found


def imports(path: Path) -> set[str]:
    """The absolute names that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_module_has_its_place() -> None:
    assert set(modules()) == set(RANK)


@pytest.mark.parametrize("name", list(RANK))
def test_imports_go_one_way(name: str) -> None:
    own = {x.removeprefix("cluster.") for x in imports(modules()[name]) if x.startswith("cluster.")}
    for imported in own & set(RANK) - {name.rpartition(".")[0]}:
        same_layer_of_rpc = name == "rpc.client" and imported == "rpc.server"
        assert RANK[imported] > RANK[name] or same_layer_of_rpc, f"{name} imports {imported}"


def test_private_names_of_kerastuner_are_in_one_module() -> None:
    touching = {n for n, path in modules().items() if any(x.startswith("keras_tuner.src") for x in imports(path))}
    assert touching
    assert all(name.startswith("seams.") for name in touching)


def test_grpc_is_in_one_package() -> None:
    touching = {n for n, path in modules().items() if "grpc" in imports(path)}
    assert touching
    assert all(name.startswith("rpc.") for name in touching)


def test_fashion_knows_of_the_cluster_only_who_is_chief() -> None:
    known = set()
    for path in (ROOT / "fashion").glob("*.py"):
        known |= {x for x in imports(path) if x.split(".")[0] == "cluster"}
    assert known == {"cluster", "cluster.is_chief"}


def test_the_cluster_knows_nothing_of_fashion() -> None:
    assert not [n for n, path in modules().items() if any(x.split(".")[0] == "fashion" for x in imports(path))]


@pytest.mark.parametrize("module", ["cluster.cli", "cluster.launch", "cluster.worker", "cluster.rpc.server"])
def test_a_supervisor_never_loads_keras(module: str) -> None:
    code = f"import sys, {module}; print(*{{'keras', 'tensorflow', 'numpy', 'keras_tuner'}} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "\n"
