"""Measure what docs/serving.md states about speed and memory, and print one table.

    python tools/measure_serving.py [--cancels 100] [--transfers 5] [--clients 20]

A real gateway with the tests' stand-in for the pipeline. Whatever else the machine does is in the figures: its load is
printed with them.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path

import psutil
import zmq
from beyondscene.protocol import Cancel, Cancelled, Fetch, Finished, Ping, Pong, Progressed, Stopping
from beyondscene.protocol.messages import CHUNK_BYTES, CREDIT_CHUNKS
from beyondscene.tests.backend.serving.talk import Running, Talk, picture

MIB = 2**20
SIDE_PX = 2048  # of the picture that is transferred: about 12 MiB


def cancels(gateway: Running, count: int) -> list[tuple[str, str]]:
    """From Cancel to Stopping, and to Cancelled, of a job whose steps take 10 ms."""
    acknowledged_ms, effective_ms = [], []
    talk = Talk(gateway.connection())
    talk.greet()
    for _ in range(count):
        job_id = talk.submit(picture(steps=999))
        talk.hear_until(Progressed, job_id)
        said_s = time.perf_counter()
        talk.say(Cancel(job_id=job_id))
        talk.hear_until(Stopping, job_id)
        acknowledged_ms.append(1e3 * (time.perf_counter() - said_s))
        talk.hear_until(Cancelled, job_id)
        effective_ms.append(1e3 * (time.perf_counter() - said_s))
    talk.close()
    return [
        (f"cancel acknowledged, p50 / p99 of {count}", quantiles(acknowledged_ms)),
        ("cancel in effect, p50 / p99", quantiles(effective_ms)),
    ]


def quantiles(milliseconds: list[float]) -> str:
    ordered = sorted(milliseconds)
    return f"{statistics.median(ordered):.0f} / {ordered[int(0.99 * (len(ordered) - 1))]:.0f} ms"


def transfers(gateway: Running, count: int) -> list[tuple[str, str]]:
    """A picture fetched as the add-on does, and the same bytes through bare sockets with and without CURVE."""
    talk = Talk(gateway.connection())
    talk.greet()
    finished = talk.hear_until(Finished, talk.submit(picture(steps=1, side_px=SIDE_PX)), timeout_s=300)
    rates, data = [], b""
    for _ in range(count):
        start_s = time.perf_counter()
        data = talk.fetch(finished)
        rates.append(len(data) / MIB / (time.perf_counter() - start_s))
    talk.close()
    rows = [(f"a picture of {finished.size_bytes / MIB:.0f} MiB from the gateway, median of {count}", rate(rates))]
    for curve in (True, False):
        bare = [bare_transfer(data, curve) for _ in range(count)]
        rows.append((f"the same chunks through bare sockets, {'with' if curve else 'without'} CURVE", rate(bare)))
    return rows


def rate(rates: list[float]) -> str:
    return f"{statistics.median(rates):.0f} MiB/s"


def bare_transfer(data: bytes, curve: bool) -> float:
    """MiB/s of chunks with the gateway's credit, between two threads."""
    chunks = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
    with zmq.Context() as context, context.socket(zmq.ROUTER) as server, context.socket(zmq.DEALER) as client:
        if curve:
            public, secret = zmq.curve_keypair()
            server.curve_server, server.curve_secretkey, server.curve_publickey = True, secret, public
            client.curve_serverkey = public
            client.curve_publickey, client.curve_secretkey = zmq.curve_keypair()
        for one in (server, client):
            one.linger = 0
        port = server.bind_to_random_port("tcp://127.0.0.1")
        client.connect(f"tcp://127.0.0.1:{port}")

        def serve() -> None:
            while (request := server.recv_multipart())[1] != b"end":
                for at in range(int(request[1]), min(int(request[1]) + CREDIT_CHUNKS, len(chunks))):
                    server.send_multipart([request[0], chunks[at]])

        thread = threading.Thread(target=serve)
        thread.start()
        start_s = time.perf_counter()
        for first in range(0, len(chunks), CREDIT_CHUNKS):
            client.send(b"%d" % first)
            for _ in chunks[first : first + CREDIT_CHUNKS]:
                client.recv()
        seconds = time.perf_counter() - start_s
        client.send(b"end")
        thread.join()
    return len(data) / MIB / seconds


def slow_clients(gateway: Running, count: int) -> list[tuple[str, str]]:
    """Clients that ask for a picture and do not read, while another one is served."""
    talk = Talk(gateway.connection())
    talk.greet()
    finished = talk.hear_until(Finished, talk.submit(picture(steps=1, side_px=SIDE_PX)), timeout_s=300)
    process = psutil.Process(gateway.process.pid)
    before_bytes = process.memory_info().rss
    idlers = [Talk(gateway.connection(), receive_messages=1) for _ in range(count)]
    for idler in idlers:
        idler.greet()
    most_bytes, pongs_ms = 0, []
    for _ in range(50):
        for idler in idlers:
            idler.say(Fetch(job_id=finished.job_id, offset=0))
        start_s = time.perf_counter()
        talk.say(Ping())
        talk.hear_until(Pong)
        pongs_ms.append(1e3 * (time.perf_counter() - start_s))
        most_bytes = max(most_bytes, process.memory_info().rss)
        time.sleep(0.05)
    for one in (*idlers, talk):
        one.close()
    grown = (most_bytes - before_bytes) / MIB
    return [
        (f"memory of the gateway for {count} clients that do not read", f"+{grown:.0f} MiB, {grown / count:.1f} each"),
        ("answer to a ping meanwhile, p50 / p99", quantiles(pongs_ms)),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cancels", type=int, default=100)
    parser.add_argument("--transfers", type=int, default=5)
    parser.add_argument("--clients", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        gateway = Running(Path(folder))
        rows = [
            *cancels(gateway, args.cancels), *transfers(gateway, args.transfers), *slow_clients(gateway, args.clients)
        ]  # fmt: skip
        gateway.process.terminate()
        gateway.process.communicate()
    print("| what | figure |\n|---|---|")
    print("\n".join(f"| {what} | {figure} |" for what, figure in rows))
    print(f"\n{os.cpu_count()} CPUs, load {', '.join(f'{load:.1f}' for load in os.getloadavg())}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
