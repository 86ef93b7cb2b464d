"""Serve renders to Blender and other clients on this machine."""

import argparse
from pathlib import Path

from platformdirs import user_data_path

from ..gateway import ServeSettings, serve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    data = user_data_path("beyondscene")
    parser.add_argument("--data", type=Path, default=data, help=f"folder for results and logs; default: {data}")
    parser.add_argument("--bind", default="tcp://127.0.0.1:0", help="loopback address; port 0 takes any free one")
    parser.add_argument(
        "--ready-file", type=Path, default=data / "connection.json", help="written when clients may connect: endpoint and keys"
    )
    parser.add_argument("--models-dir", type=Path, action="append", default=[], help="folder of a model set; may be repeated")
    parser.add_argument("--parent-pid", type=int, help="leave when this process is gone")


def run(asked: argparse.Namespace) -> int:
    return serve(
        ServeSettings(
            data_folder=asked.data,
            ready_file=asked.ready_file,
            bind=asked.bind,
            model_folders=tuple(asked.models_dir),
            parent_pid=asked.parent_pid,
        )
    )
