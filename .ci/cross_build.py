"""Compiles the extensions of setup.py for another machine: `cross_build.py MACHINE COMPILER FOLDER FLAGS...`.

What is compiled, and how, comes from setup.py itself, which is only told that it runs on that machine; flags that name
the headers of its Python come from the caller. The modules are written to FOLDER.
"""

import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from distutils.core import run_setup  # of setuptools, where Python no longer has it
from pathlib import Path


def compile_extension(extension, compiler, folder, flags):
    module = Path(folder, extension.name.rsplit(".", 1)[1] + ".so")
    command = [compiler, "-shared", "-fPIC", *flags, *extension.extra_compile_args, *extension.sources]
    command += [f"-D{name}={value}" for name, value in extension.define_macros]
    command += [f"-I{include}" for include in extension.include_dirs]
    subprocess.run([*command, "-o", str(module)], check=True)
    return f"{module.name}: {module.stat().st_size} bytes"


def main(machine, compiler, folder, *flags):
    platform.machine = lambda: machine
    extensions = run_setup("setup.py", stop_after="init").ext_modules
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for line in pool.map(lambda extension: compile_extension(extension, compiler, folder, flags), extensions):
            print(line)


if __name__ == "__main__":
    main(*sys.argv[1:])
