"""The examples of the README and of every docstring run and print what they say."""

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import fastbp

CHECKOUT = Path(__file__).resolve().parents[1]
README = CHECKOUT / "README.md"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MODULES = ["fastbp"] + [
    f"fastbp.{module.name}"
    for module in pkgutil.iter_modules(fastbp.__path__)
    if not module.name.startswith(("_core", "_cpu", "_pool", "__main__"))
]
DOCUMENTS_WITH_EXAMPLES = [path for path in sorted((CHECKOUT / "docs").glob("*.md")) if ">>>" in path.read_text()]


def run(tests):
    """Runs doctests and returns how many examples there were; a failure shows doctest's own report."""
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    report = []
    for test in tests:
        runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)
    return runner.tries


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    run(doctest.DocTestFinder(exclude_empty=True).find(module))


@pytest.mark.skipif(not README.exists(), reason="README.md is not here")
def test_examples_in_the_readme_run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run([examples_in(README)]) >= 10


@pytest.mark.parametrize("path", DOCUMENTS_WITH_EXAMPLES, ids=lambda path: path.name)
def test_examples_in_the_documents_run(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run([examples_in(path)])


def examples_in(path):
    return doctest.DocTestParser().get_doctest(path.read_text(), {}, path.name, str(path), 0)


@pytest.mark.skipif(not README.exists(), reason="README.md is not here")
@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_files_that_a_document_names_exist(document):
    named = re.findall(
        r"[`(]((?:src|fastbp|tests|bench|\.ci)/[\w./]*|\w+\.(?:py|md))[`)]", (CHECKOUT / document).read_text()
    )
    assert named
    assert [path for path in named if not (CHECKOUT / path).exists()] == []


@pytest.mark.parametrize("name", [name for name in fastbp.__all__ if not name.startswith("__")])
def test_everything_public_has_a_docstring_with_an_example(name):
    public = getattr(fastbp, name)
    assert public.__doc__, name
    assert ">>>" in public.__doc__, name


@pytest.mark.parametrize("cls", [fastbp.Network, fastbp.Ensemble, fastbp.Run], ids=lambda cls: cls.__name__)
def test_so_has_every_public_method(cls):
    without = [
        name
        for name, method in vars(cls).items()
        if not name.startswith("_") and inspect.isroutine(method) and ">>>" not in (inspect.getdoc(method) or "")
    ]
    assert without == []
