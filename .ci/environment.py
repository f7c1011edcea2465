"""Make .venv for `make demo` or `make test`: say what comes and how large it is, check what can be missing, install.

Runs under whatever `python3` there is, so it is written for Python 3.6: old enough to say that it is too old.
"""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

OLDEST = (3, 11)
ON_DISK_GB = 8  # measured: 7 GB, most of it torch's CUDA libraries, which a machine without a GPU gets too
DOWNLOAD_GB = 3
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def stop(line):
    """Say one line and end."""
    sys.stderr.write(line + "\n")
    sys.exit(1)


def dotted(version):
    """Return a version's major.minor."""
    return ".".join(map(str, version[:2]))


def check_python(version=sys.version_info):
    """Stop where this Python is too old or cannot make environments."""
    if tuple(version[:2]) < OLDEST:
        stop(
            f"Python {dotted(version)} is too old: the atlas needs {dotted(OLDEST)} or newer; "
            "name one with `make PYTHON=/path/to/python3 …`"
        )
    if not (find_spec("venv") and find_spec("ensurepip")):
        stop(f"this Python has no venv module: install it (Debian: apt-get install python{dotted(version)}-venv)")


def check_space(folder):
    """Stop where the disk has no room for the environment."""
    free = shutil.disk_usage(str(folder)).free / 1e9
    if free < ON_DISK_GB:
        stop(f"the environment needs {ON_DISK_GB} GB on disk and {folder} has {free:.1f} GB free: free some space")


def install(folder, venv, extra):
    """Install the project and what it needs, in the versions of constraints.txt."""
    if not (venv / "bin" / "pip").exists():
        subprocess.check_call([sys.executable, "-m", "venv", str(venv)])
    target = f"{folder}[{extra}]" if extra else str(folder)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    if subprocess.call([*pip, "-c", str(folder / "constraints.txt"), "-e", target]):
        stop("pip could not install the environment (above it says why): mend that and run the same command again")


def warm_up(venv):
    """Let numba compile what umap compiles when imported once, here, rather than in two workers of the first build."""
    command = "import umap, faiss, openTSNE, torchvision"
    if subprocess.call([str(venv / "bin" / "python"), "-c", command]):
        stop("the installed packages do not import (above it says why): remove .venv and run the same command again")


def has_browser():
    """Tell whether there is a browser for the tests of the page."""
    return bool(os.environ.get("ATLAS_BROWSER")) or any(shutil.which(name) for name in BROWSERS)


def find_browser():
    """Find a browser, or install Debian's; say plainly what is missing where neither works."""
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not has_browser() and shutil.which("apt-get") and (not prefix or shutil.which("sudo")):
        sys.stdout.write("installing Debian's chromium for the browser tests (about 350 MB on disk)\n")
        sys.stdout.flush()
        environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        for command in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", "chromium"]):
            subprocess.call([*prefix, "apt-get", *command], env=environment, stdout=subprocess.DEVNULL)
    if not has_browser():
        stop(
            "no browser for the browser tests: install Chromium (Debian: apt-get install chromium) "
            "or name one with ATLAS_BROWSER=/path/to/chromium"
        )


def main(kind):
    """Make the environment for ``demo`` or ``test``, and leave the stamp that make looks at."""
    folder = Path(__file__).resolve().parent.parent
    venv = folder / ".venv"
    check_python()
    if not venv.exists():
        check_space(folder)
        sys.stdout.write(
            "setting up .venv: PyTorch, torchvision, UMAP, openTSNE, scikit-learn, FAISS, Bokeh and what they need: "
            f"about {DOWNLOAD_GB} GB to download, {ON_DISK_GB} GB on disk, nothing outside this folder\n"
        )
        sys.stdout.flush()
    install(folder, venv, "test" if kind == "test" else "")
    warm_up(venv)
    if kind == "test":
        find_browser()
    (venv / f"installed-{kind}").write_text("\n")


if __name__ == "__main__":
    main(sys.argv[1])
