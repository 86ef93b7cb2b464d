"""Make keys that last: a backend's (--data DIR --endpoint E), or a client's own (--backend FILE -o OUT)."""

import argparse
from pathlib import Path

from ...protocol import Refusal, write_connection
from ...protocol.connection import Invitation, fingerprint, read_invitation, write_invitation
from ..gateway.keys import keys_path, make_keys
from ..gateway.sockets import KeyPair
from ..home import user_data_path
from . import DONE
from .target import check_secret_target, check_target, make_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--endpoint", metavar="tcp://HOST:PORT", help="of the backend in --data, as its clients see it")
    whose.add_argument("--backend", type=Path, metavar="FILE", help="the invitation.json of a backend that is to be used")
    data = user_data_path("beyondscene")
    parser.add_argument("--data", type=Path, help=f"with --endpoint: folder of the backend; default: {data}")
    parser.add_argument("-o", "--output", type=Path, help="with --backend: the file for --key-file, which stays with its owner")


def run(args: argparse.Namespace) -> int:
    if args.endpoint is not None:
        if args.output:
            raise Refusal("-o names the file of a client's own keys, made with --backend: a backend's are in --data DIR.")
        data = args.data or user_data_path("beyondscene")
        keys = make_keys(data, args.endpoint)
        path = data / "invitation.json"
        try:
            write_invitation(path, Invitation(endpoint=keys.endpoint, server_public_key=keys.public_key))
        except OSError:
            keys_path(data).unlink()  # so that the command can be given again
            raise
        print(f"{path}: for artists who make their own keys; the backend's fingerprint is {fingerprint(keys.public_key)}")
        return DONE
    if args.data:
        raise Refusal("--data is the folder of a backend, whose keys are made with --endpoint: a client's go to -o FILE.")
    if args.output is None:
        raise Refusal("A client's keys need a place: add -o FILE.")
    public = args.output.with_name(f"{args.output.name}.pub")
    check_secret_target(args.output)
    check_target(public)
    invitation, pair = read_invitation(args.backend), KeyPair.new()
    connection = pair.connection(invitation.endpoint, invitation.server_public_key)
    make_folder(args.output)
    write_connection(args.output, connection)
    try:
        public.write_bytes(pair.public + b"\n")
    except OSError:
        args.output.unlink()
        raise
    print(f"{public}: send it to whoever runs the backend; its fingerprint is {fingerprint(connection.client_public_key)}")
    return DONE
