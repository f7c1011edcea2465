"""Make .venv for `make demo` or `make test`: say what comes and how large it is, check what can be missing, install.

Runs under whatever `python3` there is, so it speaks a Python old enough to say that it is too old.
"""

import os
import shutil
import subprocess
import sys

OLDEST = (3, 11)
ON_DISK_GB = 8  # measured: 7.0 GB, most of it torch's CUDA libraries, which a machine without a GPU gets too
DOWNLOAD_GB = 3
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def stop(line):
    sys.stderr.write(line + "\n")
    sys.exit(1)


def check_python():
    if sys.version_info < OLDEST:
        stop(
            "Python %d.%d is too old: the atlas needs %d.%d or newer; name one with `make PYTHON=/path/to/python3 …`"
            % (sys.version_info[:2] + OLDEST)
        )
    try:
        import ensurepip
        import venv  # noqa: F401
    except ImportError:
        version = "%d.%d" % sys.version_info[:2]
        stop("this Python has no venv module: install it (Debian: apt-get install python%s-venv) and try again" % version)
    assert ensurepip


def check_space(folder):
    free = shutil.disk_usage(folder).free / 1e9
    if free < ON_DISK_GB:
        stop("the environment needs %d GB on disk and %s has %.1f GB free" % (ON_DISK_GB, folder, free))


def install(folder, venv, extra):
    if not os.path.exists(os.path.join(venv, "bin", "pip")):
        subprocess.check_call([sys.executable, "-m", "venv", venv])
    target = folder + ("[%s]" % extra if extra else "")
    pip = [os.path.join(venv, "bin", "python"), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "on"]
    code = subprocess.call([*pip, "--quiet", "-c", os.path.join(folder, "constraints.txt"), "-e", target])
    if code:
        stop("pip could not install the environment (above it says why): mend that and run the same command again")


def warm_up(venv):
    """Let numba compile umap's import-time functions once, here, rather than in two workers of the first build."""
    command = "import umap, faiss, openTSNE, torchvision"
    if subprocess.call([os.path.join(venv, "bin", "python"), "-c", command]):
        stop("the installed packages do not import (above it says why): remove .venv and run the same command again")


def find_browser():
    """Find a browser for the tests, or install Debian's; say plainly what is missing where neither works."""
    if os.environ.get("ATLAS_BROWSER") or any(shutil.which(name) for name in BROWSERS):
        return
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if shutil.which("apt-get") and (not prefix or shutil.which("sudo")):
        print("installing Debian's chromium for the browser tests (about 350 MB on disk)", flush=True)
        environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        for command in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", "chromium"]):
            subprocess.call([*prefix, "apt-get", *command], env=environment, stdout=subprocess.DEVNULL)
    if not any(shutil.which(name) for name in BROWSERS):
        stop(
            "no browser for the browser tests: install Chromium (Debian: apt-get install chromium) "
            "or name one with ATLAS_BROWSER=/path/to/chromium"
        )


def main():
    kind = sys.argv[1]
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    venv = os.path.join(folder, ".venv")
    check_python()
    if not os.path.exists(venv):
        check_space(folder)
        print(
            "setting up .venv: PyTorch, torchvision, UMAP, openTSNE, scikit-learn, FAISS, Bokeh and what they need: "
            "about %d GB to download, %d GB on disk, nothing outside this folder" % (DOWNLOAD_GB, ON_DISK_GB),
            flush=True,
        )
    install(folder, venv, "test" if kind == "test" else "")
    warm_up(venv)
    if kind == "test":
        find_browser()
    with open(os.path.join(venv, "installed-" + kind), "w") as stamp:
        stamp.write("\n")


main()
