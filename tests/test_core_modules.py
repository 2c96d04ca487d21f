"""The built modules are what their names say, and the lists of names and the type stubs agree with them."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp import config, layers, losses, optimizers

PACKAGE = Path(fastbp.__file__).parent
SOURCE = Path(__file__).resolve().parents[1] / "src"
BUILT = [
    (level, dtype) for level in config.supported_levels() if config.built(level) for dtype in ("float32", "float64")
]


@pytest.mark.parametrize(("level", "dtype"), BUILT)
def test_a_module_is_of_the_level_and_dtype_in_its_name(level, dtype):
    module = importlib.import_module(f"fastbp._core_{level}_{dtype}")
    assert (module.level(), module.dtype()) == (level, dtype)
    numbers = np.asarray(module.Buffer(3))
    assert numbers.dtype == dtype
    assert numbers.ctypes.data % 64 == 0
    assert ("-march=x86-64-" + level in module.build_flags()) == (level in ("v2", "v3", "v4"))


def test_there_is_a_module_for_each_dtype_of_the_level_in_use():
    for dtype in ("float32", "float64"):
        assert config.engine_module(np.dtype(dtype)).level() == config.LEVEL


def stub_of(name):
    """Functions (name: argument names) and classes (name: members as functions are) of a .pyi file."""

    def arguments(function):
        return [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]

    functions, classes = {}, {}
    for node in ast.parse((PACKAGE / f"{name}.pyi").read_text()).body:
        if isinstance(node, ast.FunctionDef):
            functions[node.name] = arguments(node)
        elif isinstance(node, ast.ClassDef):
            members = classes[node.name] = {}
            for member in node.body:
                if isinstance(member, ast.AnnAssign):
                    members[member.target.id] = None
                elif isinstance(member, ast.FunctionDef):
                    is_property = any(isinstance(d, ast.Name) and d.id == "property" for d in member.decorator_list)
                    members[member.name] = None if is_property else arguments(member)
    return functions, classes


def found_in(members):
    """The public part of a module's or class's __dict__: argument names of functions, None for the rest."""
    return {
        name: list(inspect.signature(member).parameters) if callable(member) else None
        for name, member in members.items()
        if not name.startswith("_") and not isinstance(member, type)
    }


def public(members):
    return {name: arguments for name, arguments in members.items() if not name.startswith("_")}


@pytest.mark.parametrize(("level", "dtype"), BUILT)
def test_the_stub_of_the_core_has_the_names_and_arguments_of_the_built_modules(level, dtype):
    module = importlib.import_module(f"fastbp._core_{level}_{dtype}")
    functions, classes = stub_of("_core")
    assert functions == found_in(vars(module))
    assert set(classes) == {"Buffer", "Engine"}
    for name, members in classes.items():
        assert public(members) == found_in(vars(getattr(module, name))), name


@pytest.mark.parametrize("name", ["_cpu", "_pool"])
def test_the_stub_of_a_small_module_has_its_names(name):
    functions, classes = stub_of(name)
    assert not classes
    assert functions == {
        found: arguments
        for found, arguments in found_in(vars(importlib.import_module(f"fastbp.{name}"))).items()
        if arguments is not None
    }


@pytest.mark.skipif(not SOURCE.exists(), reason="the source tree is not here")
def test_codes_of_the_core_are_in_the_order_of_the_names_in_python():
    text = re.sub(r"#.*", "", (SOURCE / "names.pxd").read_text())
    enums = [re.findall(r"\w+", body) for body in re.split(r"cdef enum:", text)[1:]]
    activations, loss_codes, kinds, layer_kinds = enums
    assert tuple(name.lower() for name in activations) == layers.ACTIVATIONS
    assert tuple(name.lower() for name in loss_codes) == losses.CODES
    assert tuple(kinds) == tuple(kind.upper() for kind in optimizers.KINDS)
    assert [kind.replace("_", "") for kind in layer_kinds] == [kind.__name__.upper() for kind in layers.KINDS]
