"""Runs `ssdiff-sharpen`: its line, its progress, its end. Nothing here is of QGIS, so that it is tested without."""
import json
import os
import queue
import shlex
import shutil
import signal
import subprocess
import threading
import time

SENSORS = "WV3", "WV2", "WV4", "QB", "GF2", "IKONOS", "GE1"
METHODS = "SSDiff", "MTF-GLP-FS", "BDSD-PC", "BT-H", "EXP"
REGISTRATIONS = "auto", "array", "band", "off"  # What `ssdiff-sharpen --register` takes, the default first
PATIENCE = 20 # Seconds that a run which is cancelled may take to clear up

# QGIS sets these for its own Python, GDAL and PROJ; another Python must not see them
FOREIGN = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_LIB", "PROJ_DATA",
           "QT_PLUGIN_PATH")


class Failed(Exception):
    """A run that came to no result; the message is for the user."""


def find_command(environment=""):
    """The path of `ssdiff-sharpen`: in a folder, or that path itself; of nothing, as the system finds it."""
    given = os.path.expanduser(str(environment or "").strip())
    names = "ssdiff-sharpen", "ssdiff-sharpen.exe"
    if not given:
        found = shutil.which(names[0])
        if found: return found
        raise Failed("No environment is named. Make one, install ssdiff into it, and name its folder in "
                     "Settings > Options > Processing > Providers > ssdiff, or in the algorithm's advanced parameters.")
    if os.path.isfile(given): return given
    folders = "", "bin", "Scripts", os.path.join(".venv", "bin"), os.path.join(".venv", "Scripts")
    for path in (os.path.join(given, folder, name) for folder in folders for name in names):
        if os.path.isfile(path): return path
    raise Failed(f"There is no ssdiff-sharpen in {given}; name the folder of a Python environment that ssdiff is "
                 "installed in (the one that has bin or Scripts in it).")


def command_line(command, pan, ms, out, sensor, method="SSDiff", register="auto", uncertainty="", samples=8,
                 extra=""):
    """The arguments of a run. What is written has been agreed upon with QGIS, so it may be replaced."""
    line = [command, pan, ms, out, "--sensor", sensor, "--method", method, "--register", register]
    line += ["--json", "--overwrite"]
    if uncertainty: line += ["--uncertainty", uncertainty, "--samples", str(samples)]
    try: return line + shlex.split(extra or "")
    except ValueError as e: raise Failed(f"The additional options cannot be read ({e}): {extra}") from e


def clean_environment():
    return {k: v for k, v in os.environ.items() if k not in FOREIGN} | {"PYTHONIOENCODING": "utf-8"}


def run(line, progress, say, cancelled):
    """What the command found out, a dictionary; None if it was cancelled.

    progress(what, share) hears how far it is, say(text) what else it says, cancelled() tells whether to stop.
    """
    apart = dict(creationflags=subprocess.CREATE_NO_WINDOW) if os.name == "nt" else dict(start_new_session=True)
    pipes = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    coded = dict(encoding="utf-8", errors="replace")
    try: process = subprocess.Popen(line, env=clean_environment(), **pipes, **coded, **apart)
    except OSError as e: raise Failed(f"{line[0]} cannot be started ({e}); is it the command of an environment?") from e
    heard, out, last = queue.Queue(), [], ""
    readers = [threading.Thread(target=f, daemon=True)
               for f in (lambda: out.append(process.stdout.read()), lambda: _pass_on(process.stderr, heard))]
    for r in readers: r.start()
    stopped = False
    while True:
        if cancelled() and not stopped:
            stopped = True
            _stop(process)
        try: text = heard.get(timeout=.2)
        except queue.Empty: continue
        if text is None: break
        step = _step(text)
        if step: progress(*step)
        else:
            last = text
            say(text)
    for r in readers: r.join()
    for pipe in (process.stdout, process.stderr): pipe.close()
    code = process.wait()
    if stopped: return None
    if code: raise Failed(last or f"ssdiff-sharpen ended with exit status {code} and said nothing.")
    try: return json.loads("".join(out))
    except ValueError: raise Failed(f"ssdiff-sharpen said what is no JSON: {''.join(out)[:200]}") from None


def _pass_on(stream, heard):
    for text in stream: heard.put(text.rstrip("\n"))
    heard.put(None)


def _step(text):
    """What is at work and how much of it is done, if a line tells that."""
    try: said = json.loads(text)
    except ValueError: return None
    if not isinstance(said, dict) or "progress" not in said: return None
    return said["progress"], said["done"]/max(said["total"] or 0, said["done"], 1)


def _stop(process):
    """Ask a run and what it has started to end, and make them end if they do not."""
    if os.name == "nt":  # knows no way to ask; the next run removes what this one has begun
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True)
        return
    _signal(process, signal.SIGTERM)  # it clears up, as after Ctrl-C
    threading.Thread(target=_make_sure, args=(process,), daemon=True).start()


def _make_sure(process):
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end: time.sleep(.2)
    _signal(process, signal.SIGKILL)


def _signal(process, number):
    try: os.killpg(process.pid, number)
    except ProcessLookupError: pass


def summary(found):
    """What came out, in lines for the log."""
    pixels, seconds = found["pixels"]/1e6, found["seconds"]
    yield f"{found['method']}: {pixels:.2f} megapixels in {seconds:.1f} s"
    if found.get("hqnr") is not None: yield f"HQNR {found['hqnr']:.3f} (1 is ideal)"
    yield from (f"note: {n}" for n in found.get("notes", ()))
