"""Serve renders to Blender and other clients, on this machine or, once clients are listed, on others."""

import argparse
from pathlib import Path

from ...protocol import Refusal
from ..gateway import InUseError, ServeSettings, serve
from ..gateway.settings import GIB
from ..home import user_data_path
from ..models.memory_saving import check_precision
from . import IN_USE, say
from .arguments import amount, endpoint, port, process
from .device import add_offload, add_precision


def add_arguments(parser: argparse.ArgumentParser) -> None:
    data = user_data_path("beyondscene")
    parser.add_argument("--data", type=Path, default=data, help=f"folder for jobs, pictures and logs; default: {data}")
    parser.add_argument(
        "--bind",
        type=endpoint,
        default="tcp://127.0.0.1:0",
        help="address to listen on; others than loopback once clients are listed; port 0: any",
    )
    parser.add_argument("--ready-file", type=Path, help="written when clients may connect; default: connection.json in --data")
    parser.add_argument(
        "--keep",
        type=amount,
        default=20.0,
        metavar="GIB",
        help="of finished pictures; beyond, the oldest fetched ones go; default: 20",
    )
    parser.add_argument(
        "--devices",
        default="auto",
        metavar="NAMES",
        help="with a worker for each, such as cuda:0,cuda:1; default: auto, which is all GPUs, or else the CPU",
    )
    add_precision(parser)
    add_offload(parser)
    where = "folder of a model set, or a finetune of SDXL in one file; may be repeated"
    parser.add_argument("--models-dir", type=Path, action="append", default=[], help=where)
    parser.add_argument(
        "--stuck-after",
        type=amount,
        default=1800.0,
        metavar="SECONDS",
        help="in which a job did not get on, its worker is replaced; 0: never; default: 1800",
    )
    parser.add_argument(
        "--release-after",
        type=amount,
        default=5.0,
        metavar="MINUTES",
        help="without a job a worker ends, so that other programs have the device, until the next one; 0: never; default: 5",
    )
    parser.add_argument(
        "--idle-exit",
        type=amount,
        default=0.0,
        metavar="MINUTES",
        help="without a job and without a client the backend leaves; 0, the default: never",
    )
    parser.add_argument("--metrics-port", type=port, help="for Prometheus, on loopback; default: none")
    parser.add_argument("--parent-pid", type=process, help="leave when this process is gone")


def run(args: argparse.Namespace) -> int:
    settings = ServeSettings(
        data_folder=args.data,
        ready_file=args.ready_file or args.data / "connection.json",
        results_limit_bytes=int(args.keep * GIB),
        bind=args.bind,
        devices=tuple(args.devices.split(",")),
        precision=args.precision,
        offload=args.offload,
        stuck_s=args.stuck_after or None,
        release_s=60 * args.release_after or None,
        idle_exit_s=60 * args.idle_exit or None,
        metrics_port=args.metrics_port,
        model_folders=tuple(args.models_dir),
        parent_pid=args.parent_pid,
    )
    if not settings.results_limit_bytes:
        raise Refusal("--keep 0 leaves no room for any picture, so that no job could be taken: write how many GiB may be kept.")
    if "cpu" in settings.devices:
        check_precision("cpu", args.precision)
    try:
        return serve(settings)
    except InUseError as error:
        say(str(error))
        return IN_USE
