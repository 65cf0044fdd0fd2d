"""Makefiles that attack, and how the host tells that they were stopped."""

from __future__ import annotations

from infra.sandbox.port import MIB
from tests.abuse import evidence
from tests.abuse.attack import CONTROLS, Attack, Judge
from tests.abuse.enclosures import HANDLER, MAX_ARTIFACT, MAX_FILES
from tests.abuse.evidence import Seen
from tests.abuse.runs import calm, capped, ended_by, every

B0 = frozenset({"B0"})
NOWHERE: frozenset[str] = frozenset()
LIMITS = {
    "time": 6.0,
    "memory": 256 * MIB,
    "processes": 40,
    "work_bytes": 48 * MIB,
    "file_bytes": 64 * MIB,
    "cpus": 1.0,
}
_SCRIPT = "\t@printf '#!/bin/sh\\n' > main; chmod 755 main\n"
# Compiled, for images need not have setsid(1); make ends only once it is at work.
_LEAVE = (
    "\t@printf '%s\\n' '#include <unistd.h>' 'int main(void)'"
    " '{ setsid(); write(1, \"\\n\", 1); close(1); sleep(30); }' | gcc -w -x c - -o leave\n"
    "\t@mkfifo here; (./leave > here 2>/dev/null &); read line < here; rm here\n"
)


def _refused(seen: Seen) -> list[str]:
    return [] if seen.refusal else [f"it was kept: {', '.join(sorted(seen.kept)[:5])}"]


def _kept(seen: Seen) -> list[str]:
    return [f"it was refused: {seen.refusal}"] if seen.refusal else []


def _tame(seen: Seen) -> list[str]:
    """What is kept is plain, small and few, and holds nothing of somebody else's."""
    found = []
    size = sum(size for _, size in seen.kept.values())
    if size > MAX_ARTIFACT:
        found.append(f"{size // MIB} MiB were kept")
    if len(seen.kept) > MAX_FILES:
        found.append(f"{len(seen.kept)} files were kept")
    found += [f"{name} was kept with mode {mode:o}" for name, (mode, _) in seen.kept.items()
              if mode & 0o7000]  # fmt: skip
    return found


def _secretive(seen: Seen) -> list[str]:
    return ["somebody else's content was read"] if seen.secret.encode() in seen.stdout else []


def _limited(seen: Seen) -> list[str]:
    most = seen.looked.get("tasks", 0)
    if most > LIMITS["processes"] + 3:
        return [f"{most} tasks lived"]
    return [] if seen.processes_limited else ["the limit was not reached"]


def _stopped(seen: Seen) -> list[str]:
    if seen.oom or seen.killed == "timed_out" or seen.exit_code:
        return []
    return ["it ended as if all were well"]


def _ended_well(seen: Seen) -> list[str]:
    return [] if seen.exit_code == 0 else [f"make ended with {seen.exit_code}, {seen.signal}"]


def _build(
    name: str,
    expected: str,
    makefile: str,
    *judges: Judge,
    real: frozenset[str] = NOWHERE,
    controls: frozenset[str] = NOWHERE,
    look: evidence.Look = lambda _: {},
    look_after: float | None = None,
    **limits: float,
) -> Attack:
    return Attack(
        name=f"build: {name}", expected=expected, makefile=makefile, judge=every(calm, *judges),
        real=real, controls=controls | real, limits={**LIMITS, **limits}, look=look,
        look_after=look_after,
    )  # fmt: skip


_ENDLESS = (
    "#include <cstddef>\ntemplate <std::size_t N> struct t { t<N + 1> a; t<N * 2 + 1> b; };\n"
)

# What is kept of a build is judged outside of it, where one control shows as much as two.
BUILDS = (
    _build("write outside", "refused", "all:\n\techo owned > {writable}\n\ttouch /usr/bin/x\n",
           _refused, controls=B0),
    _build("endless recipe", "killed at the limit on time", "all:\n\t@sleep 60\n",
           ended_by("timed_out"), _refused, real=B0, time=1.0),
    _build("endless $(shell)", "killed at the limit on time", "X := $(shell sleep 60)\nall:\n",
           ended_by("timed_out"), _refused, real=B0, time=1.0),
    _build("huge artifact", "refused",
           "all:\n\t@dd if=/dev/zero of=main bs=1M count=200 2>/dev/null; chmod 755 main\n",
           _tame, _refused, real=CONTROLS),
    _build("very many files", "refused", f"all:\n{_SCRIPT}\t@seq 1 3000 | xargs touch\n",
           _tame, _refused, real=B0),
    _build("sparse file of 1 TiB", "refused", f"all:\n{_SCRIPT}\t@truncate -s 1T data\n",
           _tame, _refused, real=B0),
    _build("handler is a link out", "refused", "all:\n\t@ln -s /etc/passwd main\n", _refused,
           real=B0),
    _build("handler is a folder", "refused", "all:\n\t@mkdir main\n", _refused, real=B0),
    _build("handler is a pipe", "refused", "all:\n\t@mkfifo main\n", _refused, real=B0),
    _build("handler is not executable", "kept with mode 0755",
           "all:\n\t@printf '#!/bin/sh\\n' > main\n", _ended_well, _kept,
           lambda seen: [] if seen.kept.get(HANDLER, (0, 0))[0] == 0o755 else ["other mode"]),
    _build("handler is no program", "refused", "all:\n\t@echo text > main\n", _refused,
           real=B0),
    _build("handler is missing", "refused", "all:\n\t@true\n", _refused, controls=B0),
    _build("handler is set-id", "kept with mode 0755", f"all:\n{_SCRIPT}\t@chmod 6755 main\n",
           _tame, _kept, real=CONTROLS),
    _build("process left behind", "ends with the build",
           f"all:\n{_LEAVE}{_SCRIPT}", _kept, real=B0),
    _build("flood of output", "killed at the limit", "all:\n\t@head -c 64M /dev/zero\n", capped,
           real=CONTROLS),
    _build("make -j as fork bomb", "EAGAIN at the limit",
           "all: $(shell seq 1 150)\n%: ; @sleep 30\n.PHONY: all\nMAKEFLAGS += -j\n",
           _limited, _refused, real=CONTROLS, look=evidence.tasks, look_after=1.5, time=4.0),
    _build("#include of a secret", "absent",
           'all:\n\t@printf \'#include "{private}"\\n\' | gcc -E -x c - 2>&1\n',
           _secretive, _refused, real=B0),
    _build(".incbin of a secret", "absent",
           "all:\n\t@printf '.incbin \"{private}\"\\n' | gcc -c -x assembler - -o main;"
           " strings main; cat main\n", _secretive, _refused, real=B0),
    _build('#include "/dev/zero"', "ended at a limit",
           "all:\n\techo '#include \"/dev/zero\"' | gcc -c -x c - -o main\n", _stopped, _refused),
    _build("bomb of templates", "ended at a limit",
           f"all:\n\tprintf '{_ENDLESS.encode('unicode_escape').decode()}t<1> x;\\n' > x.cc;"
           " g++ -ftemplate-depth=100000 -c x.cc -o main\n", _stopped, _refused),
    _build("array of 2 GB", "ended at a limit",
           "all:\n\techo 'char x[2000000000] = {1};' | gcc -c -x c - -o main\n",
           _stopped, _refused),
    _build("rm -rf /", "only its own folder goes",
           "all:\n\t-@rm -rf --no-preserve-root {folder} / 2>/dev/null\n", _refused),
    _build("full folder, make ends with 0", "refused",
           "all:\n\t@cp /bin/true main; cat /dev/zero >> main 2>/dev/null; true\n",
           _ended_well, _refused),
    _build("file at its limit, make ends with 0", "refused",
           "all:\n\t@cp /bin/true main; trap '' XFSZ; cat /dev/zero >> main 2>/dev/null; true\n",
           _ended_well, _refused, file_bytes=16 * MIB),
    _build("20 names of one file", "refused",
           f"all:\n{_SCRIPT}\t@head -c 4M /dev/zero > data; for n in $$(seq 20);"
           " do ln data data.$$n; done\n", _tame, _refused, real=B0),
    _build("folders 100 deep", "refused",
           f"all:\n{_SCRIPT}\t@mkdir -p $$(printf 'd/%.0s' $$(seq 100))\n", _refused,
           real=B0),
    _build("escapes in a name", "refused", f"all:\n{_SCRIPT}\t@touch \"$$(printf 'a\\033[2Jb')\"\n",
           _refused, real=B0),
)  # fmt: skip
