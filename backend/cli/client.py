"""Say who may use the backend of a data folder: add, allow, set, revoke, list. A running one takes it up at once."""

import argparse
import shlex
from pathlib import Path
from typing import Any, get_args

import msgspec

from ...protocol import Refusal, write_connection
from ...protocol.connection import fingerprint
from ...protocol.text import one_line
from ..gateway.allow_list import Listed, Role, add, change, list_path, read_list, revoke
from ..gateway.keys import ServerKeys, read_keys
from ..gateway.settings import GIB
from ..gateway.sockets import KeyPair
from ..home import user_data_path
from . import DONE, say
from .arguments import amount, count
from .target import check_secret_target, make_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="add|allow|set|revoke|list")
    words = {
        "add": "make keys for NAME and list them; OUT is all that the artist needs, for --key-file or the add-on's preferences",
        "allow": "list the keys that NAME has made with `beyondscene keygen --backend`",
        "set": "change the role or the quotas of NAME, who keeps the key",
        "revoke": "let NAME in no more",
        "list": "name, role, fingerprint of everybody listed, and the quotas of those who have others than the default",
    }
    made = {action: actions.add_parser(action, description=text, help=text) for action, text in words.items()}
    data = user_data_path("beyondscene")
    for action, command in made.items():
        command.add_argument("--data", type=Path, default=data, help=f"folder of the backend; default: {data}")
        if action != "list":
            command.add_argument("name", metavar="NAME", help="a label, for lists and logs")
        if action in ("add", "allow", "set"):
            default = "default: as it was" if action == "set" else "default: {}"
            command.add_argument("--role", choices=get_args(Role), help=default.format("submit"))
            command.add_argument("--jobs", type=count, help=f"that may wait at a time; {default.format(100)}")
            command.add_argument("--keep", type=amount, metavar="GIB", help=f"of unfetched pictures; {default.format(20)}")
    made["add"].add_argument("-o", "--output", type=Path, required=True, help="OUT, which holds a secret: send it safely")
    made["allow"].add_argument("public_key", type=Path, metavar="FILE.pub")


def run(args: argparse.Namespace) -> int:
    path = list_path(args.data)
    match args.action:
        case "add":
            keys, pair = keys_of(args.data), KeyPair.new()
            check_secret_target(args.output)
            add(path, listed(args, pair.public.decode()))
            try:
                make_folder(args.output)
                write_connection(args.output, pair.connection(keys.endpoint, keys.public_key))
            except OSError:
                revoke(path, args.name)
                raise
            print(f"{args.output}: all that '{args.name}' needs, with a secret in it: hand it over safely")
        case "allow":
            keys_of(args.data)
            client = listed(args, read_public_key(args.public_key))
            add(path, client)
            print(describe(client))
        case "set":
            terms = terms_of(args)
            if not terms:
                raise Refusal(f"Nothing is to be changed for '{args.name}': add --role, --jobs or --keep.")
            print(describe(change(path, args.name, terms)))
        case "revoke":
            revoke(path, args.name)
            print(f"'{args.name}' is let in no more")
        case "list":
            if not args.data.is_dir():
                raise Refusal(f"There is no folder {args.data}: name the one that `beyondscene serve --data` was given.")
            clients = read_list(path).clients
            for client in clients:
                print(describe(client))
            if not clients:
                say(f"nobody is listed in {path}")
    return DONE


def read_public_key(path: Path) -> str:
    """Raises Refusal for a file that cannot be read, or that is the secret one beside it."""
    if path.suffix == ".json":
        raise Refusal(f"{path} may be the file with the secret, which stays with its owner: name the .pub file beside it.")
    try:
        return path.read_text(errors="replace").strip()
    except OSError as error:
        raise Refusal(
            f"{path} cannot be read ({error.strerror}): name the .pub that `beyondscene keygen --backend` made."
        ) from error


def listed(args: argparse.Namespace, public_key: str) -> Listed:
    """Raises Refusal for what cannot be listed."""
    if args.name != one_line(args.name):
        raise Refusal(f"The name '{args.name}' has control characters, which would spoil lists and logs: leave them out.")
    try:
        return msgspec.convert({"name": args.name, "public_key": public_key, **terms_of(args)}, Listed)
    except msgspec.ValidationError as error:
        raise Refusal(
            f"'{args.name}' cannot be listed ({error}): a name has 1 to 128 characters, and the key is in the .pub "
            "that `beyondscene keygen --backend` made."
        ) from error


def terms_of(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of a Listed that the command names."""
    stored_bytes = None if args.keep is None else int(args.keep * GIB)
    terms = {"role": args.role, "waiting_jobs": args.jobs, "stored_bytes": stored_bytes}
    return {name: value for name, value in terms.items() if value is not None}


def describe(client: Listed) -> str:
    """One line; quotas are told where they are not the default."""
    words = [one_line(client.name), client.role, fingerprint(client.public_key)]
    usual = Listed(name=client.name, public_key=client.public_key)
    if client.waiting_jobs != usual.waiting_jobs:
        words.append(f"--jobs {client.waiting_jobs}")
    if client.stored_bytes != usual.stored_bytes:
        words.append(f"--keep {client.stored_bytes / GIB:g}")
    return "  ".join(words)


def keys_of(data_folder: Path) -> ServerKeys:
    keys = read_keys(data_folder)
    if keys is None:
        command = f"beyondscene keygen --data {shlex.quote(str(data_folder))} --endpoint tcp://HOST:PORT"
        raise Refusal(f"The backend in {data_folder} has no keys that last: make them with `{command}`.")
    return keys
