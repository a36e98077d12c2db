"""Fuzzes one target in this process: python -m tests.fuzz.one TARGET FOLDER SECONDS.

libFuzzer ends the process when it is done.
"""

import sys

import atheris

with atheris.instrument_imports(include=["tubeherd", "tubeherd_operator"]):
    from tests.fuzz.targets import TARGETS

name, folder, seconds = sys.argv[1:]
target = TARGETS[name]
options = [f"-max_total_time={seconds}", f"-max_len={target.longest}", f"-artifact_prefix={folder}/failed-", "-seed=1"]
options += ["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"]
atheris.Setup([__file__, *options, f"{folder}/corpus"], target.run)
atheris.Fuzz()
