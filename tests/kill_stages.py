"""`python tests/kill_stages.py`: `make reproduce`, killed again and again, ends with the bytes of an undisturbed run.

The profile is ci, and SIGKILL comes at random moments of every kind of stage.
The pipeline runs twice, each time in a clone of its own, once undisturbed.
Prints a Markdown table: every kill, then what was compared. About 25 minutes for 20 kills on two cores.
Half of the kills hit the process group, as `kill -9` does:
the notebook's own process has a session of its own and lives on for up to a second.
The others hit everything at once, as a power cut does.
`--kills 0 --elsewhere` asks another question: do two undisturbed runs agree,
one of them with one worker process instead of two, in another time zone and locale?"""
import argparse
import hashlib
import os
import queue
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMPARED = tuple(f"results/ci/{k}/**/*" for k in ("metrics", "scores", "weights", "training", "datasets", "fused"))


def clone(folder, workers=None):
    "A clone of the repository with its data, in the ci profile; if wished, with another number of worker processes."
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, folder], check=True)
    for command in ("dvc pull --quiet data.dvc", "ssdiff-study profile ci"):
        subprocess.run(command.split(), cwd=folder, env=surroundings(folder), check=True)
    if workers:
        params = folder/"params.yaml"
        params.write_text(re.sub(r"workers: \d+", f"workers: {workers}", params.read_text()))
    return folder

ELSEWHERE = dict(TZ="Asia/Kathmandu", LC_ALL="C", LANG="C", PYTHONHASHSEED="7")

def surroundings(folder):
    "The environment of a command in a clone: this Python's commands, and the clone's own modules."
    place = ELSEWHERE if folder.name == "elsewhere" else {}          # another time zone and locale
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, **place, "PATH": path, "PYTHONPATH": str(folder), "OMP_WAIT_POLICY": "passive"}


class Reproduce:
    "`make reproduce` by this Python's environment, in a process group of its own; its output line by line."
    def __init__(self, folder, log):
        old = ["-o", f"{sys.prefix}/.ready", "-o", "data"]
        command = ["make", "--no-print-directory", f"VENV={sys.prefix}", *old, "reproduce-alone"]
        output = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        self.process = subprocess.Popen(command, cwd=folder, env=surroundings(folder), start_new_session=True, **output)
        self.lines, self.log = queue.Queue(), log
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.log.write(line)
            self.log.flush()
            self.lines.put(line)
        self.lines.put(None)

    def stages(self, seconds=None):
        "Names of stages as they begin; None when nothing was said for `seconds`."
        while True:
            try: line = self.lines.get(timeout=seconds)
            except queue.Empty: yield None; continue
            if line is None: return
            if found := re.match(r"Running stage '(.+)':", line): yield found[1]

    def kill(self, everything):
        "SIGKILL to the process group, or to all that descends from it."
        hit = descendants(self.process.pid) if everything else []
        os.killpg(self.process.pid, signal.SIGKILL)
        for pid in hit:
            try: os.kill(pid, signal.SIGKILL)
            except ProcessLookupError: pass
        self.process.wait()


def descendants(pid):
    "Process numbers, whatever session they are in."
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try: parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError): pass
    found, todo = [], [pid]
    while todo:
        todo = [p for p, parent in parents.items() if parent in todo]
        found += todo
    return found


def in_peace(folder, log):
    "Run to the end; the seconds of each stage, in the order of their beginnings."
    # Two run at a time, so one has ended when the next but one begins
    run, begun = Reproduce(folder, log), []
    for stage in run.stages(): begun.append((stage, time.monotonic()))
    if run.process.wait(): raise SystemExit(f"the undisturbed run failed; see {log.name}")
    ends = [t for _, t in begun[2:]] + 2*[time.monotonic()]
    return {stage: end - t for (stage, t), end in zip(begun, ends)}


def plan(seconds, kills, rng):
    """Stages to be killed, and the moments: at least two of every kind if there are enough kills.

    The moments are spread over the stage and a little beyond, where DVC takes its results."""
    kinds = {}
    for stage in seconds: kinds.setdefault(stage.split("@")[0], []).append(stage)
    order = sorted(kinds, key=lambda k: rng.random())
    chosen = [rng.choice(kinds[order[i % len(order)]]) for i in range(kills)]
    return sorted(((s, rng.uniform(0, 1.15)*seconds[s]) for s in chosen), key=lambda k: list(seconds).index(k[0]))


def disturbed(folder, kills, order, log, rng):
    "Run with kills, then to the end; a row for each kill."
    # A stage that is done when its turn comes stands for the next that begins
    rows, place = [], {stage: i for i, stage in enumerate(order)}
    for chosen, after in kills:
        run, hit = Reproduce(folder, log), None
        for hit in run.stages():
            if place[hit] >= place[chosen]: break
        stop = time.monotonic() + after
        while time.monotonic() < stop and run.process.poll() is None: time.sleep(.005)
        everything = rng.random() < .5
        if run.process.poll() is None: run.kill(everything)
        elif run.process.returncode: raise SystemExit(f"a run after a kill failed; see {log.name}")
        else: after = None                                       # nothing was left to be done
        rows.append((hit or chosen, after, "all processes" if everything else "process group"))
    in_peace(folder, log)
    return rows


def digests(folder):
    "SHA-256 of every compared file."
    files = [p for pattern in COMPARED for p in folder.glob(pattern) if p.is_file()]
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def report(rows, a, b, seconds):
    if rows: print("| stage | killed after | what was hit |\n|---|---|---|")
    for stage, after, what in rows:
        print(f"| {stage} | {'not reached' if after is None else f'{after:.2f} s'} | {what} |")
    different = sorted({f for f in {*a, *b} if a.get(f) != b.get(f)})
    hit = [r for r in rows if r[1] is not None]
    kinds = {r[0].split("@")[0] for r in hit}
    print(f"\n{len(hit)} kills over {len(kinds)} kinds of stages; {len(a)} files compared with an undisturbed run, "
          f"{len(different)} differ; {seconds/60:.1f} minutes.")
    for f in different: print(f"- {f}: {'missing' if f not in b else 'too much' if f not in a else 'different'}")
    return bool(different) or not a


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--elsewhere", action="store_true",
        help="the second run has one worker process, another time zone and another locale")
    parser.add_argument("--stages", default="", help="only stages whose names match this pattern are killed")
    parser.add_argument("--folder", type=Path, help="where to work, and to leave everything to be looked at")
    parser.add_argument("--against", type=Path,
        help="a clone that has been run to the end already, instead of an undisturbed run")
    return parser.parse_args()


def read_seconds(file):
    "The seconds of each stage of an earlier run"
    return {name: float(s) for name, s in (line.split() for line in file.read_text().splitlines())}


def main():
    args, begin = arguments(), time.monotonic()
    rng = random.Random(args.seed)
    folder = Path(args.folder or tempfile.mkdtemp(prefix="ssdiff-kills-")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder/"log.txt", "w") as log:
        peace = (args.against or clone(folder/"peace")).absolute()
        times = folder/"seconds.txt"
        seconds = read_seconds(args.against.parent/"seconds.txt") if args.against else in_peace(peace, log)
        times.write_text("".join(f"{n} {s:.2f}\n" for n, s in seconds.items()))
        print(f"undisturbed: {len(seconds)} stages", file=sys.stderr)
        other = clone(folder/"elsewhere", 1) if args.elsewhere else clone(folder/"killed")
        asked = {k: v for k, v in seconds.items() if re.search(args.stages, k)}
        rows = disturbed(other, plan(asked, args.kills, rng), list(seconds), log, rng)
    failed = report(rows, digests(peace), digests(other), time.monotonic() - begin)
    if not args.folder and not failed: shutil.rmtree(folder)
    return failed


if __name__ == "__main__": sys.exit(main())
