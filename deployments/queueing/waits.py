"""How much goes before a waiting job, if the turns go round as they do now.

While its key spends what stands before it, each other key spends its share beside that, or all that it has.
"""

from deployments.queueing.order import Entry, FairOrder


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


def tokens_ahead(order: FairOrder, key_id: str, weight: int, own: float) -> float:
    """Return the cost of all that leaves until `own` of a key has left."""
    share = own / weight
    others = (flow for flow in order.flows() if flow.key_id != key_id)
    return own + sum(min(flow.backlog, share * flow.weight) for flow in others)


def jobs_ahead(order: FairOrder, entry: Entry) -> int:
    """Return how many jobs probably leave before one that waits."""
    job, own = entry.job, own_before(order, entry)
    share, jobs = own / job.weight, 0.0
    for flow in order.flows():
        if flow.key_id == job.key_id:
            jobs += next((at for at, one in enumerate(flow.waiting) if one is entry), len(flow.waiting))
        elif flow.backlog > 0.0:
            jobs += len(flow.waiting) * min(1.0, share * flow.weight / flow.backlog)
    return round(jobs)
