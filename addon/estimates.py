"""What pictures would take, as the backend tells: of each scene the answer to the newest question counts."""

from ..protocol import Estimated, RenderRequest
from .link import Link


class Estimates:
    """known: what a picture of a scene as that now stands would take, by the scene's session_uid."""

    def __init__(self, link: Link) -> None:
        self.known: dict[int, Estimated] = {}
        self._link = link
        self._questions: dict[int, int] = {}  # how many about each scene: the newest answer has that number

    def ask(self, scene: int, request: RenderRequest, models: str) -> None:
        """Ask what a picture of `scene`, a session_uid, would take; where no backend is there, nobody is asked."""
        if self._link.state == "ready":
            self._questions[scene] = self._questions.get(scene, 0) + 1
            key = f"{scene}/{self._questions[scene]}"
            self._link.ask(lambda client: client.estimate(key, request, models))

    def take(self, answer: Estimated) -> bool:
        """False where it has been overtaken by a later question."""
        scene, number = map(int, answer.key.split("/"))
        if number != self._questions.get(scene):
            return False
        self.known[scene] = answer
        return True
