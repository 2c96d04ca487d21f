"""Builds the compiled core: one Cython source, turned into C once, compiled once per level and dtype."""

import os
import platform
import sys
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# level: (compiler flags, bytes of a vector). docs/levels.md says what each needs of the CPU.
X86_LEVELS = {
    "v2": (["-march=x86-64-v2", "-O2"], 16),  # for old CPUs: a tenth smaller than by -O3
    "v3": (["-march=x86-64-v3"], 32),
    "v4": (["-march=x86-64-v4", "-mprefer-vector-width=512"], 64),
}
ARM_LEVELS = {"neon": ([], 16)}
GENERIC_LEVELS = {"generic": ([], 16)}
DTYPES = {"float32": 32, "float64": 64}

FLAGS = [
    "-O3",
    "-g0",  # debugging symbols would make each module four times as large
    "-fno-math-errno",  # sqrt as one instruction; nothing reads errno. Values are unchanged
    "-ffp-contract=fast",  # a * b + c as one fused instruction where the level has it, in clang as in GCC
    "-fno-tree-vectorize",  # what is to be vectors is written as vectors: 3 % of the size, no time
    "-fno-trapping-math",  # lets selections be compiled without branches. Values are unchanged
    "-fno-asynchronous-unwind-tables",  # C without exceptions needs none: 2 % of the size
    "-Wall",
    "-Wextra",
    "-Wno-unused-function",
    "-Wno-unused-parameter",
    "-Wno-missing-field-initializers",
]
SANITIZER_FLAGS = [
    "-O1",
    "-g1",  # file and line in reports
    "-fno-omit-frame-pointer",
    "-fno-sanitize-recover=undefined",
    "-U_FORTIFY_SOURCE",  # its checked copies would bypass the sanitizer's
]
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
}


def levels():
    """The levels of this machine; FASTBP_BUILD_LEVELS="v3,v4" builds only those, for a short edit loop."""
    machine = platform.machine().lower()
    all_levels = GENERIC_LEVELS
    if machine in ("x86_64", "amd64"):
        all_levels = X86_LEVELS
    elif machine in ("aarch64", "arm64"):
        all_levels = ARM_LEVELS
    wanted = os.environ.get("FASTBP_BUILD_LEVELS")
    return {name: all_levels[name] for name in wanted.split(",")} if wanted else all_levels


def sanitizers():
    """Flags to compile and to link with.

    FASTBP_SANITIZE=1 is address,undefined; memcheck prepares a run under valgrind.
    """
    names = os.environ.get("FASTBP_SANITIZE")
    if not names:
        return [], []
    if names == "memcheck":
        return [*SANITIZER_FLAGS, "-DFASTBP_MEMCHECK"], []
    switch = f"-fsanitize={'address,undefined' if names == '1' else names}"
    return [*SANITIZER_FLAGS, switch], [switch]


def fresh_copy(source, name, build):
    """A copy of C that Cython made, written, and so compiled, anew where it or `build` (flags, macros) has changed."""
    copy = source.with_name(f"{name}.c")
    text = f"/* {build} */\n{source.read_text()}"
    if not copy.exists() or copy.read_text() != text:
        copy.write_text(text)
    return str(copy)


def extensions():
    """The extensions, from copies of the C that Cython makes once: cythonizing one source twice leaks macros."""
    strict = bool(os.environ.get("FASTBP_STRICT"))
    Options.warning_errors = strict
    testing = [("FASTBP_TESTING", "1")] if os.environ.get("FASTBP_TESTING") else []  # see src/memory.h
    sanitizer_flags, link_flags = sanitizers()
    if sys.platform.startswith("linux") and not sanitizer_flags:
        link_flags = ["-s"]  # no symbols: 2 % of the size
    inline = "inline" if sanitizer_flags else "inline __attribute__((always_inline))"  # a fifth of the time to compile
    flags = FLAGS + (["-Werror"] if strict else []) + sanitizer_flags
    generated = cythonize(
        [
            Extension("fastbp._core", ["src/engine.pyx"]),
            Extension("fastbp._cpu", ["src/cpu.pyx"]),
            Extension("fastbp._pool", ["src/pool.pyx"]),
        ],
        include_path=["src"],
        compiler_directives=DIRECTIVES | {"warn.unused": strict, "warn.unused_arg": False},
        build_dir="build/c",
    )
    core, *others = (Path(extension.sources[0]) for extension in generated)
    headers = [str(path) for path in sorted(Path("src").glob("*.h"))]
    built = [
        Extension(
            f"fastbp._{source.stem}",
            [fresh_copy(source, f"_{source.stem}", flags)],
            include_dirs=["src"],
            depends=headers,
            extra_compile_args=[*flags, "-O2", "-pthread"],  # nothing there runs long
            extra_link_args=[*link_flags, "-pthread"],
        )
        for source in others
    ]
    for level, (level_flags, vector_bytes) in levels().items():
        for dtype, bits in DTYPES.items():
            name = f"_core_{level}_{dtype}"
            built.append(
                Extension(
                    f"fastbp.{name}",
                    [fresh_copy(core, name, (flags, testing))],
                    include_dirs=["src"],
                    depends=headers,
                    define_macros=[
                        ("PyInit__core", f"PyInit_{name}"),
                        ("REAL_BITS", str(bits)),
                        ("VECTOR_BYTES", str(vector_bytes)),
                        ("FASTBP_LEVEL", f'"{level}"'),
                        ("FASTBP_FLAGS", f'"{" ".join(flags[:6] + level_flags)}"'),
                        ("CYTHON_INLINE", inline),
                        *testing,
                    ],
                    extra_compile_args=flags + level_flags,
                    extra_link_args=link_flags,
                )
            )
    return built


class ParallelBuild(build_ext):
    """Compiles the levels side by side: each is a minute of work for the compiler."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()


setup(ext_modules=extensions(), cmdclass={"build_ext": ParallelBuild})
