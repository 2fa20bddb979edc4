"""How much goes before a waiting job, if the turns go round as they do now.

While its key spends what stands before it, each other key spends its share beside that, or all that it has. A key that
had nothing waiting comes before these, behind those that came so before it.
"""

from deployments.queueing.order import NEW_IN_A_ROW, Entry, FairOrder, Flow


def own_before(order: FairOrder, entry: Entry) -> float:
    """Return the cost of what waits of its own key before a job; of all that waits, for one that has just come."""
    flow = order.flow(entry.job.key_id)
    if flow is None:
        return 0.0
    cost = 0.0
    for one in flow.waiting:
        if one is entry:
            return cost
        cost += one.cost
    return cost


def is_first(order: FairOrder, entry: Entry) -> bool:
    """Whether a job comes before the backlogs of others, as the first of a key that had nothing waiting."""
    flow = order.flow(entry.job.key_id)
    return flow is None or (flow.is_new and flow.waiting[0] is entry)


def _before(order: FairOrder, entry: Entry) -> list[Flow]:
    """Return the flows whose first job comes before a job that `is_first`."""
    before: list[Flow] = []
    for flow in order.new_flows():
        if flow.key_id == entry.job.key_id:
            break
        before.append(flow)
    return before


def tokens_ahead(order: FairOrder, entry: Entry) -> float:
    """Return the cost of all that leaves before a job."""
    if is_first(order, entry):
        spent = sum(flow.waiting[0].cost for flow in _before(order, entry))
        return spent * (1 + 1 / NEW_IN_A_ROW) if order.size > len(list(order.new_flows())) else spent
    return shared_ahead(order, entry.job.key_id, entry.job.weight, own_before(order, entry), entry.cost)


def shared_ahead(order: FairOrder, key_id: str, weight: int, own: float, cost: float = 0.0) -> float:
    """Return the cost of all that leaves until `own` of a key has left and what costs `cost` more comes."""
    share = (own + cost) / weight
    others = (flow for flow in order.flows() if flow.key_id != key_id)
    return own + sum(min(flow.backlog, share * flow.weight) for flow in others)


def jobs_ahead(order: FairOrder, entry: Entry) -> int:
    """Return how many jobs probably leave before one that waits."""
    if is_first(order, entry):
        return len(_before(order, entry))
    job, own = entry.job, own_before(order, entry) + entry.cost
    share, jobs = own / job.weight, 0.0
    for flow in order.flows():
        if flow.key_id == job.key_id:
            jobs += next((at for at, one in enumerate(flow.waiting) if one is entry), len(flow.waiting))
        elif flow.backlog > 0.0:
            jobs += len(flow.waiting) * min(1.0, share * flow.weight / flow.backlog)
    return round(jobs)
