"""What is wrong with a cluster, and what to do about it, from what its nodes told."""

from collections import Counter
from collections.abc import Iterator

from deployments.infra.ray import variables
from deployments.local.cluster.report import Finding, NodeReport, Survey

CLOCK_WARN_S, CLOCK_FAIL_S = 0.5, 5.0
ENV = "write it into the node's environment (`chatllm cluster env`) and start Ray there anew"


def judge(survey: Survey) -> list[Finding]:
    """Return the findings, those of one subject together; a subject without any fault has one that says so."""
    subjects = (_silent, _reachability, _versions, _settings, _token, _stores, _head_store, _haproxy, _exposed, _clocks)
    return [finding for subject in subjects for finding in subject(survey)]


def _silent(survey: Survey) -> Iterator[Finding]:
    for node, reason in survey.silent.items():
        remedy = "see that Ray runs there with the same code at the same path, and `ray status`"
        yield Finding("fail", node, "nodes", f"does not answer: {reason}", remedy)
    for address in survey.lost:
        remedy = "start Ray there again, unless it was taken out of the cluster"
        yield Finding("warn", address, "nodes", "was lost: Ray has given it up", remedy)
    if not survey.silent:
        yield Finding("ok", "", "nodes", f"{len(survey.nodes)} answer")


def _reachability(survey: Survey) -> Iterator[Finding]:
    remedy = "open all ports between the nodes: replicas connect to each other on ports that the kernel chooses"
    for (source, target), reason in survey.unreached.items():
        yield Finding("fail", source, "reachability", f"cannot connect to {target}: {reason}", remedy)
    if not survey.unreached and len(survey.nodes) > 1:
        yield Finding("ok", "", "reachability", "every node reaches every other one")


def _versions(survey: Survey) -> Iterator[Finding]:
    reports, found = list(survey.nodes.values()), False
    for name in reports[0].versions if reports else ():
        wanted = _usual(survey, name)
        for report in reports:
            if (has := report.versions.get(name, "none")) != wanted:
                found = True
                remedy = "install the same commit with `make install` on every node"
                yield Finding("fail", report.name, "versions", f"{name} {has}, other nodes have {wanted}", remedy)
    if reports and not found:
        versions = ", ".join(f"{name} {version}" for name, version in reports[0].versions.items())
        yield Finding("ok", "", "versions", versions)


def _usual(survey: Survey, name: str) -> str:
    """Return the version that most nodes have; of two that are as frequent, the head's."""
    counts = Counter(report.versions.get(name, "none") for report in survey.nodes.values())
    most = max(counts.values())
    head = survey.nodes.get(survey.head)
    if head and counts[head.versions.get(name, "none")] == most:
        return head.versions.get(name, "none")
    return next(version for version, count in counts.items() if count == most)


def _settings(survey: Survey) -> Iterator[Finding]:
    found = False
    for report in survey.nodes.values():
        for finding in _settings_of(report):
            found = True
            yield finding
    if survey.nodes and not found:
        yield Finding("ok", "", "settings", "as `chatllm cluster env` has them")


def _settings_of(report: NodeReport) -> Iterator[Finding]:
    other = [one for one in variables.VARIABLES if one.scope != "one machine" and not _is_as_it_should(one, report)]
    for one in other:
        if one.is_required:
            has = report.settings.get(one.name)
            text = f"{one.name} is {f'{has!r}' if has else 'not set'} and should be {one.value!r}: {one.why}"
            yield Finding("fail", report.name, "settings", text, ENV)
    if less := [one.name for one in other if not one.is_required]:
        yield Finding("warn", report.name, "settings", f"not as `chatllm cluster env` has them: {', '.join(less)}", ENV)


def _is_as_it_should(one: variables.Variable, report: NodeReport) -> bool:
    has = report.settings.get(one.name, "")
    # The repository may be elsewhere on that node.
    is_wrapper = one.name == "RAY_SERVE_HAPROXY_BINARY_PATH" and has.endswith("/deployments/infra/haproxy/haproxy")
    return is_wrapper or has == one.value


def _token(survey: Survey) -> Iterator[Finding]:
    wrong = [report for report in survey.nodes.values() if report.token]
    for report in wrong:
        yield Finding("fail", report.name, "token", report.token, "copy the head's file there, and `chmod 600` it")
    if survey.nodes and not wrong:
        yield Finding("ok", "", "token", "every node has it, and no other user can read it")


def _stores(survey: Survey) -> Iterator[Finding]:
    for store in ("Postgres", "Redis"):
        wrong = {node: report.stores[store] for node, report in survey.nodes.items() if report.stores.get(store)}
        for node, reason in wrong.items():
            remedy = "set the variable before Ray starts, and let the node through to the server"
            yield Finding("fail", node, store, reason, remedy)
        if survey.nodes and not wrong:
            yield Finding("ok", "", store, "every node reaches it")
    if any(not report.redis_has_password for report in survey.nodes.values()):
        remedy = "set a password (`requirepass`, or an ACL user) and put it into REDIS_URL"
        yield Finding("warn", "", "Redis", "whoever reaches it reads cached answers: it asks for no password", remedy)


def _head_store(survey: Survey) -> Iterator[Finding]:
    head = survey.nodes.get(survey.head)
    if head is None:
        return
    remedy = f"set {variables.HEAD_STORE} on the head to a Redis or Valkey with `maxmemory-policy noeviction`"
    match head.head_store:
        case "kept":
            yield Finding("ok", head.name, "head", "finds its state in Redis when it is started anew")
        case "":
            text = "the cluster ends with its head: nothing keeps its state"
            yield Finding("warn", head.name, "head", text, remedy)
        case "locked":
            text = "it was not checked whether its state may be evicted: that Redis asks for a password"
            given = "set RAY_REDIS_PASSWORD to what `ray start --redis-password` was given, and start Ray there anew"
            yield Finding("warn", head.name, "head", text, given)
        case "evicts":
            text = "its state may be evicted: that Redis drops keys when its memory is full"
            yield Finding("fail", head.name, "head", text, remedy)
        case reason:
            yield Finding("fail", head.name, "head", reason, remedy)


def _haproxy(survey: Survey) -> Iterator[Finding]:
    running = {node: report.haproxy for node, report in survey.nodes.items() if report.haproxy}
    for node, haproxy in running.items():
        if not haproxy.is_mended:
            text = "runs with Ray's own configuration: errors are HTML, and a client that leaves stops nothing"
            yield Finding("fail", node, "HAProxy", text, f"set RAY_SERVE_HAPROXY_BINARY_PATH: {ENV}")
    if running and all(haproxy.is_mended for haproxy in running.values()):
        yield Finding("ok", "", "HAProxy", f"runs with corrected settings on {len(running)} nodes")


def _exposed(survey: Survey) -> Iterator[Finding]:
    for node, doors in survey.exposed.items():
        for door in doors:
            remedy = "set RAY_AUTH_MODE=token and RAY_SERVE_HAPROXY_BINARY_PATH before Ray starts"
            yield Finding("fail", node, "ports", f"open to strangers: {door}", remedy)
    if survey.exposed and not any(survey.exposed.values()):
        yield Finding("ok", "", "ports", "no statistics and no dashboard without a token; let only the API's port out")


def _clocks(survey: Survey) -> Iterator[Finding]:
    wrong = False
    for node, (ahead_s, error_s) in survey.clocks.items():
        surely_s = max(0.0, abs(ahead_s) - error_s)
        if surely_s > CLOCK_WARN_S:
            wrong = True
            verdict = "fail" if surely_s > CLOCK_FAIL_S else "warn"
            text = f"{abs(ahead_s):.1f} s {'ahead' if ahead_s > 0 else 'behind'}: limits, expiry and usage are off"
            yield Finding(verdict, node, "clock", text, "let a time service set it (chrony, systemd-timesyncd)")
    if survey.clocks and not wrong:
        most = max(abs(ahead_s) for ahead_s, _ in survey.clocks.values())
        yield Finding("ok", "", "clock", f"at most {most:.2f} s apart")
