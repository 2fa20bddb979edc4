"""References to stored items in an input: `{"type": "item_reference", "id": …}`, or the id alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deployments.errors import NotFound
from deployments.history.types import Context, Item, NewItem, new_id
from deployments.responses.store import ResponseStore


@dataclass(frozen=True, slots=True)
class ItemReference:
    """An item of the key's own, by its id; `where` names the field that refers to it."""

    id: str
    where: str


async def resolved(
    store: ResponseStore, tenant: str, given: Sequence[NewItem | ItemReference], context: Context, max_bytes: int
) -> tuple[NewItem, ...]:
    """Return an input with a copy of each item that it refers to, read in one round trip.

    An item that the context holds already, or that was referred to before, is said once.
    Raises NotFound that names the id, and ContextTooLong where the items exceed `max_bytes`.
    """
    known = {item.id for item in context.items}
    wanted = {one.id for one in given if isinstance(one, ItemReference)} - known
    found = await store.items(tenant, wanted, max_bytes) if wanted else {}
    items: list[NewItem] = []
    for one in given:
        if isinstance(one, NewItem):
            items.append(one)
        elif one.id not in known:
            items.append(_copy(one, found))
            known.add(one.id)
    return tuple(items)


def _copy(reference: ItemReference, found: Mapping[str, Item]) -> NewItem:
    item = found.get(reference.id)
    if item is None:
        raise NotFound(
            f"Item with id '{reference.id}' not found. Items of responses with 'store' false are not kept.",
            f"{reference.where}.id",
        )
    payload = {k: v for k, v in item.payload.items() if k not in ("id", "type", "role", "status")}
    status = "completed" if item.status == "completed" else "incomplete"
    return NewItem(payload, new_id(item.id.partition("_")[0]), None, item.type, item.role, status)
