"""The open conversation: its stored messages, the branch that is shown, and its parameters."""

from collections.abc import Mapping

from ui.api.client import Api
from ui.api.errors import ApiError
from ui.api.schema import Conversation, Message
from ui.state.generation import Answer
from ui.state.parameters import NO_SYSTEM, Parameters
from ui.state.thread import Turn, turns
from ui.state.tree import Tree

MAX_PAGES_BACK = 4
CHOSEN = "chosen"
"""Where the metadata names the answer that was kept of several."""


class OpenConversation:
    """A conversation, or (with `id` None) a new one. Calls raise `ApiError`."""

    def __init__(self, api: Api, conversation_id: str | None) -> None:
        self._api = api
        self.id = conversation_id
        self.about: Conversation | None = None  # what the service told of it when it was opened, or changed here
        self.metadata: Mapping[str, str] = {}
        self.parameters = Parameters()
        self.stored: list[Message] = []  # oldest first, all branches
        self.has_earlier = False
        self.leaf: str | None = None  # the end of the branch that was chosen; the newest message if None
        self._first_leaf: str | None = None

    async def load(self) -> None:
        """Read the newest messages, and how the conversation is answered."""
        if self.id is None:
            return
        page = await self._api.messages(self.id)
        self.stored, self.has_earlier = page.data[::-1], page.has_more
        self.about = await self._api.conversation(self.id)
        self.metadata = self.about.metadata
        self.parameters = Parameters.of(self.metadata)
        self.leaf = self._first_leaf = Tree(self.stored).chosen(self.metadata.get(CHOSEN))

    @property
    def branch(self) -> str | None:
        """The end of the shown branch, unless it is the default branch."""
        return None if self.leaf == self._first_leaf else self.leaf

    async def return_to(self, branch: str) -> None:
        """Show a branch again if its end is among the newest messages."""
        for _ in range(MAX_PAGES_BACK):
            if any(message.id == branch for message in self.stored) or not self.has_earlier:
                break
            await self.load_earlier()
        if any(message.id == branch for message in self.stored):
            self.walk(branch)

    async def load_earlier(self) -> None:
        """Read the messages before the first known one."""
        if self.id is None or not self.stored:
            return
        page = await self._api.messages(self.id, after=self.stored[0].id)
        self.stored, self.has_earlier = page.data[::-1] + self.stored, page.has_more

    async def sync(self) -> None:
        """Load recently stored messages and keep the older known ones."""
        if self.id is None:
            return
        page = await self._api.messages(self.id)
        new = {message.id for message in page.data}
        kept = [message for message in self.stored if message.id not in new]
        if page.has_more and len(kept) == len(self.stored):  # too many new messages: the two lists do not overlap
            kept = []
        self.has_earlier = self.has_earlier if kept else page.has_more
        self.stored = kept + page.data[::-1]

    async def answer_with(self, parameters: Parameters) -> None:
        """Use `parameters` from the next question on, and store them if the conversation exists."""
        if self.id is not None:
            self.metadata = await self._api.keep(self.id, parameters.within)
        self.parameters = parameters

    def turns(self, answer: Answer | None) -> list[Turn]:
        """Return what is shown."""
        return turns(self.stored, answer, self.leaf)

    def walk(self, message_id: str) -> None:
        """Show the branch of that message, up to its end."""
        self.leaf = Tree(self.stored).leaf(message_id)

    async def system_for(self, parent: str | None) -> str:
        """Return the system prompt to send with a question after `parent`; "" if it is in place already."""
        current = await self._system_of(parent)
        wanted = self.parameters.system or (NO_SYSTEM if current else "")
        return "" if wanted == current else wanted

    async def _system_of(self, parent: str | None) -> str:
        path = [] if parent == "" else Tree(self.stored).path(parent)
        systems = [message.text for message in path if message.role == "system"]
        if systems or not self.has_earlier or self.id is None or parent == "":
            return systems[-1] if systems else ""
        try:
            first = (await self._api.messages(self.id, limit=1, order="asc")).data
        except ApiError:
            return self.parameters.system
        return first[0].text if first and first[0].role == "system" else ""
