"""The counts of a gateway for Prometheus, over HTTP on loopback; only where a port was asked for."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .counts import Counts
from .settings import ServeError

COUNTERS = {
    "malformed": "Messages of clients that were no messages",
    "refused": "Requests of clients that were refused",
    "turned_away": "Handshakes without a listed key",
    "sent_bytes": "Bytes of pictures sent to clients",
}
GAUGES = {
    "clients": "Connections that have spoken, the newest 256; one that is gone counts until something is sent to it",
    "waiting": "Jobs that wait",
    "running": "Jobs that run",
    "paused": "Jobs paused for want of disk",
    "free_bytes": "Bytes free on the disk of the data folder",
}
LABELLED = {
    "messages": ("kind", "Messages of clients"),
    "ended": ("state", "Jobs that have ended"),
    "attempts": ("worker", "Starts of a job on a worker"),
    "workers_lost": ("worker", "Worker processes that died, hung or were replaced"),
}


LABELLED_GAUGES = {"ready": ("worker", "Whether a worker is ready")}


class CountsCollector(Collector):
    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        for name, words in COUNTERS.items():
            yield CounterMetricFamily(f"beyondscene_{name}", words, getattr(self._counts, name))
        for name, words in GAUGES.items():
            yield GaugeMetricFamily(f"beyondscene_{name}", words, getattr(self._counts, name))
        for kind, families in ((CounterMetricFamily, LABELLED), (GaugeMetricFamily, LABELLED_GAUGES)):
            for name, (label, words) in families.items():
                family = kind(f"beyondscene_{name}", words, labels=[label])
                for value, count in tuple(getattr(self._counts, name).items()):
                    family.add_metric([value], count)
                yield family


def serve_metrics(port: int, counts: Counts) -> Callable[[], None]:
    """Answer http://127.0.0.1:PORT/metrics in a thread of its own; return what ends that. Raises ServeError."""
    registry = CollectorRegistry()
    registry.register(CountsCollector(counts))
    try:
        server, thread = start_http_server(port, "127.0.0.1", registry)
    except (OSError, OverflowError) as error:  # taken, or beyond 65535
        raise ServeError(f"The metrics port {port} cannot be used ({error}): choose another.") from error

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
