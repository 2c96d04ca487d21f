"""What users' type checkers see."""

import subprocess
import sys
from pathlib import Path

import pytest
import typed_consumer

CONSUMER = Path(typed_consumer.__file__)


def test_a_typed_program_runs(tmp_path):
    assert 0.5 < typed_consumer.main(tmp_path) <= 1


def test_a_typed_program_passes_mypy_and_a_wrong_one_does_not(tmp_path):
    pytest.importorskip("mypy")
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        'import fastbp as fb\n\nfb.Network([2, 1], actvation="relu").fit([[1.0, 2.0]], [0], optimizer="adam")\n'
    )
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache")]
    done = subprocess.run([*mypy, str(CONSUMER)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    done = subprocess.run([*mypy, str(wrong)], capture_output=True, text=True, cwd=tmp_path)
    assert 'Unexpected keyword argument "actvation"' in done.stdout
    assert 'Argument "optimizer" to "fit"' in done.stdout
