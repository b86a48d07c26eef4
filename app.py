"""Opens the demo's recorded strip in a browser: `make app`."""

from skd_lab.app import build_app, launch

if __name__ == "__main__":
    launch(build_app())
